"""What may be replaced: only what the project can show that it wrote; all else is refused by name. And slow disks."""

import errno
import hashlib
import os
import re
from pathlib import Path

from common.errors import LabError

IN_SINGLE_FILE = False  # left out of the single file of a step: it writes nowhere but into its runs


def check_own(path, flag):
    """Raises LabError unless `path` is free, or a file as common.files.write_own left it, in a folder to write to."""
    path, folder = Path(path), Path(path).absolute().parent
    if path.is_dir() or not folder.is_dir() or not os.access(folder, os.W_OK):
        raise LabError(f"{flag} {path}: the name of a file in a folder that is there and can be written was expected")
    for each in (path, record_of(path)):
        if each.is_symlink() or (each.exists() and not each.is_file()):
            raise LabError(f"{flag} {path}: a new name was expected, {each} is a link or a device; nothing was written")
    try:
        written = record_of(path).read_text(encoding="utf-8").split() if record_of(path).exists() else []
        is_record = all(re.fullmatch("[0-9a-f]{64}", word) for word in written)
        foreign = record_of(path) if not is_record else path if path.exists() and digest(path) not in written else None
    except (OSError, ValueError):
        foreign = record_of(path)
    if foreign:
        expected = "a new name, or a file that this project wrote there, was expected"
        raise LabError(f"{flag} {path}: {expected}, {foreign.name} is another or was edited; nothing was written")


def record_of(path):
    """The path of the checksums of what write_own has written to a path."""
    return Path(path).with_name(f".{Path(path).name}.written")


def record_text(path, content):
    """The checksums of the file that is there, if any, and of the bytes that will be."""
    old = [digest(path)] if Path(path).exists() else []
    return "\n".join([*old, hashlib.sha256(content).hexdigest(), ""])


def digest(path):
    return hashlib.sha256(Path(path).read_bytes()).hexdigest()


def sync(out):
    """Waits until an open file is on the disk; Drive and other mounted disks refuse to say, which is no error."""
    out.flush()
    try:
        os.fsync(out.fileno())
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO):
            raise
