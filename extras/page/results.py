"""The finished runs that the report page shows, read from --out by step and variant, and their values as text."""

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
# the order of a step's variants on the page; others come last
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
    """The finished runs of one data set.

    groups: {step: {variant without its seed: {seed: run}}}, a run as read_run returns it; genres, emotions: whether
    these clips are the lab's own, so that the write-up's numbers can be compared; flags: of the command line.
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
        """{variant: {seed: run}} of a step, of the variants whose runs have this metadata."""
        fits = {variant: first_run(group) for variant, group in self.groups[step].items()}
        return {
            name: self.groups[step][name]
            for name, run in fits.items()
            if all(run.get(key) == value for key, value in metadata.items())
        }

    def only(self, step, **metadata):
        """{seed: run} of the first of these variants, {} where there is none."""
        return next(iter(self.chosen(step, **metadata).values()), {})

    def command(self, script):
        """The shell command that runs a script on these data."""
        return shlex.join(["python", script, *self.flags])


def find_results(data, path, root, seed, seeds):
    """Reads every finished full run of these data in `root`. LabError where there is none at all.

    path: the data folder as the user gave it, or None; seed, seeds: the first seed and the number of seeds, None for
    all.
    """
    out = Path(root)
    flags = [*(["--data", path] if path else []), *(["--out", root] if root != "runs" else [])]
    groups = {}
    for step in STEPS:
        runs = [read_run(run) for run in read_runs(out, step, data, mode="full")]
        runs = [run for run in runs if seed <= run["seed"] and (seeds is None or run["seed"] < seed + seeds)]
        found = {}
        for run in sorted(runs, key=order):
            found.setdefault(run["variant"].removesuffix(f"_seed{run['seed']}"), {})[run["seed"]] = run
        groups[step] = found
    if not any(groups.values()):
        others = " (it has runs of other data, seeds or versions)" if any(out.glob("step*/*/metrics.json")) else ""
        first = shlex.join(["python", SECTIONS[0].script, *flags])
        raise LabError(f"{out}: a finished full run on {data.path} was expected{others}; {first} makes the first one")
    return Results(out, data, groups, has_lab_genres(data), has_lab_emotions(data), tuple(flags))


def read_run(run):
    """A run's metrics with its `log`, `history` and `environment` (arguments.json), empty where a file is missing."""
    folder = Path(run["folder"])
    log = folder / "log.txt"
    text = log.read_text(encoding="utf-8", errors="replace") if log.is_file() else ""
    return {
        **run,
        "log": text,
        "history": read_optional(folder / "history.json", []),
        "environment": read_optional(folder / "arguments.json", {}),
    }


def read_optional(path, otherwise):
    """The content of a JSON file, `otherwise` where there is no such file; LabError where it is damaged."""
    if not path.is_file():
        return otherwise
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise LabError(f"{path}: JSON as the step wrote it was expected ({reason(error)})") from error


def order(run):
    words = [run.get(key) for key in ("features", "loss", "model", "axis", "start")]
    return [ORDER.index(word) if word in ORDER else len(ORDER) for word in words], run["variant"], run["seed"]


def first_run(group):
    return next(iter(group.values()))


def has_lab_genres(data):
    """Whether the genre test split is the one of the write-up, by the number of clips of each class."""
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
    """The values of a group's runs under these keys, [one for each seed]; [] where one of them has none."""
    found = []
    for run in group.values():
        for key in keys:
            try:
                run = run[key]
            except (KeyError, IndexError, TypeError):
                return []
        found.append(run)
    return found


def shown(scores, decimals=4):
    """One value for each seed as text: mean ± standard deviation; "-" for none, "undefined" where one is None."""
    if not scores:
        return "-"
    undefined = sum(score is None for score in scores)
    if undefined:
        return "undefined" + (f" in {undefined} of {len(scores)} seeds" if len(scores) > 1 else "")
    std = f" ± {np.std(scores, ddof=1):.{decimals}f}" if len(scores) > 1 else ""
    return f"{np.mean(scores):.{decimals}f}{std}"


def measured_on(group, split):
    """The split that a group's values are measured on, with its size where the log has it: "test, 129 clips"."""
    sizes = SPLITS.search(first_run(group)["log"]) if group else None
    return f"{split}, {sizes[split]} clips" if sizes else split
