"""Atomic writing: a reader finds the old file or the new one, never a part of one."""

import argparse
import contextlib
import hashlib
import io
import json
import os
from pathlib import Path

import torch

from common.checkpoints import digest
from common.disk import check_own, record_of, record_text, sync
from common.errors import LabError, reason

ARGUMENTS, LOG = "arguments.json", "log.txt"  # of a run, written first
METRICS = "metrics.json"  # of a run, written last: a run without it did not finish
FORMAT = 2  # of metrics.json; runs of another format are left out of comparisons by name


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
    except OSError as error:
        with contextlib.suppress(OSError):  # a disk that can only be read
            unfinished.unlink(missing_ok=True)
        raise LabError(f"{path}: it cannot be written ({reason(error)}); {advice}") from error


def part_of(path):
    """A free name beside `path` for what is not yet whole: <name>.part, or <name>.1.part where something has it."""
    names = (path.with_name(f"{path.name}{number}.part") for number in ("", *(f".{n}" for n in range(1, 1000))))
    return next(name for name in names if not (name.exists() or name.is_symlink()))


def write_own(path, content, flag):
    """write_atomically at a path that the user chose by `flag`, and only there where check_own allows it.

    A file .<name>.written beside it keeps checksums: of the content and, in case the process is killed, of the old one.
    """
    check_own(path, flag)
    content, advice = content if isinstance(content, bytes) else content.encode(), f"{flag} takes another name"
    write_atomically(record_of(path), record_text(path, content), advice=advice)
    write_atomically(path, content, advice=advice)


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
