"""What numbers depend on beside arguments and seed: the content of the data, interpreter, libraries, processor, threads."""

import contextlib
import hashlib
import json
import math
import os
import platform
import re
import time
import unicodedata
from functools import cache
from importlib.metadata import version
from pathlib import Path

import torch
from filelock import FileLock

from common.errors import LabError
from common.files import checksum, write_json
from common.progress import progress

IN_SINGLE_FILE = False  # left out of the single file of a step: no later run is compared with it

SPLITS = ("train", "test")
package_version = cache(version)  # it reads files, and a state is saved after every epoch


def add_demo_flag(parser):
    """Adds --demo."""
    text = "demo music, whatever other data are here; step 0 composes it by --seed into demo_data/ or --data DIR"
    parser.add_argument("--demo", action="store_true", help=text)


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


def fingerprint_text(data, folders, content=True):
    """Text that is equal for equal data in these of LabData's folders: <folder>=<hash>, joined by +.

    The hash is of class table, demo marker, label files, and the name and content of every spectrogram file; of no
    times. content=False: <folder>~<hash>, of sizes in place of contents, for what cannot wait until all files are read.
    Without kept checksums (see file_checksums) it costs one read of each file, as on the first run. A folder's hash is
    taken once by a process, so that it stays when the folder changes during a run.
    """
    names = sorted({Path(folder).name for folder in folders})
    return "+".join(f"{name}{'=' if content else '~'}{folder_hash(data, name, content)}" for name in names)


def is_same_data(data, text):
    """Whether LabData is what a run with this fingerprint_text used; no folder is read that it did not use."""
    folders = re.findall(r"(\w+)([=~])", text) if isinstance(text, str) else []
    return text == "+".join(f"{name}{mark}{folder_hash(data, name, mark == '=')}" for name, mark in folders)


def trained_on(data, metadata):
    """The words for "trained on ..." of a checkpoint: the same data as these, or other data and their path."""
    text = metadata["data"]
    if is_same_data(data, text):
        return "the same data" + ", as far as names and sizes of files show (it was a dry run)" * ("~" in text)
    unknown = ", or the same (an earlier version, which compared a few files only, wrote it)"
    return f"other data, {metadata['data_path']}{unknown * (not {'=', '~'} & set(text))}"


def keep_checksums(data, folder):
    """From now on, LabData's checksums are kept in this folder; None keeps none."""
    vars(data)["checksums"] = folder


def folder_hash(data, name, content):
    found = vars(data).setdefault("hashes", {})
    if (name, content) not in found:
        folder = data.path / name
        files = [path for split in SPLITS for path in spectrogram_files(folder / split)]
        values = file_checksums(folder, files, vars(data).get("checksums")) if content else map(file_size, files)
        names = [unicodedata.normalize("NFC", f"{path.parent.name}/{path.name}") for path in files]
        labels = [[path.name, file_checksum(path)] for path in sorted(folder.glob("*_labels.txt"))]
        about = [data.class_mapping, data.demo, labels, sorted(zip(names, values, strict=True))]
        found[name, content] = checksum(json.dumps(about, sort_keys=True).encode())
    return found[name, content]


def spectrogram_files(folder):
    """The paths of a folder's spectrogram files; what unpackers and file managers add to a folder is none."""
    try:
        names = sorted(os.listdir(folder))
    except OSError:
        return []
    return [folder / name for name in names if name.endswith((".npy", ".npy.gz")) and not name.startswith(".")]


def file_checksums(folder, files, cache=None):
    """The checksums of a folder's files, in their order; `cache`: a folder in which they are kept from run to run.

    A kept checksum counts while the file's size, mtime and ctime are the same. One process reads, the others wait.
    """
    index = Path(cache or "") / f"{folder.name}.{checksum(os.fsencode(folder.resolve()))[:8]}.checksums.json"
    with contextlib.ExitStack() as held:
        if cache:
            with contextlib.suppress(OSError, NotImplementedError):  # a disk that cannot be written, or has no locks
                index.parent.mkdir(parents=True, exist_ok=True)
                held.enter_context(FileLock(f"{index}.lock"))
        kept = read_checksums(index) if cache else {}
        names, stamps = [f"{path.parent.name}/{path.name}" for path in files], [file_stamp(path) for path in files]
        stale = [k for k, name in enumerate(names) if kept.get(name, [0])[0] != stamps[k]]
        short = sum(stamps[k][0] for k in stale if stamps[k]) < 10**9  # bytes, read in seconds
        for k in progress(stale, f"checking {folder}", "file", inner=short):
            stamp = stamps[k] if is_settled(stamps[k]) else 0
            kept[names[k]] = [stamp, file_checksum(files[k])]
        if cache and stale:
            with contextlib.suppress(LabError):
                write_json(index, {"files": kept, "checksum": checksum(json.dumps(kept).encode())})
    return [kept[name][1] for name in names]


def read_checksums(index):
    """What file_checksums kept, {name: [stamp, checksum]}; {} where there is nothing, or it is damaged."""
    try:
        content = json.loads(index.read_text(encoding="utf-8"))
        return content["files"] if content["checksum"] == checksum(json.dumps(content["files"]).encode()) else {}
    except (OSError, ValueError, TypeError, KeyError, RecursionError):
        return {}


def is_settled(stamp):
    """Whether a change from now on would give a file other times; some disks count whole seconds, others 10 ms."""
    latest = max(stamp[1:]) if stamp else math.inf
    return latest < time.time_ns() - (2 * 10**9 if latest % 10**9 == 0 else 10**8)


def file_stamp(path):
    """[size, mtime, ctime] of a file, None where it cannot be asked; see stamp of common/cache.py."""
    try:
        status = os.stat(path)
    except OSError:
        return None
    return [status.st_size, status.st_mtime_ns, status.st_ctime_ns]


def file_size(path):
    return (file_stamp(path) or [None])[0]


def file_checksum(path):
    """The SHA-256 of a file's bytes, its first 16 digits; None where it cannot be read, which its reader will name."""
    digest = hashlib.sha256()
    before = file_stamp(path)
    try:
        if not path.is_file():  # a pipe would never end
            return None
        with open(path, "rb") as file:
            while block := file.read(2**20):
                digest.update(block)
    except OSError:
        return None
    if file_stamp(path) != before:
        raise LabError(f"{path}: the file changed while it was being read; run again when nothing writes there")
    return digest.hexdigest()[:16]
