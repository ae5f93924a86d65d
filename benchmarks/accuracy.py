"""The finished runs below a folder as a table, a row for each variant and its members: mean over seeds, deviation, 95 %
interval.

    python -m benchmarks.accuracy runs
    python -m benchmarks.accuracy runs --base mel

Accuracy for genres; for emotions the rank correlation of each axis and, where a run has all three, their mean. The
interval comes from drawing clips and, where there are several, seeds anew; --base adds the difference to that variant,
over the seeds of both.
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

MEMBERS = {"networks": "predictions_networks.csv", "all": "predictions.csv"}


def main(argv=None):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("root", metavar="ROOT", help="a folder of runs, --out of the steps")
    parser.add_argument(
        "--base", metavar="VARIANT", help="a variant without its seed, as in ROOT/<step>/<variant>_seed0"
    )
    args = parser.parse_args(argv)
    table = read_table(args.root)
    if not table:
        raise LabError(f"{args.root}: finished runs were expected, as the steps write them with --out")
    if args.base and args.base not in {variant for _, variant, _ in table}:
        raise LabError(
            f"--base {args.base}: one of {', '.join(sorted({variant for _, variant, _ in table}))} was expected"
        )
    print(
        "| step | variant | members | figure | seeds | mean | deviation | 95 % interval |"
        + " minus base, interval |" * bool(args.base)
    )
    print("|---|---|---|---|---|---|---|---|" + "---|" * bool(args.base))
    for (step, variant, members), seeds in sorted(table.items()):
        bases = {key[2]: found for key, found in table.items() if key[1] == args.base}
        base = bases.get(members) or bases.get("-") or {}
        for figure in figures(seeds):
            cells = [step, variant, members, figure, f"{len(seeds)}", *summary(seeds, figure)]
            print(f"| {' | '.join([*cells, beside(seeds, base, figure)] if args.base else cells)} |")


def read_table(root):
    """{(step, variant without its seed, members): {seed: {figure: {clip id: (true, predicted)}}}} of the finished full
    runs below root.

    members: "networks" and "all" of the runs of compete.py, "-" of others. LabError where a variant's runs are of
    several data sets.
    """
    table: dict = {}
    data: dict = {}
    for path in sorted(Path(root).glob(f"*/*_seed*/{METRICS}")):
        name = re.fullmatch(r"(.+)_seed(\d+)", path.parent.name)
        files = {members: path.parent / file for members, file in MEMBERS.items() if (path.parent / file).exists()}
        if not name or not files:
            continue  # a dry run, an earlier one of the same name, a step that predicts nothing
        step, variant = path.parent.parent.name, name[1]
        fingerprint = json.loads(path.read_text(encoding="utf-8"))["data"]
        if data.setdefault((step, variant), fingerprint) != fingerprint:
            raise LabError(
                f"{path.parent}: runs of one data set were expected under {root}, this one is of another than other seeds of it"
            )
        for members, file in files.items():
            seeds = table.setdefault((step, variant, members if len(files) > 1 else "-"), {})
            seeds[int(name[2])] = test_side(file)
    return table


def test_side(path):
    """{"accuracy" or an axis: {clip id: (true, predicted)}} of a file of predictions."""
    found: dict = {}
    with open(path, encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file):
            if row["split"] == "test":
                kind = float if "axis" in row else str
                found.setdefault(row.get("axis", "accuracy"), {})[row["id"]] = kind(row["true"]), kind(row["predicted"])
    return found


def figures(seeds):
    names = list(next(iter(seeds.values())))
    return [*names, "mean"] if names == list(AXES) else names


def clips_of(split):
    return list(next(iter(split.values())))


def columns(split, figure, ids):
    """[(true, predicted)] arrays of one seed's test split in this order of clips, for "mean" those of every axis."""
    names = AXES if figure == "mean" else (figure,)
    return [tuple(map(np.array, zip(*(split[name][ident] for ident in ids), strict=True))) for name in names]


def score(parts, rows):
    """Accuracy, or the mean rank correlation of the parts, on these rows; NaN where a prediction is constant."""
    values = [
        (fraction_correct if true.dtype.kind == "U" else rank_correlation)(true[rows], predicted[rows])
        for true, predicted in parts
    ]
    return np.mean(values, axis=0)


def summary(seeds, figure):
    """Mean, deviation and interval of a figure over {seed: test split}, as texts; "undefined" where a seed's is."""
    splits = [clips_of(split) for split in seeds.values()]
    parts = [columns(split, figure, ids) for split, ids in zip(seeds.values(), splits, strict=True)]
    scores = [score(each, slice(None)) for each in parts]
    if np.isnan(scores).any():
        return "undefined", "-", "-"
    low, high = interval(bootstrap(splits, lambda k, rows: score(parts[k], rows)))
    return (
        f"{np.mean(scores):.3f}",
        f"{np.std(scores, ddof=1):.3f}" if len(scores) > 1 else "-",
        f"{low:.3f} to {high:.3f}",
    )


def beside(seeds, base, figure):
    """The difference to another variant over the seeds that both have, with its interval, as text; "-" where nothing
    can be compared.
    """
    shared = sorted(seeds.keys() & base.keys())
    splits = [clips_of(seeds[seed]) for seed in shared]
    alike = all(
        figure in figures(base) and set(ids) == set(clips_of(base[seed]))
        for seed, ids in zip(shared, splits, strict=True)
    )
    if seeds is base or not shared or not alike:
        return "-"
    mine, theirs = (
        [columns(each[seed], figure, ids) for seed, ids in zip(shared, splits, strict=True)] for each in (seeds, base)
    )

    def gap(k, rows=slice(None)):
        return score(mine[k], rows) - score(theirs[k], rows)

    mean = np.mean([gap(k) for k in range(len(shared))])
    if np.isnan(mean):
        return "undefined"
    low, high = interval(bootstrap(splits, gap))
    return f"{mean:+.3f}, {low:+.3f} to {high:+.3f} ({len(shared)} seed{'s' * (len(shared) > 1)})"


if __name__ == "__main__":
    run_script(main)
