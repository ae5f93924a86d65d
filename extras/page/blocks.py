"""What a section of the report's page is made of: tables, answers, pictures and logs, and the rows and captions that
sections share.
"""

import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from extras.page.results import first_run, measured_on, shown, values
from extras.writeup import numbers as writeup

NOT_COMPARABLE = "not comparable"


BESIDE = ("", "this run", "measured on", "write-up", "measured on", "comparison")


NUMBER = re.compile(r"[-+]?\d[\d.]*( ± [\d.]+)?|-|undefined.*")


CAPTIONS = {
    "curves": "learning curves",
    "confusion": "confusion matrix",
    "step1_mel": "mel spectrograms",
    "step2_mel_beat": "mel spectrograms, beat-synchronised",
    "step3_chroma": "chromagrams, full and beat-synchronised",
    "step4_histograms": "clips per genre and per class",
}


@dataclass(frozen=True)
class Table:
    """head: column names; rows: the same number of texts each."""

    caption: str
    head: tuple
    rows: list
    note: str = ""
    kind = "table"

    @property
    def right(self):
        """For each column whether it holds numbers alone, which stand to the right."""
        return [all(NUMBER.fullmatch(cell) for cell in column) for column in zip(*self.rows, strict=True)]


@dataclass(frozen=True)
class Text:
    text: str
    kind = "text"


@dataclass(frozen=True)
class Answer:
    question: str
    text: str
    sources: tuple = ()
    kind = "answer"


@dataclass(frozen=True)
class Picture:
    caption: str
    path: Path
    kind = "picture"


@dataclass(frozen=True)
class Log:
    title: str
    text: str
    kind = "log"


@dataclass(frozen=True)
class NotRun:
    command: str
    kind = "not_run"


def beside(label, ours, ours_on, theirs, theirs_on, comparable, places=4, their_places=None):
    """A row of BESIDE: our figures (one for each seed) beside the write-up's, None where it has none; comparable: True,
    or why not.
    """
    difference = comparable if isinstance(comparable, str) else NOT_COMPARABLE
    if theirs is None:
        difference = "-"
    elif comparable is True:
        measured = ours and None not in ours
        difference = f"{np.mean(ours) - theirs:+.{min(places, their_places or places)}f}" if measured else "-"
    text = "-" if theirs is None else f"{theirs:.{places if their_places is None else their_places}f}"
    return [
        label,
        shown(ours, places),
        ours_on if ours else "-",
        text,
        "-" if theirs is None else theirs_on,
        difference,
    ]


def loss_rows(label, group, train, val, comparable, theirs_on=("training", "validation")):
    """Two rows: last training and validation loss beside the write-up's, None where it shows none."""
    rows = []
    for split, key, theirs, on in zip(
        ("training", "validation"), ("train_loss", "val_loss"), (train, val), theirs_on, strict=True
    ):
        rows.append(
            beside(
                f"{label}, {split} loss",
                values(group, "history", -1, key),
                measured_on(group, split),
                theirs,
                on,
                comparable,
            )
        )
    return rows


def confusion_tables(group, theirs, comparable):
    """Our confusion matrix, the mean over the seeds, and the write-up's."""
    matrices = values(group, "metrics", "confusion")
    mean, places = np.mean(matrices, axis=0), 1 if len(matrices) > 1 else 0
    names = list(first_run(group)["metrics"]["classes"])
    rows = [[name, *(f"{count:.{places}f}" for count in counts)] for name, counts in zip(names, mean, strict=True)]
    ours = f"Confusion matrix{', mean over the seeds' * (len(matrices) > 1)}: rows true, columns predicted; {measured_on(group, 'test')}"
    other = [[name, *map(str, counts)] for name, counts in zip(writeup.CLASSES, theirs, strict=True)]
    note = "" if comparable else NOT_COMPARABLE
    return [
        Table(ours, ("", *names), rows),
        Table(f"The write-up's: {writeup.TEST_SIDE}", ("", *writeup.CLASSES), other, note),
    ]


def place_of(run):
    return f"{run['step']}/{run['variant']}"


def logs(groups):
    return [Log(f"{place_of(run)}/log.txt", run["log"]) for group in groups.values() for run in group.values()]


def log_part(text, number):
    """The lines of step1_visualize's log that are on one step; all of it where the log does not name its steps."""
    blocks = re.split(r"^(?=step \d)", text, flags=re.MULTILINE)
    return "".join(block for block in blocks if block.startswith(f"step {number}")) or text


def pictures(groups, *names, prefix=""):
    """The pictures of each variant's first seed that are there: those named, else all whose name starts with `prefix`."""
    found = []
    for group in groups.values():
        run = first_run(group)
        for path in sorted(Path(run["folder"]).glob(f"{prefix}*.png")):
            if not names or path.stem in names:
                caption = CAPTIONS.get(
                    path.stem, path.stem.replace("_", " ").replace("scatter", "prediction against truth,")
                )
                found.append(Picture(f"{run['variant']}: {caption}", path))
    return found
