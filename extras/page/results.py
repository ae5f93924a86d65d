"""The finished runs that the report's page is made of: read from --out, by step and variant, and how their figures are
written.
"""

import json
import re
import shlex
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from common.comparison import read_runs
from common.errors import LabError, reason
from common.labels import AXES, read_emotion_labels, read_genre_labels
from common.locations import LabData
from extras.page.texts import SECTIONS
from extras.writeup.numbers import CLASSES, SUPPORT

STEPS = tuple(dict.fromkeys(section.step for section in SECTIONS))
LAB_LABELLED = 1122  # clips with emotion labels in the lab's own data
# the order in which a step's variants stand on the page; None first, what is not named last
ORDER = (
    None,
    "mel",
    "beat",
    "chroma",
    "fused",
    "chroma-beat",
    "fused-beat",
    "cross-entropy",
    "lstm",
    "cnn",
    *AXES,
    "genres",
    "transfer",
)
SPLITS = re.compile(
    r"^clips +: (?P<training>\d+) to train on, (?P<validation>\d+) to validate .*?(?P<test>\d+) to test$", re.MULTILINE
)


@dataclass(frozen=True)
class Results:
    """groups: {step: {variant without its seed: {seed: run}}}; a run is its metrics.json with `folder`, `log`,
    `history` and `machine`.

    genres, emotions: whether these clips are the lab's own, so that the write-up's figures can be held against them.
    """

    out: Path
    data: LabData
    groups: dict
    genres: bool
    emotions: bool
    flags: tuple

    def runs(self, step):
        return [run for group in self.groups[step].values() for run in group.values()]

    def chosen(self, step, **metadata):
        """{variant: {seed: run}} of a step, of the variants whose runs agree in these metadata."""
        fits = {variant: first_run(group) for variant, group in self.groups[step].items()}
        return {
            name: self.groups[step][name]
            for name, run in fits.items()
            if all(run.get(key) == value for key, value in metadata.items())
        }

    def only(self, step, **metadata):
        """{seed: run} of the first such variant, {} where there is none."""
        return next(iter(self.chosen(step, **metadata).values()), {})

    def command(self, script):
        """What makes a step's runs of these data, for the shell."""
        return shlex.join(["python", script, *self.flags])


def find_results(data, path, root, seed, seeds):
    """Reads every finished full run of these data below `root`. LabError where there is none at all.

    path: the data folder as the user gave it, or None; seed, seeds: the first seed and how many there are of them, None
    for all.
    """
    out = Path(root)
    flags = [*(["--data", path] if path else []), *(["--out", root] if root != "runs" else [])]
    groups = {}
    for step in STEPS:
        runs = [read_whole(run) for run in read_runs(out, step, data, mode="full")]
        runs = [run for run in runs if seed <= run["seed"] and (seeds is None or run["seed"] < seed + seeds)]
        found = {}
        for run in sorted(runs, key=place):
            found.setdefault(run["variant"].removesuffix(f"_seed{run['seed']}"), {})[run["seed"]] = run
        groups[step] = found
    if not any(groups.values()):
        others = " (it has runs of other data, seeds or versions)" if any(out.glob("step*/*/metrics.json")) else ""
        first = shlex.join(["python", SECTIONS[0].script, *flags])
        raise LabError(f"{out}: a finished full run on {data.path} was expected{others}; {first} makes the first one")
    return Results(out, data, groups, has_lab_genres(data), has_lab_emotions(data), tuple(flags))


def read_whole(run):
    """A run's metrics with what else the page takes from its folder; what is not there is empty."""
    folder = Path(run["folder"])
    log = folder / "log.txt"
    text = log.read_text(encoding="utf-8", errors="replace") if log.is_file() else ""
    return {
        **run,
        "log": text,
        "history": read_optional(folder / "history.json", []),
        "machine": read_optional(folder / "arguments.json", {}),
    }


def read_optional(path, otherwise):
    """What a JSON file holds, `otherwise` where there is no such file; LabError where it is broken."""
    if not path.is_file():
        return otherwise
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise LabError(f"{path}: JSON as the step wrote it was expected ({reason(error)})") from error


def place(run):
    words = [run.get(key) for key in ("features", "loss", "model", "axis", "start")]
    return [ORDER.index(word) if word in ORDER else len(ORDER) for word in words], run["variant"], run["seed"]


def first_run(group):
    return next(iter(group.values()))


def has_lab_genres(data):
    """Whether the genre test split is the one that the write-up's figures are of, class by class."""
    if data.demo or data.own_table:
        return False
    try:
        rows = read_genre_labels(data.genres() / "test_labels.txt", data.class_mapping)
    except LabError:
        return False
    counts = Counter(data.class_mapping[genre] for _, genre, _ in rows)
    return all(counts[name] == support for name, support in zip(CLASSES, SUPPORT, strict=True))


def has_lab_emotions(data):
    """Whether as many clips have emotion labels as in the lab's data."""
    try:
        return (
            not data.demo
            and not data.own_table
            and len(read_emotion_labels(data.emotions() / "train_labels.txt")) == LAB_LABELLED
        )
    except LabError:
        return False


def values(group, *keys):
    """What a group's runs hold under these keys, [one for each seed]; [] where one of them has nothing there."""
    found = []
    for run in group.values():
        for key in keys:
            try:
                run = run[key]
            except (KeyError, IndexError, TypeError):
                return []
        found.append(run)
    return found


def shown(figures, places=4):
    """Figures of several seeds as text: the one, or mean ± standard deviation; "-" for none, "undefined" where one of
    them is None.
    """
    if not figures:
        return "-"
    undefined = sum(figure is None for figure in figures)
    if undefined:
        return "undefined" + (f" in {undefined} of {len(figures)} seeds" if len(figures) > 1 else "")
    deviation = f" ± {np.std(figures, ddof=1):.{places}f}" if len(figures) > 1 else ""
    return f"{np.mean(figures):.{places}f}{deviation}"


def measured_on(group, split):
    """The set that a group's figures are of, with its size by the log where that tells: "test, 129 clips"."""
    told = SPLITS.search(first_run(group)["log"]) if group else None
    return f"{split}, {told[split]} clips" if told else split
