"""Comparison of models on the same test clips: confidence intervals, and each step's questions answered from its runs.

The 95 % confidence interval of a score, or of the difference of two, is a bootstrap over the test clips, and with
several seeds over the seeds too. A difference whose interval holds 0 is not significant.
"""

import csv
import io
import json
import sys
from pathlib import Path
from typing import NamedTuple

import numpy as np

from common.dataset import clip_ids
from common.errors import LabError, reason
from common.files import FORMAT, METRICS, write_atomically
from common.labels import AXES
from common.metrics import print_mean_correlation, rank_correlation
from common.versions import is_same_data

IN_SINGLE_FILE = False  # left out of the single file of a step: it has no other runs beside it


def fraction_correct(true, predicted):
    """Accuracy of names or numbers (..., n) and (..., n)."""
    return (true == predicted).mean(axis=-1)


ROUNDS = 1000  # of a bootstrap: enough for the second decimal of an interval
# clips for an interval; on fewer, 95 % intervals of percentiles hold the true value in less than 90 % (Hesterberg, What
# Teachers Should Know About the Bootstrap, 2015)
FEWEST = 10


def bootstrap(ids_by_seed, score):
    """A mean over seeds, resampled over clips and seeds with replacement: (at most ROUNDS,) means, none of few clips.

    ids_by_seed: each seed's clips; a round takes a clip equally often for every seed that has it, since it is the same
    song. score(k, indices): of seed k on indices (m, n) of its clips, (m,) for m rounds at once; a round with NaN, or
    with no clip of a seed, is left out. One seed says nothing on the spread over seeds; two or three that differ more
    than clips do make it too small.
    """
    rng, names = np.random.default_rng(0), sorted(set().union(*ids_by_seed))
    if len(names) < FEWEST:
        return np.array([])
    number = {name: k for k, name in enumerate(names)}
    numbers = [np.array([number[name] for name in ids]) for ids in ids_by_seed]
    by_shape: dict = {}  # {(seed, how many of its clips were drawn): [(round, column of scores, indices)]}
    for each in range(ROUNDS):
        times = np.bincount(rng.integers(0, len(names), len(names)), minlength=len(names))
        for column, k in enumerate(rng.integers(0, len(numbers), len(numbers))):
            indices = np.repeat(np.arange(len(numbers[k])), times[numbers[k]])
            by_shape.setdefault((k, len(indices)), []).append((each, column, indices))
    scores = np.full((ROUNDS, len(numbers)), np.nan)
    for (k, count), drawn in by_shape.items():
        if count:
            found = score(k, np.stack([indices for *_, indices in drawn]))
            scores[[each for each, *_ in drawn], [column for _, column, _ in drawn]] = found
    means = scores.mean(axis=1)
    return means[~np.isnan(means)]


def interval(means):
    """The 95 % confidence interval (low, high) of what bootstrap returned; (None, None) where that is empty."""
    return tuple(np.percentile(means, [2.5, 97.5]).tolist()) if len(means) else (None, None)


def score_interval(true, predicted, score):
    """The 95 % confidence interval of score(true, predicted), (n,) and (n,), by bootstrap over the clips."""
    return interval(bootstrap([range(len(true))], lambda _, indices: score(true[indices], predicted[indices])))


def print_interval(name, true, predicted, score):
    """Prints and returns the 95 % confidence interval [low, high] of a score; [None, None] where there is none."""
    low, high = score_interval(true, predicted, score)
    if len(true) < FEWEST:
        print(f"           no 95 % interval of the {name}: it takes {FEWEST} test clips, and here are {len(true)}")
    elif low is not None:
        print(f"           95 % interval of the {name}, bootstrap over the test clips: {low:.3f} to {high:.3f}")
    return [low, high]


def save_genre_predictions(run, classes, evaluations, suffix=""):
    """predictions<suffix>.csv of a run, a row for each clip: id, split, true, predicted, p(<class>) for every class.

    evaluations: [(split, its dataset, Evaluation of logits)].
    """
    rows = []
    for split, dataset, evaluation in evaluations:
        probabilities = evaluation.outputs.double().softmax(dim=1).tolist()
        for ident, true, each in zip(clip_ids(dataset), evaluation.targets.tolist(), probabilities, strict=True):
            rows.append(
                {"id": ident, "split": split, "true": classes[true], "predicted": classes[each.index(max(each))]}
            )
            rows[-1] |= {f"p({name})": f"{value:.9g}" for name, value in zip(classes, each, strict=True)}
    save_predictions(run, rows, suffix)


