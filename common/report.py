"""What the steps print and save in common: the header before the first epoch, and the report on the test side."""

import copy
import math
from pathlib import Path

import numpy as np
import torch
from torch.utils.data import Subset

from common.baselines import kept_scores
from common.checkpoints import load_weights
from common.dataset import clip_ids, clip_labels, rows_of
from common.expectations import EMOTION_CLIPS, LAB_TEST_CLIPS, expectation, is_labs
from common.labels import AXES
from common.metrics import (
    accuracy,
    classification_metrics,
    majority_class,
    mean_or_none,
    rank_correlation,
    report_table,
    score_interval,
    share_right,
    spearman,
    squared_error_loss,
)
from common.plots import confusion_figure, curves_figure, scatter_figure
from common.run import resolved_arguments
from common.versions import versions

NAMES = {"linear": "the linear model", "kernel": "the kernel machine"}


def print_header(title, data, args, run):
    """The first lines of every run: what it is, on which data, with which arguments, and where it lies."""
    print(title)
    print(f"data       : {data.description()}")
    if data.own_table:
        print(f"             {data.table_text()}")
    print(f"arguments  : {', '.join(f'{name}={value}' for name, value in resolved_arguments(args, data).items())}")
    if hasattr(args, "device"):
        facts = versions()
        libraries = ", ".join(f"{name} {facts[name]}" for name in ("torch", "numpy", "scikit-learn", "python"))
        processes = torch.distributed.get_world_size() if torch.distributed.is_initialized() else 1
        together = f"{processes} processes, each with " * (processes > 1)
        print(f"device     : {args.device}, {together}{facts['threads']} threads, {libraries}")
        promise = "same seed, machine and threads: same figures" if args.device == "cpu" else "a GPU repeats its figures only nearly"
        print(f"seed       : {args.seed} (split, initial weights, batch order); {promise}")
    print(f"run folder : {run.folder}")


def beside_writeup(data, args, test_clips):
    """How the write-up's figures relate to these: of the same clips only on the lab's own test side, whole."""
    if is_labs(data.demo, data.class_mapping, args.mode, test_clips, LAB_TEST_CLIPS):
        return f"the write-up's figures are of the lab's {LAB_TEST_CLIPS} test clips, as these are"
    return f"not comparable: the write-up's figures are of the lab's {LAB_TEST_CLIPS} test clips, these are of others"


def print_genre_facts(classes, train_set, val_set, test_set, model):
    """Split sizes, classes, parameters, and what calling every clip by one name scores; val_set is None where nothing is picked."""
    train_labels, test_labels = clip_labels(train_set), clip_labels(test_set)
    largest, train_share, test_share = majority_class(train_labels, test_labels, len(classes))
    validate = f"{len(val_set)} to validate with (they pick the epoch)" if val_set else "none to validate with (nothing is picked)"
    print(f"clips      : {len(train_set)} to train on, {validate}, {len(test_set)} to test")
    print(f"classes    : {len(classes)}: {', '.join(classes)}")
    print(f"baseline   : '{classes[largest]}' for every clip is right for {100 * train_share:.2f} % of the training clips and")
    print(f"             {100 * test_share:.2f} % of the test clips; ln {len(classes)} = {math.log(len(classes)):.4f}")
    print(f"parameters : {sum(parameter.numel() for parameter in model.parameters())}")
    warn_of_overlap([*clip_ids(train_set), *(clip_ids(val_set) if val_set else [])], test_set, "stand on the training side too")


def warn_of_overlap(seen, test_set, words):
    """Says how many test clips have ids among those `seen`; an equal id need not be an equal song, but it usually is."""
    shared = set(seen) & set(clip_ids(test_set))
    if shared:
        print(f"             WARNING: {len(shared)} of the {len(test_set)} test clips have ids that {words}, say '{min(shared)}'")


def print_references(losses, loss_name):
    """What models that ignore their input lose, on both scales, before the first epoch. Returns {model: loss} on the scale in use."""
    print("reference  : a network that has learnt something loses less than the class shares do")
    for model, (cross_entropy, squared_error) in losses.items():
        print(f"             {model:14} cross entropy {cross_entropy:.4f}, squared error of the softmax {squared_error:.4f}")
    return {model: pair[loss_name != "cross-entropy"] for model, pair in losses.items()}


