"""What the figures say: each step's questions answered yes, no or cannot tell, from the predictions that its runs left behind.

Two models are compared on the same test clips. The 95 % interval of their difference comes from drawing these clips anew, with
several seeds the seeds too; an interval that holds 0 answers nothing.
"""

import csv
from pathlib import Path
from typing import NamedTuple

import numpy as np

from common.labels import AXES
from common.metrics import bootstrap, interval, rank_correlation, share_right
from common.recipes import recipe_of
from common.run import read_runs


class Difference(NamedTuple):
    """Score of the first model minus that of the second, mean over the seeds, with its 95 % interval."""

    mean: float
    low: float
    high: float

    @property
    def answer(self):
        return "yes" if self.low > 0 else "no" if self.high < 0 else "cannot tell"

    def __str__(self):
        return f"{self.mean:+.3f} (95 % interval {self.low:+.3f} to {self.high:+.3f})"


def seed_runs(args, data, step, mode="full", **facts):
    """{seed: metrics of the finished run} of this step on these data, for the seeds at hand that --out holds."""
    runs = read_runs(args.out, step, data, recipe_of(args), mode=mode, **facts)
    wanted = range(args.seed, args.seed + args.seeds)
    return {run["seed"]: run for run in runs if run["seed"] in wanted}


def test_predictions(run, axis=None):
    """{clip id: (true, predicted)} of a run's test side: class names, or numbers where an axis is named."""
    with open(Path(run["folder"]) / "predictions.csv", encoding="utf-8", newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["side"] == "test" and row.get("axis") == axis]
    kind = float if axis else str
    return {row["id"]: (kind(row["true"]), kind(row["predicted"])) for row in rows}


def difference(first, second, axis=None):
    """The Difference of two models, each {seed: run}, in accuracy or in the rank correlation of an axis; None where nothing is shared."""
    return mean_difference([(first, second, axis)])


def mean_difference(pairs):
    """The mean of several Differences of one step on the same clips: pairs [(first, second, axis)], each as difference takes them."""
    sides, found = [], []
    for seed in sorted(set.intersection(*(first.keys() & second.keys() for first, second, _ in pairs))):
        columns = []
        for first, second, axis in pairs:
            one, other = test_predictions(first[seed], axis), test_predictions(second[seed], axis)
            if one.keys() != other.keys():
                return None
            true, mine = map(np.array, zip(*one.values(), strict=True))
            theirs = np.array([other[ident][1] for ident in one])
            columns.append((rank_correlation if axis else share_right, true, mine, theirs))
        sides.append(list(one))
        found.append(columns)

    def gap(k, rows=slice(None)):
        return np.mean([score(true[rows], mine[rows]) - score(true[rows], theirs[rows]) for score, true, mine, theirs in found[k]])

    mean = np.mean([gap(k) for k in range(len(found))]) if found else np.nan
    return None if np.isnan(mean) else Difference(float(mean), *interval(bootstrap(sides, gap)))


def say(question, found, unit):
    print(f"finding    : {question} {f'{found.answer}, {unit} {found}' if found else 'cannot tell, there is nothing to compare with'}")


def mean_score(runs, key):
    values = [run["result"][key] for run in runs.values()]
    return None if None in values else float(np.mean(values))


def say_step5(args, data):
    """Steps 5 and 6: which LSTM is best, does beat-synchronisation help, does fused beat its parts?"""
    names = ("mel", "beat", "chroma", "fused", "chroma-beat", "fused-beat")
    runs = {name: seed_runs(args, data, "step5_lstm", features=name, loss=args.loss) for name in names}
    runs = {name: found for name, found in runs.items() if found}
    order = sorted(runs, key=lambda name: mean_score(runs[name], "test_acc"), reverse=True)
    if len(order) > 1:
        found = difference(runs[order[0]], runs[order[1]])
        say(f"is the LSTM on {order[0]} better than the next, on {order[1]}?", found, "accuracy")
    for first, second, question in (
        ("beat", "mel", "does beat-synchronisation help?"),
        ("fused", "mel", "does fused beat mel alone?"),
        ("fused", "chroma", "does fused beat chroma alone?"),
    ):
        if first in runs and second in runs:
            say(question, difference(runs[first], runs[second]), "accuracy")
    say_losses(args, data, names)