def save_axis_predictions(run, axes, test_set, true, predicted, suffix=""):
    """predictions<suffix>.csv of a run from (n, axes) and (n, axes), a row for each clip and axis: true, predicted."""
    rows = []
    for ident, right, guess in zip(clip_ids(test_set), true.tolist(), predicted.tolist(), strict=True):
        for axis, one, other in zip(axes, right, guess, strict=True):
            values = {"true": f"{one:.6g}", "predicted": f"{other:.9g}"}
            rows.append({"id": ident, "split": "test", "axis": axis, **values})
    save_predictions(run, rows, suffix)


def save_predictions(run, rows, suffix):
    """predictions<suffix>.csv of a run from [{column: value}]; all rows have the same columns."""
    text = io.StringIO()
    writer = csv.DictWriter(text, rows[0].keys(), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    write_atomically(run.folder / f"predictions{suffix}.csv", text.getvalue())


class Difference(NamedTuple):
    """Score of the first model minus that of the second, mean over seeds, with its 95 % confidence interval, if any."""

    mean: float
    low: float | None
    high: float | None
    caution: str = ""

    @property
    def answer(self):
        if self.low is None or self.high is None:
            return "no answer"
        return "yes" if self.low > 0 else "no" if self.high < 0 else "not significant"

    def __str__(self):
        if self.low is None:
            return f"{self.mean:+.3f} (no interval on fewer than {FEWEST} clips)"
        return f"{self.mean:+.3f} (95 % interval {self.low:+.3f} to {self.high:+.3f}){self.caution}"


def read_runs(root, step, data, **wanted):
    """The metrics of a step's finished runs on the same data that have these values, {name: value}, in them."""
    found = []
    for path in sorted(Path(root).glob(f"{step}/*/{METRICS}")):
        if ".old-" in path.parent.name:
            continue
        run = read_metrics(path)
        if (
            run
            and all(run.get(name) == value for name, value in wanted.items())
            and is_same_data(data, run.get("data"))
        ):
            found.append({**run, "folder": str(path.parent)})
    return found


def read_metrics(path):
    """A run's metrics.json; None, with a line on stderr, if an earlier version wrote it. LabError if it is damaged."""
    try:
        run = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise LabError(f"{path}: the metrics of a finished run were expected ({reason(error)})") from error
    if not isinstance(run, dict):
        raise LabError(f"{path}: the metrics of a finished run were expected, a JSON object")
    if run.get("format") == FORMAT:
        return run
    print(f"{path}: by an earlier version of this project, left out; run the step again to compare it", file=sys.stderr)
    return None


def seed_runs(root, data, seeds, step, mode="full", **metadata):
    """{seed: metrics of the finished run} of a step on these data below ROOT, for these seeds."""
    return {run["seed"]: run for run in read_runs(root, step, data, mode=mode, **metadata) if run["seed"] in seeds}


def test_predictions(run, axis=None):
    """{clip id: (true, predicted)} of a run's test set: class names, or numbers where an axis is named."""
    with open(Path(run["folder"]) / "predictions.csv", encoding="utf-8", newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["split"] == "test" and row.get("axis") == axis]
    kind = float if axis else str
    return {row["id"]: (kind(row["true"]), kind(row["predicted"])) for row in rows}


def difference(first, second, axis=None):
    """The Difference of two models, each {seed: run}, in accuracy or in the rank correlation of an axis.

    None where they share no seed, or their test clips differ.
    """
    return mean_difference([(first, second, axis)])


def mean_difference(pairs):
    """The mean of several Differences of one step on the same clips: pairs [(first, second, axis)], see difference."""
    ids_by_seed, found, gains = [], [], []
    for seed in sorted(set.intersection(*(first.keys() & second.keys() for first, second, _ in pairs))):
        columns = []
        for first, second, axis in pairs:
            one, other = test_predictions(first[seed], axis), test_predictions(second[seed], axis)
            if one.keys() != other.keys():
                return None
            true, mine = map(np.array, zip(*one.values(), strict=True))
            theirs = np.array([other[ident][1] for ident in one])
            columns.append((rank_correlation if axis else fraction_correct, true, mine, theirs))
            gains.append([over_constant(first[seed], axis, true, each) for each in (mine, theirs)])
        ids_by_seed.append(list(one))
        found.append(columns)
    fail = "; caution: neither of them is better than a constant predictor" + " in squared error" * bool(pairs[0][2])
    return paired_difference(ids_by_seed, found, fail if gains and np.mean(gains, axis=0).max() <= 0 else "")


def over_constant(run, axis, true, predicted):
    """How much better than a constant predictor: in accuracy than the largest class, in squared error than the mean."""
    if axis is None:
        return fraction_correct(true, predicted) - np.unique(true, return_counts=True)[1].max() / len(true)
    metrics = run.get("metrics") or {}
    return metrics.get(axis, metrics).get("mse_constant", np.inf) - np.mean((true - predicted) ** 2)


def paired_difference(ids_by_seed, found, caution=""):
    """The Difference of [[(score, true, mine, theirs)] of each seed], a mean over all of them; None where undefined."""

    def gap(k, at=slice(None)):
        gaps = [score(true[at], mine[at]) - score(true[at], theirs[at]) for score, true, mine, theirs in found[k]]
        return np.mean(gaps, axis=0)

    mean = np.mean([gap(k) for k in range(len(found))]) if found else np.nan
    return (
        None
        if np.isnan(mean)
        else Difference(float(mean), *interval(bootstrap(ids_by_seed, gap)))._replace(caution=caution)
    )


def print_comparison(question, *pairs):
    """Prints the answer to a question on two models, or the mean of several such pairs: see mean_difference."""
    found, unit = mean_difference(pairs), "rank correlation" if pairs[0][2] else "accuracy"
    answer = f"{found.answer}, {unit} {found}" if found else "no answer, there is nothing to compare with"
    print(f"comparison : {question} {answer}")


def mean_score(runs, key):
    values = [run["result"][key] for run in runs.values()]
    return None if None in values else float(np.mean(values))


def compare_step5(root, data, seeds, loss):
    """Steps 5 and 6: which LSTM is best, does beat-synchronisation help, does fused beat its parts?"""
    names = ("mel", "beat", "chroma", "fused", "chroma-beat", "fused-beat")
    runs = {name: seed_runs(root, data, seeds, "step5_lstm", features=name, loss=loss) for name in names}
    complete = {name: found for name, found in runs.items() if found.keys() == set(seeds)}
    print("\nfeatures       accuracy  macro F1")
    for features, by_seed in complete.items():
        accuracy, f1 = (mean_score(by_seed, key) for key in ("test_acc", "test_f1_macro"))
        print(f"{features:14} {accuracy:8.4f} {f1:9.4f}")
    order = sorted(complete, key=lambda name: mean_score(runs[name], "test_acc"), reverse=True)
    if len(order) > 1:
        question = f"is the LSTM on {order[0]} better than the next, on {order[1]}?"
        print_comparison(question, (runs[order[0]], runs[order[1]], None))
    for first, second, question in (
        ("beat", "mel", "does beat-synchronisation help?"),
        ("fused", "mel", "does fused beat mel alone?"),
        ("fused", "chroma", "does fused beat chroma alone?"),
    ):
        if runs[first] and runs[second]:
            print_comparison(question, (runs[first], runs[second], None))
    compare_losses(root, data, seeds, names)


def compare_losses(root, data, seeds, names):
    """What the choice of loss changed, for each of these features with runs of both losses and the same seeds."""
    for name in names:
        losses = ("cross-entropy", "squared-error")
        by_loss = {loss: seed_runs(root, data, seeds, "step5_lstm", features=name, loss=loss) for loss in losses}
        shared = set.intersection(*map(set, by_loss.values()))
        if not shared:
            continue
        question = f"does the cross entropy make a better LSTM on {name} than the squared error of the softmax?"
        print_comparison(question, (*by_loss.values(), None))
        for loss, runs in by_loss.items():
            keys = ("accuracy", "test_cross_entropy", "test_squared_error")
            right, entropy, error = (np.mean([runs[seed]["metrics"][key] for seed in shared]) for key in keys)
            means = f"accuracy {right:.4f}, cross entropy {entropy:.4f}, squared error of the softmax {error:.4f}"
            print(f"             by {loss}: test {means} ({len(shared)} seed{'s' * (len(shared) > 1)})")


def compare_step7(root, data, seeds):
    """Step 7d: is the CNN better than the LSTMs? Against the best of them, and against 5a's on the same features."""
    cnn = seed_runs(root, data, seeds, "step7_cnn")
    by_variant = {}
    for run in read_runs(root, "step5_lstm", data, mode="full"):
        if run["seed"] in cnn:
            by_variant.setdefault((run["features"], run["loss"]), {})[run["seed"]] = run
    if not by_variant:
        print(f"\n{root} holds no run of step5_lstm.py on these data to compare with")
        return
    best = max(
        by_variant, key=lambda key: np.mean([run["metrics"]["val_accuracy"] for run in by_variant[key].values()])
    )
    print()
    question = f"does the CNN beat the LSTM that validates best, on {best[0]} by {best[1]}?"
    print_comparison(question, (cnn, by_variant[best], None))
    same = by_variant.get(("mel", "cross-entropy"))
    if same and best != ("mel", "cross-entropy"):
        print_comparison("does the CNN beat the LSTM on mel, as in step 7d?", (cnn, same, None))


def compare_step7_ast(root, data, seeds):
    """Step 7.2 of later years: is the transformer better than the CNN of step 7?"""
    transformer, cnn = (seed_runs(root, data, seeds, step) for step in ("step7_ast", "step7_cnn"))
    print()
    if cnn:
        print_comparison("does the transformer beat the CNN of step 7?", difference(transformer, cnn), "accuracy")
    else:
        print(f"{root} holds no run of step7_cnn.py on these data to compare with")


def compare_step8(root, data, seeds):
    """Step 8: each network's mean over the axes; 8e: does the CNN beat the LSTM, on each of them?"""
    for name in ("lstm", "cnn"):
        by_axis = [seed_runs(root, data, seeds, "step8_regression", model=name, axis=axis) for axis in AXES]
        for seed in sorted(set.intersection(*map(set, by_axis))):
            print_mean_correlation(
                (runs[seed]["result"]["spearman"] for runs in by_axis), f", {name.upper()}, seed {seed}"
            )
    for axis in AXES:
        cnn, lstm = (
            seed_runs(root, data, seeds, "step8_regression", model=name, axis=axis) for name in ("cnn", "lstm")
        )
        if cnn and lstm:
            print_comparison(f"does the CNN beat the LSTM in {axis}?", (cnn, lstm, axis))


def compare_step9(root, data, seeds, axes, freeze):
    """Step 9e: what did transfer change, against the same training from scratch and against step 8's CNN?"""
    pairs = []
    for axis in axes:
        metadata = {"axis": axis, "freeze": freeze}
        transfer, scratch = (
            seed_runs(root, data, seeds, "step9_transfer", start=start, **metadata) for start in ("transfer", "scratch")
        )
        frozen = "does a frozen transferred backbone beat a frozen random one"
        question = frozen if freeze else "does transfer beat training from scratch"
        print_comparison(f"{question} in {axis}?", (transfer, scratch, axis))
        pairs.append((transfer, scratch, axis))
        alone = seed_runs(root, data, seeds, "step8_regression", model="cnn", axis=axis)
        print_comparison(f"does transfer beat step 8's CNN in {axis}?", (transfer, alone, axis))
    if len(pairs) > 1:
        print_comparison(f"{question}, in the mean of these axes?", *pairs)


def compare_step10(root, data, seeds, weights, ensemble):
    """Step 10c: what did one model for three axes change against step 8's CNN for each?"""
    multitask = seed_runs(root, data, seeds, "step10_multitask", weights=weights, ensemble=ensemble)
    ours = f"the mean of {ensemble} multitask CNNs" if ensemble > 1 else "the multitask CNN"
    for axis in AXES:
        alone = seed_runs(root, data, seeds, "step8_regression", model="cnn", axis=axis)
        print_comparison(f"does {ours} beat step 8's CNN in {axis}?", (multitask, alone, axis))
