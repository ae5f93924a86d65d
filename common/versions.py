"""What numbers depend on beside arguments and seed: the content of the data, interpreter, libraries, processor, threads."""

import contextlib
import json
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

from common.errors import LabError, reason
from common.files import checksum, write_json
from common.progress import progress

IN_SINGLE_FILE = False  # left out of the single file of a step: no later run is compared with it

package_version = cache(version)  # it reads files, and a state is saved after every epoch


def add_demo_flag(parser):
    """Adds --demo."""
    text = "demo music, in demo_data/, whatever other data are here"
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
    """The line of a run's header on device and libraries, where it trains something."""
    if "device" in run.arguments:
        device, metadata = run.arguments["device"], versions()
        libraries = ", ".join(f"{name} {metadata[name]}" for name in ("torch", "numpy", "scikit-learn", "python"))
        processes = torch.distributed.get_world_size() if torch.distributed.is_initialized() else 1
        together = f"{processes} processes, each with " * (processes > 1)
        promise = "same seed, computer and threads: same numbers"
        promise = promise if device == "cpu" else "on a GPU numbers repeat only nearly"
        print(f"device     : {device}, {together}{metadata['threads']} threads, {libraries}; {promise}")


def fingerprint_text(data, folders, content=True):
    """Text that is equal for equal data in these of LabData's folders: <folder>=<hash>, joined by +.

    The hash is of class table, demo marker, label files, and the name and content of every spectrogram file; of no
    times. It is taken once by a process, so that it stays when files change during a run, and costs one read of each
    file, see file_checksums. content=False: <folder>~<hash>, of sizes in place of contents, which reads no file.
    """
    names = sorted({Path(folder).name for folder in folders})
    return "+".join(f"{name}{'=' if content else '~'}{folder_hash(data, name, content)}" for name in names)


def is_same_data(data, text):
    """Whether LabData is what a run with this fingerprint_text used; no folder is read that it did not use."""
    folders = re.findall(r"(\w+)([=~])", text) if isinstance(text, str) else []
    return text == "+".join(f"{name}{mark}{folder_hash(data, name, mark == '=')}" for name, mark in folders)


def trained_on(data, metadata):
    """The words for "trained on ..." of a checkpoint: the same data as these, or other data and their path."""
    if by_earlier_version(metadata["data"]):
        return f"{metadata['data_path']} by an earlier version, which cannot be compared with these data"
    if is_same_data(data, metadata["data"]):
        return "the same data" + ", by names and sizes of files (it was a dry run)" * ("~" in metadata["data"])
    return f"other data, {metadata['data_path']}"


def by_earlier_version(text):
    """Whether a fingerprint was taken as by versions that named no folder: then it cannot be compared."""
    return bool(text) and not {"=", "~"} & {*text}


def keep_checksums(data, folder):
    """From now on, LabData's checksums are kept in this folder; None keeps none."""
    vars(data)["checksums"] = folder


def folder_hash(data, name, content):
    found = vars(data).setdefault("hashes", {})
    if (name, content) not in found:
        files = [path for split in ("train", "test") for path in sorted((data.path / name / split).glob("[!.]*.npy*"))]
        files, labels = ([*filter(Path.is_file, each)] for each in (files, (data.path / name).glob("*_labels.txt")))
        values = file_checksums(files, vars(data).get("checksums")) if content else [stamp(path)[1] for path in files]
        rows = zip([*files, *labels], [*values, *file_checksums(labels)], strict=True)
        named = [[unicodedata.normalize("NFC", f"{path.parent.name}/{path.name}"), value] for path, value in rows]
        about = [data.class_mapping, data.demo, sorted(named, key=str)]
        found[name, content] = checksum(json.dumps(about, sort_keys=True).encode())
    return found[name, content]


def file_checksums(files, cache=None):
    """The checksums of files of one folder, in their order; `cache`: a folder in which they are kept from run to run.

    A kept checksum counts while the file's stamp is the same. One process reads, the others wait. None for a file that
    cannot be read: whoever needs it will name it.
    """
    folder = files[0].parent.parent.resolve() if files else Path()
    index = cache and Path(cache) / f"{folder.name}.{checksum(os.fsencode(folder))[:8]}.checksums.json"
    with contextlib.ExitStack() as held:
        if index:
            with contextlib.suppress(OSError, NotImplementedError):  # a disk that cannot be written, or has no locks
                index.parent.mkdir(parents=True, exist_ok=True)
                held.enter_context(FileLock(f"{index}.lock"))
        kept = read_checksums(index) if index else {}
        names, stamps = [f"{path.parent.name}/{path.name}" for path in files], [stamp(path) for path in files]
        stale = [k for k, name in enumerate(names) if kept.get(name, [None])[0] != stamps[k]]
        short = sum(stamps[k][1] for k in stale) < 10**9  # bytes, read in seconds
        for k in progress(stale, f"checking {folder.name}", "file", inner=short):
            latest = max(stamps[k][2:])  # a change just now might leave it: some disks count seconds, others 10 ms
            settled = latest < time.time_ns() - (2 * 10**9 if latest % 10**9 == 0 else 10**8)
            try:
                kept[names[k]] = [stamps[k] if settled else None, checksum(files[k].read_bytes())]
            except OSError:
                kept[names[k]] = [None, None]
        if index and stale:
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


def stamp(path):
    """[name, bytes, mtime in ns, ctime in ns]: changes when a file does; ctime even where the mtime was set back."""
    try:
        status = os.stat(path)
    except OSError as error:
        raise LabError(f"{path}: a spectrogram file was expected ({reason(error)})") from error
    return [Path(path).name, status.st_size, status.st_mtime_ns, status.st_ctime_ns]