def say_losses(args, data, names):
    """What the choice of loss changed, for each of these features with runs of both losses and the same seeds."""
    for name in names:
        by_loss = {loss: seed_runs(args, data, "step5_lstm", features=name, loss=loss) for loss in ("cross-entropy", "squared-error")}
        seeds = set.intersection(*map(set, by_loss.values()))
        if not seeds:
            continue
        found = difference(by_loss["cross-entropy"], by_loss["squared-error"])
        say(f"does the cross entropy make a better LSTM on {name} than the squared error of the softmax?", found, "accuracy")
        for loss, runs in by_loss.items():
            keys = ("accuracy", "test_cross_entropy", "test_squared_error")
            right, entropy, error = (np.mean([runs[seed]["metrics"][key] for seed in seeds]) for key in keys)
            means = f"accuracy {right:.4f}, cross entropy {entropy:.4f}, squared error of the softmax {error:.4f}"
            print(f"             by {loss}: test {means} ({len(seeds)} seed{'s' * (len(seeds) > 1)})")


def say_step7(args, data):
    """Step 7d: is the CNN better than the LSTMs? Against the best of them, and against 5a's on the same features."""
    cnn = seed_runs(args, data, "step7_cnn", args.mode)
    by_variant = {}
    for run in read_runs(args.out, "step5_lstm", data, mode="full"):
        if run["seed"] in cnn:
            by_variant.setdefault((run["features"], run["loss"]), {})[run["seed"]] = run
    if not by_variant:
        print(f"\n{args.out} holds no run of step5_lstm.py on these data to compare with")
        return
    best = max(by_variant, key=lambda key: np.mean([run["metrics"]["val_accuracy"] for run in by_variant[key].values()]))
    print()
    say(f"does the CNN beat the LSTM that validates best, on {best[0]} by {best[1]}?", difference(cnn, by_variant[best]), "accuracy")
    same = by_variant.get(("mel", "cross-entropy"))
    if same and best != ("mel", "cross-entropy"):
        say("does the CNN beat the LSTM on mel, as in step 7d?", difference(cnn, same), "accuracy")


def say_step8(args, data):
    """Step 8e: does the CNN beat the LSTM, on each axis?"""
    for axis in AXES:
        cnn, lstm = (seed_runs(args, data, "step8_regression", model=name, axis=axis) for name in ("cnn", "lstm"))
        if cnn and lstm:
            say(f"does the CNN beat the LSTM in {axis}?", difference(cnn, lstm, axis), "rank correlation")


def say_step9(args, data):
    """Step 9e: what did transfer change, against the same training from scratch and against step 8's CNN?"""
    pairs = []
    for axis in args.axis:
        facts = {"axis": axis, "freeze": args.freeze}
        transfer, scratch = (seed_runs(args, data, "step9_transfer", start=start, **facts) for start in ("transfer", "scratch"))
        frozen = "does a frozen transferred backbone beat a frozen random one"
        question = frozen if args.freeze else "does transfer beat training from scratch"
        say(f"{question} in {axis}?", difference(transfer, scratch, axis), "rank correlation")
        pairs.append((transfer, scratch, axis))
        alone = seed_runs(args, data, "step8_regression", model="cnn", axis=axis)
        say(f"does transfer beat step 8's CNN in {axis}?", difference(transfer, alone, axis), "rank correlation")
    if len(pairs) > 1:
        say(f"{question}, in the mean of these axes?", mean_difference(pairs), "rank correlation")


def say_step10(args, data):
    """Step 10c: what did one model for three axes change against step 8's CNN for each?"""
    multitask = seed_runs(args, data, "step10_multitask", weights=list(args.weights), ensemble=args.ensemble)
    ours = f"the mean of {args.ensemble} multitask CNNs" if args.ensemble > 1 else "the multitask CNN"
    for axis in AXES:
        alone = seed_runs(args, data, "step8_regression", model="cnn", axis=axis)
        say(f"does {ours} beat step 8's CNN in {axis}?", difference(multitask, alone, axis), "rank correlation")
