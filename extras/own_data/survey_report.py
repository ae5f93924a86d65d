"""Prints what survey.py found in a data folder: the lines of step 0."""

from collections import Counter

from extras.own_data.survey import SPLITS

UNITS = {"mel": " dB", "chroma": ""}


def print_splits(splits):
    """A line for each split: number of files and labels, frames, size, dtype and range of the values."""
    width = max(map(len, splits), default=0)
    counts = f"{'files':>6} {'labels':>6}   {'frames: min   mean    max':25}"
    print(f"\n{'folder and split':{width}} {counts} {'MB':>8}  dtype; values")
    for key, split in splits.items():
        low, mean, high = split["frames"] or (0, 0, 0)
        values = ", ".join(
            f"{part} {split[part][0]:.2f} to {split[part][1]:.2f}{unit}" for part, unit in UNITS.items() if split[part]
        )
        dtypes = ", ".join(
            name if count == len(split["ids"]) else f"{count} {name}" for name, count in split["dtypes"].items()
        )
        counts = f"{len(split['ids']):6} {split['labelled'] or '-':>6}   {low:11} {mean:6.1f} {high:6}"
        print(f"{key:{width}} {counts} {split['bytes'] / 1e6:8.1f}  {dtypes}{'; ' * bool(values)}{values}")


def print_genres(genres):
    """Clips per genre of the label files, and per class after the mapping."""
    classes = {split: Counter() for split in SPLITS}
    width = max((len(name) for name in [*genres, *(row["class"] or "" for row in genres.values())]), default=0)
    width = max(width, len("total"))
    print(f"\n{'genre':{width}}  {'train':>6} {'test':>6}  class after the mapping")
    for genre, row in genres.items():
        name = {None: "- (dropped)", "?": "? (not in the table)"}.get(row["class"], row["class"])
        print(f"{genre:{width}}  {row['train']:6} {row['test']:6}  {name}")
        for split in SPLITS:
            classes[split][row["class"]] += row[split]
    print(f"{'total':{width}}  {classes['train'].total():6} {classes['test'].total():6}")
    print(f"\n{'class':{width}}  {'train':>6} {'test':>6}")
    kept = sorted({row["class"] for row in genres.values()} - {None, "?"})
    for name in kept:
        print(f"{name:{width}}  {classes['train'][name]:6} {classes['test'][name]:6}")
    train, test = (sum(classes[split][name] for name in kept) for split in SPLITS)
    print(f"{'total':{width}}  {train:6} {test:6}\n")


def print_axes(axes):
    """Range, mean and variance of the emotion labels; the variance is the MSE of the constant predictor."""
    if axes:
        print(f"{'axis':12} {'min':>6} {'mean':>6} {'max':>6} {'variance':>9}")
    for axis, (low, mean, high, variance) in axes.items():
        print(f"{axis:12} {low:6.3f} {mean:6.3f} {high:6.3f} {variance:9.4f}")


def count_clips(splits, folder):
    """The number of clips on disk in both splits, at full length; beat-synced if there are no others."""
    found = [
        sum(len(splits[f"{name}/{split}"]["ids"]) for split in SPLITS)
        for name in (folder, f"{folder}_beat")
        if f"{name}/train" in splits
    ]
    return found[0] if found else 0


def print_problems(survey):
    """Prints a line for each problem. Returns {kind: how many} for errors, missing, unreadable and unlabelled."""
    problems = {"errors": survey["errors"]}
    for kind in ("missing", "unreadable", "unlabelled"):
        problems[kind] = [text for split in survey["splits"].values() for text in split[kind]]
    for kind, texts in {**problems, "note": survey["notes"]}.items():
        for text in texts:
            print(f"{kind.removesuffix('s'):13} : {text}")
    totals = {kind: len(texts) for kind, texts in problems.items()}
    print(f"{'problems':13} : " + ", ".join(f"{number} {kind}" for kind, number in totals.items()))
    return totals
