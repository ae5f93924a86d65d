"""Writing so that a reader finds the old file or the new one whole, never a part."""

import json
import os
from pathlib import Path

from common.errors import LabError, reason


def write_atomically(path, content):
    """Writes bytes or text beside `path` and renames it into place. Raises LabError, naming the file, when the disk refuses."""
    path = Path(path)
    unfinished = path.with_name(path.name + ".part")
    try:
        with open(unfinished, "wb") as out:
            out.write(content if isinstance(content, bytes) else content.encode("utf-8"))
            out.flush()
            os.fsync(out.fileno())
        os.replace(unfinished, path)
    except OSError as error:
        unfinished.unlink(missing_ok=True)
        raise LabError(f"{path}: it cannot be written ({reason(error)}); --out DIR puts runs elsewhere") from error


def write_json(path, content):
    write_atomically(path, json.dumps(content, indent=1, ensure_ascii=False, allow_nan=False) + "\n")
