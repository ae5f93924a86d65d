"""Prints a table of the finished runs below a folder: mean over seeds, standard deviation, 95 % interval.

    python -m benchmarks.accuracy runs
    python -m benchmarks.accuracy runs --base mel

A row for each variant, and of compete.py for each ensemble. Accuracy for genres; for emotions the rank correlation of
each axis and, where a run has all three, their mean. The interval is a bootstrap over clips and, where there are
several, over seeds. --base adds the difference to that variant, over the seeds of both.
"""

import argparse
import csv
import json
import re
from pathlib import Path

import numpy as np

from common.cli import run_script
from common.comparison import bootstrap, fraction_correct, interval
from common.errors import LabError
from common.labels import AXES
from common.metrics import rank_correlation
from common.run import METRICS

ENSEMBLES = {"networks": "predictions_networks.csv", "all": "predictions.csv"}


def main(argv=None):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("root", metavar="ROOT", help="a folder of runs, --out of the steps")
    base_help = "a variant without its seed, as in ROOT/<step>/<variant>_seed0"
    parser.add_argument("--base", metavar="VARIANT", help=base_help)
    args = parser.parse_args(argv)
    table = read_table(args.root)
    if not table:
        raise LabError(f"{args.root}: finished runs were expected, as the steps write them with --out")
    variants = sorted({variant for _, variant, _ in table})
    if args.base and args.base not in variants:
        raise LabError(f"--base {args.base}: one of {', '.join(variants)} was expected")
    columns = "step | variant | members | score | seeds | mean | std | 95 % interval"
    print(f"| {columns} |" + " minus base, interval |" * bool(args.base))
    print("|---|---|---|---|---|---|---|---|" + "---|" * bool(args.base))
    for (step, variant, members), seeds in sorted(table.items()):
        bases = {key[2]: found for key, found in table.items() if key[1] == args.base}
        base = bases.get(members) or bases.get("-") or {}
        for name in score_names(seeds):
            cells = [step, variant, members, name, f"{len(seeds)}", *summary(seeds, name)]
            print(f"| {' | '.join([*cells, minus_base(seeds, base, name)] if args.base else cells)} |")


def read_table(root):
    """{(step, variant, members): {seed: {score: {clip id: (true, predicted)}}}} of the finished full runs below root.

    variant: without its seed. members: "networks" and "all" for runs of compete.py, "-" for others. score: "accuracy"
    or an axis. LabError where a variant has runs on several data sets.
    """
    table: dict = {}
    data: dict = {}
    for path in sorted(Path(root).glob(f"*/*_seed*/{METRICS}")):
        name = re.fullmatch(r"(.+)_seed(\d+)", path.parent.name)
        files = {members: path.parent / file for members, file in ENSEMBLES.items() if (path.parent / file).exists()}
        if not name or not files:
            continue  # a dry run, a replaced run, or a step without predictions
        step, variant = path.parent.parent.name, name[1]
        fingerprint = json.loads(path.read_text(encoding="utf-8"))["data"]
        if data.setdefault((step, variant), fingerprint) != fingerprint:
            expected = f"runs of one data set were expected under {root}"
            raise LabError(f"{path.parent}: {expected}, other seeds of this variant have another")
        for members, file in files.items():
            seeds = table.setdefault((step, variant, members if len(files) > 1 else "-"), {})
            seeds[int(name[2])] = test_predictions(file)
    return table


def test_predictions(path):
    """{"accuracy" or an axis: {clip id: (true, predicted)}} of the test split in a predictions file."""
    found: dict = {}
    with open(path, encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file):
            if row["split"] == "test":
                kind = float if "axis" in row else str
                found.setdefault(row.get("axis", "accuracy"), {})[row["id"]] = kind(row["true"]), kind(row["predicted"])
    return found


def score_names(seeds):
    names = list(next(iter(seeds.values())))
    return [*names, "mean"] if names == list(AXES) else names


def clips_of(split):
    return list(next(iter(split.values())))


def columns(split, name, ids):
    """[(true, predicted)] arrays of one seed's test split in this order of clips; for "mean" those of every axis."""
    names = AXES if name == "mean" else (name,)
    return [tuple(map(np.array, zip(*(split[each][ident] for ident in ids), strict=True))) for each in names]


def score(parts, indices):
    """Accuracy, or the mean rank correlation of the parts, on these clips; NaN where predictions are constant."""
    values = [
        (fraction_correct if true.dtype.kind == "U" else rank_correlation)(true[indices], predicted[indices])
        for true, predicted in parts
    ]
    return np.mean(values, axis=0)


def summary(seeds, name):
    """Mean, std and interval of a score over {seed: test split}, as texts; "undefined" where it is for a seed."""
    splits = [clips_of(split) for split in seeds.values()]
    parts = [columns(split, name, ids) for split, ids in zip(seeds.values(), splits, strict=True)]
    scores = [score(each, slice(None)) for each in parts]
    if np.isnan(scores).any():
        return "undefined", "-", "-"
    low, high = interval(bootstrap(splits, lambda k, indices: score(parts[k], indices)))
    std = f"{np.std(scores, ddof=1):.3f}" if len(scores) > 1 else "-"
    return f"{np.mean(scores):.3f}", std, "-" if low is None else f"{low:.3f} to {high:.3f}"


def minus_base(seeds, base, name):
    """Difference to another variant over the seeds of both, with its interval, as text; "-" if not comparable."""
    shared = sorted(seeds.keys() & base.keys())
    splits = [clips_of(seeds[seed]) for seed in shared]
    alike = all(
        name in score_names(base) and set(ids) == set(clips_of(base[seed]))
        for seed, ids in zip(shared, splits, strict=True)
    )
    if seeds is base or not shared or not alike:
        return "-"
    mine, theirs = (
        [columns(each[seed], name, ids) for seed, ids in zip(shared, splits, strict=True)] for each in (seeds, base)
    )

    def gap(k, indices=slice(None)):
        return score(mine[k], indices) - score(theirs[k], indices)

    mean = np.mean([gap(k) for k in range(len(shared))])
    if np.isnan(mean):
        return "undefined"
    low, high = interval(bootstrap(splits, gap))
    if low is None:
        return f"{mean:+.3f}, no interval on so few clips"
    return f"{mean:+.3f}, {low:+.3f} to {high:+.3f} ({len(shared)} seed{'s' * (len(shared) > 1)})"


if __name__ == "__main__":
    run_script(main)
