"""What numbers depend on beside arguments and seed: the data's content, interpreter, libraries, machine, threads."""

import hashlib
import json
import platform
import zlib
from functools import cache
from importlib.metadata import version

import torch

from common.errors import LabError, reason

IN_SINGLE_FILE = False  # left out of the single file of a step: no later run asks what this one depended on

SAMPLED_FILES = 4  # of each folder and split, whose content the fingerprint knows
package_version = cache(version)  # it reads files, and a state is saved after every epoch


def versions():
    """What the figures depend on beside the seed: interpreter, libraries, machine, threads."""
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
            "same seed, machine and threads: same figures"
            if device == "cpu"
            else "a GPU repeats its figures only nearly"
        )
        print(f"seed       : {run.metadata['seed']} (split, initial weights, batch order); {promise}")


def fingerprint(data, folders):
    """A short hash that is equal for equal LabData with these folders in it.

    Of class table, demo marker, label files, file names and the content of a few files: all bytes would take minutes on
    the lab's data.
    """
    digest = hashlib.sha256(json.dumps([data.class_mapping, data.demo], sort_keys=True).encode())
    for folder in folders:
        for split in ("train", "test"):
            files = sorted((data.path / folder / split).glob("*.npy*"))
            sample = files[:: max(1, len(files) // SAMPLED_FILES)][:SAMPLED_FILES]
            labels = data.path / folder / f"{split}_labels.txt"
            try:
                checksums = [zlib.crc32(path.read_bytes()) for path in [*sample, labels] if path.is_file()]
            except OSError as error:
                raise LabError(
                    f"{data.path / folder / split}: readable files were expected ({reason(error)})"
                ) from error
            digest.update(json.dumps([folder, split, [path.name for path in files], checksums]).encode())
    return digest.hexdigest()[:16]
