"""Atomic writing, old file or new and never a part; and what may be replaced: only what the project wrote."""

import argparse
import contextlib
import hashlib
import io
import json
import os
import re
import secrets
from pathlib import Path

import torch

from common.checkpoints import digest
from common.disk import sync
from common.errors import LabError, reason

ARGUMENTS, LOG = "arguments.json", "log.txt"  # of a run, written first
METRICS = "metrics.json"  # of a run, written last: a run without it did not finish
FORMAT = 3  # of metrics.json; runs of another format are left out of comparisons by name


def write_atomically(path, content, advice="--out DIR puts runs elsewhere"):
    """Writes bytes or text beside `path`, then renames it to `path`. Raises LabError where the disk refuses.

    Bytes of a file name that are no UTF-8 are written as \\udcXX, which JSON can read back.
    advice: what the error tells the user to do.
    """
    path = Path(path)
    unfinished = part_of(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with open(unfinished, "xb") as out:
            out.write(content if isinstance(content, bytes) else content.encode("utf-8", "backslashreplace"))
            sync(out)
        os.replace(unfinished, path)
    except BaseException as error:
        with contextlib.suppress(OSError):  # a disk that can only be read
            unfinished.unlink(missing_ok=True)
        if not isinstance(error, OSError):  # Ctrl-C
            raise
        raise LabError(f"{path}: it cannot be written ({reason(error)}); {advice}") from error


def part_of(path):
    """A name beside `path` for what is not yet whole, which nothing else has: <name>.<random>.part."""
    return path.with_name(f"{path.name}.{secrets.token_hex(4)}.part")


def write_own(path, content, flag):
    """write_atomically at a path that the user chose by `flag`, and only there where check_own allows it.

    A file .<name>.written beside it keeps checksums: of the content and, in case the process is killed, of the old one.
    """
    check_own(path, flag)
    content, advice = content if isinstance(content, bytes) else content.encode(), f"{flag} takes another name"
    contents = [Path(path).read_bytes(), content] if Path(path).exists() else [content]
    write_atomically(record_of(path), "".join(f"{checksum(each)}\n" for each in contents), advice=advice)
    write_atomically(path, content, advice=advice)


def check_own(path, flag):
    """Raises LabError unless `path` is free, or a file as write_own left it, in a folder that can be written."""
    path = Path(path)
    try:
        if path.is_dir():
            raise IsADirectoryError(path)
        trial = part_of(record_of(path))  # the longest of the names that write_own needs
        trial.touch(exist_ok=False)
        trial.unlink()
    except OSError as error:
        expected = "the name of a file in a folder that is there and can be written was expected"
        raise LabError(f"{flag} {path}: {expected}") from error
    for each in (path, record_of(path)):
        if each.is_symlink() or (each.exists() and not each.is_file()):
            raise LabError(f"{flag} {path}: a new name was expected, {each} is a link or a device; nothing was written")
    try:
        written = record_of(path).read_text(encoding="utf-8").split() if record_of(path).exists() else []
        is_record = all(re.fullmatch("[0-9a-f]{16}", word) for word in written)
        is_own = not path.exists() or checksum(path.read_bytes()) in written
        foreign = record_of(path) if not is_record else None if is_own else path
    except (OSError, ValueError):
        foreign = record_of(path)
    if foreign:
        expected = "a new name, or a file that this project wrote there, was expected"
        raise LabError(f"{flag} {path}: {expected}, {foreign.name} is another or was edited; nothing was written")


def record_of(path):
    """The path of the checksums of what write_own has written to a path."""
    return Path(path).with_name(f".{Path(path).name}.written")


def checksum(content):
    """The first 16 hexadecimal digits of the SHA-256 of bytes or of an array."""
    return hashlib.sha256(content).hexdigest()[:16]


def make_folder(path):
    """Makes a run's folder and its parents. Raises LabError where the disk refuses."""
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise LabError(f"{path}: it cannot be written ({reason(error)}); --out DIR puts runs elsewhere") from error


def unwritable(folder, error):
    return LabError(f"{folder}: the run cannot be written there ({reason(error)}); --out DIR puts runs elsewhere")


def write_json(path, content):
    write_atomically(path, json.dumps(content, indent=1, ensure_ascii=False, allow_nan=False) + "\n")


def save_checkpoint(path, weights, metadata):
    """Writes a state dict {name: tensor} and a JSON-able dict of metadata (see read_network) atomically."""
    weights = {name: tensor.detach().cpu().contiguous() for name, tensor in weights.items()}
    text = json.dumps(metadata, ensure_ascii=False)
    buffer, saved = io.BytesIO(), {"weights": weights, "metadata": text}
    saved["sha256"] = digest(weights, text)
    torch.save(saved, buffer)
    write_atomically(path, buffer.getvalue())


def file_path(text):
    """An argparse type: a path. An empty one, as from an unset shell variable, is an error, not the default."""
    if not text:
        raise argparse.ArgumentTypeError("the name of a file or folder was expected, not an empty text")
    return text
