"""What numbers depend on beside arguments and seed: the content of the data, interpreter, libraries, processor, threads."""

import hashlib
import json
import platform
from functools import cache
from importlib.metadata import version
from pathlib import Path

import torch

from common.errors import LabError, reason

IN_SINGLE_FILE = False  # left out of the single file of a step: no later run is compared with it

SAMPLED_FILES = 4  # of each folder and split, whose content the fingerprint knows
package_version = cache(version)  # it reads files, and a state is saved after every epoch


def versions():
    """What the numbers depend on beside the seed: interpreter, libraries, processor, threads."""
    packages = {name: package_version(name) for name in ("torch", "numpy", "scikit-learn", "scipy", "matplotlib")}
    return {
        "python": platform.python_version(),
        **packages,
        "machine": platform.machine(),
        "threads": torch.get_num_threads(),
    }


def print_class_table(data):
    """A line of a run's header, where the data folder has a class table of its own."""
    if data.own_table:
        print(f"             {data.table_text()}")


def print_environment(run):
    """The lines of a run's header on device, libraries and seed, where it trains something."""
    if "device" in run.arguments:
        device, metadata = run.arguments["device"], versions()
        libraries = ", ".join(f"{name} {metadata[name]}" for name in ("torch", "numpy", "scikit-learn", "python"))
        processes = torch.distributed.get_world_size() if torch.distributed.is_initialized() else 1
        together = f"{processes} processes, each with " * (processes > 1)
        print(f"device     : {device}, {together}{metadata['threads']} threads, {libraries}")
        promise = (
            "same seed, computer and threads: same numbers"
            if device == "cpu"
            else "on a GPU numbers repeat only nearly"
        )
        print(f"seed       : {run.metadata['seed']} (split, initial weights, batch order); {promise}")


def fingerprint(data, folders):
    """A short hash of LabData: equal for equal data in these folders.

    Of class table, demo marker, label files, file names and the content of a few files: all bytes would take minutes on
    the lab's data.
    """
    digest = hashlib.sha256(json.dumps([data.class_mapping, data.demo], sort_keys=True).encode())
    for folder in folders:
        for split in ("train", "test"):
            files = sorted((data.path / folder / split).glob("*.npy*"))
            sample = files[:: max(1, len(files) // SAMPLED_FILES)][:SAMPLED_FILES]
            labels = data.path / folder / f"{split}_labels.txt"
            digest.update(json.dumps([folder, split, [path.name for path in files]]).encode())
            try:
                for path in filter(Path.is_file, [*sample, labels]):
                    digest.update(hashlib.sha256(path.read_bytes()).digest())
            except OSError as error:
                where = data.path / folder / split
                raise LabError(f"{where}: readable files were expected ({reason(error)})") from error
    return digest.hexdigest()[:16]
