"""A survey of a data folder, as survey.py makes it, in step 0's lines."""

from collections import Counter

from extras.own_data.survey import SIDES

UNITS = {"mel": " dB", "chroma": ""}


def print_sides(sides):
    """One line a side: how many files, how long, of what type, how large, and between which values."""
    width = max(map(len, sides), default=0)
    print(
        f"\n{'folder and side':{width}} {'files':>6} {'labels':>6}   {'frames: min   mean    max':25} {'MB':>8}  dtype; values"
    )
    for key, side in sides.items():
        low, mean, high = side["frames"] or (0, 0, 0)
        values = ", ".join(
            f"{part} {side[part][0]:.2f} to {side[part][1]:.2f}{unit}" for part, unit in UNITS.items() if side[part]
        )
        dtypes = ", ".join(
            name if count == len(side["ids"]) else f"{count} {name}" for name, count in side["dtypes"].items()
        )
        print(
            f"{key:{width}} {len(side['ids']):6} {side['labelled'] or '-':>6}   {low:11} {mean:6.1f} {high:6} {side['bytes'] / 1e6:8.1f}"
            f"  {dtypes}{'; ' * bool(values)}{values}"
        )


def print_genres(genres):
    """Clips by genre as the label files name them, and by class after the mapping."""
    classes = {side: Counter() for side in SIDES}
    width = max((len(name) for name in [*genres, *(row["class"] or "" for row in genres.values())]), default=0)
    width = max(width, len("total"))
    print(f"\n{'genre':{width}}  {'train':>6} {'test':>6}  class after the mapping")
    for genre, row in genres.items():
        name = {None: "- (dropped)", "?": "? (not in the table)"}.get(row["class"], row["class"])
        print(f"{genre:{width}}  {row['train']:6} {row['test']:6}  {name}")
        for side in SIDES:
            classes[side][row["class"]] += row[side]
    print(f"{'total':{width}}  {classes['train'].total():6} {classes['test'].total():6}")
    print(f"\n{'class':{width}}  {'train':>6} {'test':>6}")
    kept = sorted({row["class"] for row in genres.values()} - {None, "?"})
    for name in kept:
        print(f"{name:{width}}  {classes['train'][name]:6} {classes['test'][name]:6}")
    print(f"{'total':{width}}  " + " ".join(f"{sum(classes[side][name] for name in kept):6}" for side in SIDES) + "\n")


def print_axes(axes):
    """How the emotion labels are spread; whoever always says the mean has the variance as mean squared error."""
    if axes:
        print(f"{'axis':12} {'min':>6} {'mean':>6} {'max':>6} {'variance':>9}")
    for axis, (low, mean, high, variance) in axes.items():
        print(f"{axis:12} {low:6.3f} {mean:6.3f} {high:6.3f} {variance:9.4f}")


def count_clips(sides, folder):
    """Clips on disk, of both sides, at full length, or beat-synced where no others are there."""
    found = [
        sum(len(sides[f"{name}/{side}"]["ids"]) for side in SIDES)
        for name in (folder, f"{folder}_beat")
        if f"{name}/train" in sides
    ]
    return found[0] if found else 0


def print_findings(survey):
    """Names every file at fault. Returns {kind: how many} for errors, missing, unreadable and unlabelled."""
    findings = {"errors": survey["errors"]}
    for kind in ("missing", "unreadable", "unlabelled"):
        findings[kind] = [text for side in survey["sides"].values() for text in side[kind]]
    for kind, texts in {**findings, "note": survey["notes"]}.items():
        for text in texts:
            print(f"{kind.removesuffix('s'):13} : {text}")
    totals = {kind: len(texts) for kind, texts in findings.items()}
    print(f"{'in all':13} : " + ", ".join(f"{number} {kind}" for kind, number in totals.items()))
    return totals
