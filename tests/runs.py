"""Scripts run as a user does, once for all tests that look at what they print and write. Nothing here imports the
project.
"""

import csv
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

REPOSITORY = Path(__file__).resolve().parent.parent
SPLIT_COLUMN = "split"  # of predictions.csv: train, val or test


class Done(NamedTuple):
    """A script that has ended well: what it printed, and where it wrote."""

    out: str
    err: str
    root: Path

    @property
    def lines(self):
        return self.out.splitlines()

    @property
    def results(self):
        """[{key: text}] of the RESULT lines, in order; the script's name is under "step"."""
        rows = [line.split()[1:] for line in self.lines if line.startswith("RESULT ")]
        return [{"step": step, **dict(word.split("=", 1) for word in words)} for step, *words in rows]

    def folder(self, *names):
        """The folder runs/<names>; it is there."""
        folder = self.root.joinpath(*names)
        assert folder.is_dir(), f"{folder} is not there, but {sorted(path.name for path in folder.parent.iterdir())}"
        return folder


def run_script(script, *arguments, root, env=None, expect=0):
    """Runs REPOSITORY/script with --out `root` where it takes one; fails where it does not exit with `expect`."""
    command = [sys.executable, str(REPOSITORY / script), *map(str, arguments)]
    done = subprocess.run(
        command,
        cwd=root.parent,
        capture_output=True,
        text=True,
        encoding="utf-8",
        env={**os.environ, "MPLBACKEND": "agg", **(env or {})},
    )
    assert done.returncode == expect, f"{command}\n{done.stdout[-2000:]}\n{done.stderr[-4000:]}"
    return Done(done.stdout, done.stderr, root)


def shared_run(base, key, make):
    """make(folder) -> Done, made once for all test processes and kept in `base`/key; from then on read back.

    base: a folder that the processes share. `make` gets an empty folder that is its own.
    """
    from filelock import FileLock

    folder = base / re.sub(r"\W+", "_", key)
    base.mkdir(parents=True, exist_ok=True)
    with FileLock(f"{folder}.lock"):
        kept = folder / "done.json"
        if not kept.exists():
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir()
            done = make(folder)
            kept.write_text(json.dumps([done.out, done.err, str(done.root)]), encoding="utf-8")
        out, err, root = json.loads(kept.read_text(encoding="utf-8"))
    return Done(out, err, Path(root))


def predictions(folder, split="test", axis=None, name="predictions.csv"):
    """[{column: text}] of one split (and axis) in a run's predictions.csv, in the file's order."""
    with open(folder / name, encoding="utf-8", newline="") as file:
        return [
            row for row in csv.DictReader(file) if row[SPLIT_COLUMN] == split and (axis is None or row["axis"] == axis)
        ]


def read_json(path):
    return json.loads(Path(path).read_text(encoding="utf-8"))


def numbers(text):
    """All numbers in a text, as floats."""
    return [float(found) for found in re.findall(r"[-+]?\d*\.?\d+(?:e[-+]?\d+)?", text)]
