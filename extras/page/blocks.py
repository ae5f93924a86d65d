"""The parts of the report page: tables, answers, pictures and logs, and the rows and captions that sections share."""

import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from extras.page.results import first_run, measured_on, shown, values
from extras.writeup import numbers as writeup

NOT_COMPARABLE = "not comparable"
COMPARED = ("", "this run", "measured on", "write-up", "measured on", "comparison")  # the head of comparison_row's rows
NUMBER = re.compile(r"[-+]?\d[\d.]*( ± [\d.]+)?|-|undefined.*")
CAPTIONS = {
    "curves": "learning curves",
    "confusion": "confusion matrix",
    "step1_mel": "mel spectrograms",
    "step2_mel_beat": "mel spectrograms, beat-synced",
    "step3_chroma": "chromagrams, full and beat-synced",
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
        """For each column whether it is right-aligned, because all its cells are numbers."""
        columns = zip(*self.rows, strict=True) if self.rows else [[""]] * len(self.head)
        return [all(NUMBER.fullmatch(cell) for cell in column) for column in columns]


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


def comparison_row(label, ours, ours_on, theirs, theirs_on, comparable, decimals=4, their_decimals=None):
    """A row under COMPARED: our values, one for each seed, the write-up's value, and their difference.

    theirs: None where the write-up has no such value; ours_on, theirs_on: the clips that the values are measured on;
    comparable: True, False, or a text that says why not.
    """
    if their_decimals is None:
        their_decimals = decimals
    if theirs is None:
        change = text = theirs_on = "-"
    else:
        text, change = f"{theirs:.{their_decimals}f}", comparable or NOT_COMPARABLE
    if change is True:
        measured = ours and None not in ours
        change = f"{np.mean(ours) - theirs:+.{min(decimals, their_decimals)}f}" if measured else "-"
    return [label, shown(ours, decimals), ours_on if ours else "-", text, theirs_on, change]


def loss_rows(label, group, train, val, comparable, theirs_on=("training", "validation")):
    """Two rows: last training and validation loss, and the write-up's, None where it shows none."""
    rows = []
    for split, key, theirs, on in zip(
        ("training", "validation"), ("train_loss", "val_loss"), (train, val), theirs_on, strict=True
    ):
        ours, ours_on = values(group, "history", -1, key), measured_on(group, split)
        rows.append(comparison_row(f"{label}, {split} loss", ours, ours_on, theirs, on, comparable))
    return rows


def confusion_tables(group, theirs, comparable):
    """Our confusion matrix, the mean over the seeds, and the write-up's."""
    matrices = values(group, "metrics", "confusion")
    mean, decimals = np.mean(matrices, axis=0), 1 if len(matrices) > 1 else 0
    names = list(first_run(group)["metrics"]["classes"])
    rows = [[name, *(f"{count:.{decimals}f}" for count in counts)] for name, counts in zip(names, mean, strict=True)]
    over_seeds = ", mean over the seeds" if len(matrices) > 1 else ""
    ours = f"Confusion matrix{over_seeds}: rows true, columns predicted; {measured_on(group, 'test')}"
    other = [[name, *map(str, counts)] for name, counts in zip(writeup.CLASSES, theirs, strict=True)]
    note = "" if comparable else NOT_COMPARABLE
    return [
        Table(ours, ("", *names), rows),
        Table(f"The write-up's: {writeup.TEST}", ("", *writeup.CLASSES), other, note),
    ]


def run_name(run):
    return f"{run['step']}/{run['variant']}"


def logs(groups):
    return [Log(f"{run_name(run)}/log.txt", run["log"]) for group in groups.values() for run in group.values()]


def log_part(text, number):
    """The lines of step1_visualize's log on one step; all of it where the log does not name its steps."""
    blocks = re.split(r"^(?=step \d)", text, flags=re.MULTILINE)
    return "".join(block for block in blocks if block.startswith(f"step {number}")) or text


def pictures(groups, *names, prefix=""):
    """The pictures of each variant's first seed: those of these names, else all whose name starts with `prefix`."""
    found = []
    for group in groups.values():
        run = first_run(group)
        for path in sorted(Path(run["folder"]).glob(f"{prefix}*.png")):
            if not names or path.stem in names:
                title = path.stem.replace("_", " ").replace("scatter", "predicted against true values,")
                found.append(Picture(f"{run['variant']}: {CAPTIONS.get(path.stem, title)}", path))
    return found