def report_genres(run, title, classes, test_set, test, val_set=None, val=None, suffix=""):
    """Prints and saves the report on the test side: metrics, confusion matrix, predictions.csv. Returns the metrics.

    test, val: Evaluations of logits, in the order of test_set and val_set; val is None where nothing was trained.
    suffix: behind the names of its files, where a run has several.
    """
    metrics = classification_metrics(test.targets.numpy(), test.outputs.argmax(dim=1).numpy(), classes)
    metrics["test_cross_entropy"] = torch.nn.functional.cross_entropy(test.outputs, test.targets).item()
    metrics["test_squared_error"] = squared_error_loss(test.outputs, test.targets).item()
    rows = prediction_rows("test", classes, test_set, test)
    if val:
        metrics["val_loss"], metrics["val_accuracy"] = val.loss, accuracy(val.outputs, val.targets)
        rows = prediction_rows("val", classes, val_set, val) + rows
    print(f"\n{title}, {len(test_set)} test clips (a class that is never predicted has precision 0)\n")
    print(report_table(metrics))
    print(f"\ncross entropy {metrics['test_cross_entropy']:.4f}, squared error of the softmax {metrics['test_squared_error']:.4f}")
    metrics["interval"] = say_interval("accuracy", test.targets.numpy(), test.outputs.argmax(dim=1).numpy(), share_right)
    print("\nconfusion matrix: rows true, columns predicted, in the same order")
    for name, counts in zip(classes, metrics["confusion"], strict=True):
        print(f"{name[:20]:>20} " + " ".join(f"{count:4d}" for count in counts))
    run.save_predictions(rows, suffix)
    run.save_figure(f"confusion{suffix}", confusion_figure(metrics["confusion"], classes, f"{title}: accuracy {metrics['accuracy']:.3f}"))
    return metrics


def report_training(run, title, history, best, loss_name, references):
    """Says which epoch was kept, in a dry run whether all was finite, and draws the curves; nothing where nothing was trained."""
    if history:
        kept = history[best.epoch]
        share = f", validation accuracy {100 * kept['val_acc']:.2f} %" if "val_acc" in kept else ""
        print(f"best epoch : {best.epoch} of 0 to {len(history) - 1}, picked by validation{share}, validation loss {kept['val_loss']:.4f}")
        run.save_figure("curves", curves_figure(history, loss_name, references, title, best.epoch))
        if run.facts["mode"] == "quick":
            finite = all(math.isfinite(epoch[loss]) for epoch in history for loss in ("train_loss", "val_loss"))
            print(f"verdict    : {'runs, every loss is finite' if finite else 'non-finite, a loss is no number; a lower --lr helps'}")


def load_given(path, model, run, test_set):
    """Puts the weights of --checkpoint into the model; says where they come from and whether they have seen clips of the test side."""
    facts = load_weights(path, model, architecture=run.facts["architecture"], classes=run.facts["classes"])
    origin = "the same data" if facts.get("data") == run.facts["data"] else f"other data ({facts.get('data_path')})"
    print(f"checkpoint : {path}, epoch {facts.get('epoch')} of {facts.get('step')}/{facts.get('variant')}, trained on {origin}")
    if facts.get("class_mapping") != run.facts["class_mapping"]:
        print("             its class table was another one, so equal class names may mean other genres")
    warn_of_overlap(facts.get("seen", []), test_set, "it was trained with")
    run.facts |= {"checkpoint": str(path), "epoch": facts.get("epoch"), "trained_as": facts.get("variant")}


def prediction_rows(side, classes, dataset, evaluation):
    """One row a clip for predictions.csv: id, side, true and predicted class, the probability of every class."""
    probabilities = evaluation.outputs.double().softmax(dim=1)
    rows = []
    for ident, true, row in zip(clip_ids(dataset), evaluation.targets.tolist(), probabilities.tolist(), strict=True):
        named = {f"p({name})": f"{value:.9g}" for name, value in zip(classes, row, strict=True)}
        rows.append({"id": ident, "side": side, "true": classes[true], "predicted": classes[row.index(max(row))], **named})
    return rows


def print_axis_facts(train_set, val_set, test_set, axes, model):
    """Split sizes, parameters, and the MSE of always saying the training clips' mean: {"training mean, <axis>": in validation}."""
    print(f"clips      : {len(train_set)} to train on, {len(val_set)} to validate with (they pick the epoch), {len(test_set)} to test")
    print("             three slices of the clips with labels, the same in steps 8 to 10; the third is scored once, at the end.")
    print("             The write-up does not say which clips its correlations are of: if these picked its epoch too, they flatter")
    print(f"parameters : {sum(parameter.numel() for parameter in model.parameters())}")
    references = {}
    columns = [clip_labels(dataset).reshape(len(dataset), -1) for dataset in (train_set, val_set, test_set)]
    for number, axis in enumerate(axes):
        train, val, test = (labels[:, number] for labels in columns)
        errors = [float(np.mean((labels - train.mean()) ** 2)) for labels in (val, test)]
        print(f"baseline   : {axis} {train.mean():.3f} for every clip has MSE {errors[0]:.4f} in validation, {errors[1]:.4f} in test")
        references[f"training mean, {axis}"] = errors[0]
    return references


