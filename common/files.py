"""Writing so that a reader finds the old file or the new one whole, never a part."""

import contextlib
import json
import os
from pathlib import Path

from common.errors import LabError, reason


def write_atomically(path, content, before=None):
    """Writes bytes or text beside `path` and renames it into place. Raises LabError, naming the file, when the disk refuses.

    Of a file's name that is no UTF-8 text stays \\udcXX, which JSON can read back.
    before: the name that a file there already is kept under; whenever the process is killed, one of the two is there, whole.
    """
    path = Path(path)
    unfinished = path.with_name(path.name + ".part")
    try:
        with open(unfinished, "wb") as out:
            out.write(content if isinstance(content, bytes) else content.encode("utf-8", "backslashreplace"))
            out.flush()
            os.fsync(out.fileno())
        if before and path.exists():
            os.replace(path, before)
        os.replace(unfinished, path)
    except OSError as error:
        with contextlib.suppress(OSError):  # a disk that can only be read
            unfinished.unlink(missing_ok=True)
        raise LabError(f"{path}: it cannot be written ({reason(error)}); --out DIR puts runs elsewhere") from error


def write_json(path, content):
    write_atomically(path, json.dumps(content, indent=1, ensure_ascii=False, allow_nan=False) + "\n")