def report_baselines(args, run, folder, known_set, test_set, score, axis=None, number=None):
    """What others score: on the lab's data set where `score` falls among them; on any, two models without a network on the same test clips.

    folder: the data folder that the clips are of; known_set: training and validation clips; score: accuracy, or the rank correlation of
    `axis`; number: its column in the labels, None where they have one alone. Left out in a dry run, the models by --no-baselines too.
    Returns {"linear": score, "kernel": score}, empty where left out.
    """
    facts, is_genres = run.facts, axis is None
    clips, known = (len(test_set), LAB_TEST_CLIPS) if is_genres else (len(known_set) + len(test_set), EMOTION_CLIPS[0])
    if is_labs(facts["demo"], facts["class_mapping"], args.mode, clips, known):
        choice = facts.get("features") or facts.get("model") or facts.get("start")
        print("\n".join(expectation(facts["step"], choice, score, axis)) or "to expect  : no range is known for it")
    if args.no_baselines or args.mode not in ("full", "score"):
        return {}
    if number is not None:
        known_set, test_set = of_axis(known_set, number), of_axis(test_set, number)
    key = "_".join(filter(None, [facts["data"], folder.name, axis]))
    scores = kept_scores(Path(args.out) / "baselines", key, known_set, test_set, classify=axis is None)
    told = ", ".join(f"{NAMES[name]} {'undefined' if value is None else f'{value:.4f}'}" for name, value in scores.items())
    below = [NAMES[name] for name, value in scores.items() if None in (value, score) or score <= value]
    print(f"without a network: {told}; this network is {'not above ' + ' nor '.join(below) if below else 'above both'}")
    return scores


def of_axis(dataset, number):
    """A dataset or Subset with several axes as labels as one with column `number` alone; the clips are the same, in the same order."""
    base, rows = rows_of(dataset)
    single = copy.copy(base)
    single.labels = base.labels[:, number]
    return Subset(single, rows.tolist())


def report_axis(run, title, axis, number, test, train_set, suffix=""):
    """Prints and draws one axis of a regression on the test slice; returns its metrics, spearman None where it is undefined.

    number: the axis's column in outputs, targets and labels; None where these have one alone;
    suffix: behind the name of its picture, where a run has several.
    """
    true, predicted, labels = test.targets.numpy(), test.outputs.numpy(), clip_labels(train_set)
    if number is not None:
        true, predicted, labels = true[:, number], predicted[:, number], labels[:, number]
    error, constant = float(np.mean((true - predicted) ** 2)), float(np.mean((true - labels.mean()) ** 2))
    rho = spearman(true, predicted)
    print(f"{title}: MSE {error:.4f} on {len(true)} test clips, {constant:.4f} for the training clips' mean")
    if error >= constant:
        print(f"           in squared error it is no better than always saying {labels.mean():.3f}")
    print(f"The Spearman correlation between the ground true values and the predicted values for {axis} is {said(rho)}")
    run.save_figure(f"scatter_{axis}{suffix}", scatter_figure(true, predicted, axis, rho, title))
    metrics = {"spearman": rho, "mse": error, "mse_constant": constant}
    metrics["interval"] = say_interval("correlation", true, predicted, rank_correlation)
    return metrics


def say_interval(figure, true, predicted, score):
    """Prints and returns the 95 % interval [low, high] of a score; [None, None], unsaid, where it is undefined."""
    low, high = score_interval(true, predicted, score)
    if low is not None:
        print(f"           95 % interval of the {figure}, the test clips drawn anew: {low:.3f} to {high:.3f}")
    return [low, high]


def axis_rows(side, axes, dataset, evaluation):
    """Rows of predictions.csv, one for each clip and axis: id, side, axis, true, predicted."""
    true, predicted = (values.reshape(len(dataset), -1).tolist() for values in (evaluation.targets, evaluation.outputs))
    return [
        {"id": ident, "side": side, "axis": axis, "true": f"{true[row][column]:.6g}", "predicted": f"{predicted[row][column]:.9g}"}
        for row, ident in enumerate(clip_ids(dataset))
        for column, axis in enumerate(axes)
    ]


def axis_results(found, choices):
    """The rows for the RESULT lines from {axis: {"spearman": ...}}; where all axes are there, their mean too, in the write-up's sentence.

    choices: what tells these rows from others, such as {"model": "cnn"}. A dry check of one batch has no correlation and no sentence.
    """
    rows = [{**choices, "axis": axis, **result} for axis, result in found.items()]
    if not all("spearman" in row for row in rows):
        return rows
    if len(found) == len(AXES):
        mean = mean_or_none(result["spearman"] for result in found.values())
        percent = said(None if mean is None else 100 * mean)
        print(f"The Mean Spearman correlation between the ground true values and the predicted values is {percent} %")
        rows.append({**choices, "axis": "mean", "spearman": mean})
    return rows


def said(rho):
    return "undefined (a constant has no ranks)" if rho is None else rho
