"""What the steps print and save in common: header, sizes and constant predictors, the test report, RESULT lines."""

import math
import sys

import numpy as np
import torch

from common.baselines import report_baselines
from common.checkpoints import note_clip_frames
from common.checks import clip_checksums, print_finite, warn_of_overlap, warn_of_pretraining, warn_of_repeated
from common.comparison import fraction_correct, print_interval, save_axis_predictions, save_genre_predictions
from common.dataset import clip_ids, clip_labels, clip_lengths
from common.labels import AXES
from common.metrics import (
    classification_metrics,
    majority_class,
    mean_or_none,
    print_mean_correlation,
    prior_losses,
    rank_correlation,
    report_table,
    rho_text,
    spearman,
    squared_error_loss,
)
from common.notes import print_notes
from common.plots import confusion_figure, curves_figure, scatter_figure
from common.progress import header_lines, in_log_alone
from common.versions import print_class_table, print_environment


def print_header(title, data, run, names):
    """The first lines of every run: what it is, on which data, with which of its arguments, and where it is saved."""
    print(title)
    with header_lines(run, again=run.again):
        print(f"data       : {data.description()}")
        print_class_table(data)
        print(f"arguments  : {', '.join(f'{name}={value}' for name, value in run.arguments.items() if name in names)}")
        print_environment(run)
    with header_lines(run):
        print(f"run folder : {run.folder}")


def describe_genres(run, model, splits, classes, loss="cross-entropy"):
    """Prints sizes and the losses of constant predictors, and notes classes and clip ids in run.metadata.

    splits: training, validation (None where no epoch is picked) and test set; loss: "cross-entropy" or "squared-error".
    Returns {constant predictor: its validation loss} for curves and warnings.
    """
    print_sizes(run, model, splits, classes)
    train_labels, test_labels = clip_labels(splits[0]), clip_labels(splits[2])
    largest, train_part, test_part = majority_class(train_labels, test_labels, len(classes))
    print(f"classes    : {len(classes)}: {', '.join(classes)}")
    print(f"baseline   : majority class '{classes[largest]}': accuracy {100 * train_part:.2f} % on training clips,")
    print(f"             {100 * test_part:.2f} % on test clips; ln {len(classes)} = {math.log(len(classes)):.4f}")
    print("reference  : a network that has learnt something loses less than the class priors do")
    losses = prior_losses(train_labels, len(classes))
    for name, (cross_entropy, error) in losses.items():
        print(f"             {name:14} cross entropy {cross_entropy:.4f}, squared error of the softmax {error:.4f}")
    return {name: pair[loss == "squared-error"] for name, pair in losses.items()}


def describe_transfer(run, model, splits, axes, pretrained):
    """As describe_axes, with the clips that a pretrained network has seen; pretrained: its metadata, or None."""
    references = describe_axes(run, model, splits, axes)
    if pretrained:
        shared = {*clip_ids(splits[1]), *clip_ids(splits[2])} & set(pretrained["train_ids"])
        run.metadata |= {"shared_ids": len(shared), "train_ids": run.metadata["train_ids"] + pretrained["train_ids"]}
        print(f"validation and test clips whose ids the genre CNN was trained with: {len(shared)}")
        warn_of_pretraining(run.metadata, pretrained, splits)
    return references


def describe_axes(run, model, splits, axes):
    """As describe_genres, for emotions."""
    print_sizes(run, model, splits, axes)
    print("             the labelled clips in three splits, the same in steps 8 to 10; the test split is scored once.")
    print("             The write-up does not say on which clips it measured; on validation clips it would look better")
    columns = [clip_labels(split).reshape(len(split), -1) for split in splits if split is not None]
    references = {}
    for number, axis in enumerate(axes):
        train, *others = (labels[:, number] for labels in columns)
        errors = [float(np.mean((labels - train.mean()) ** 2)) for labels in others]
        names = ("validation", "test")[-len(errors) :]
        where = ", ".join(f"{error:.4f} in {name}" for error, name in zip(errors, names, strict=True))
        print(f"baseline   : training mean of {axis}, {train.mean():.3f}: MSE {where}")
        references[f"training mean, {axis}"] = errors[0]
    return references


def print_sizes(run, model, splits, names):
    """Prints the numbers of clips and parameters, and notes names and clip ids in run.metadata, see describe_genres."""
    train_set, val_set, test_set = splits
    run.metadata |= {"classes": list(names), "train_ids": clip_ids(train_set) + (clip_ids(val_set) if val_set else [])}
    run.metadata["train_checksums"] = clip_checksums(train_set) + (clip_checksums(val_set) if val_set else [])
    note_clip_frames(run.metadata, clip_lengths(train_set))
    picks = f"{len(val_set)} to validate with (they pick the epoch)" if val_set else "none to validate with"
    print(f"parameters : {sum(parameter.numel() for parameter in model.parameters())}")
    print(f"clips      : {len(train_set)} to train on, {picks}, {len(test_set)} to test")
    print_notes(names, splits)
    warn_of_overlap(run.metadata, test_set, "are training clips too")
    warn_of_repeated(train_set, val_set)


def report_training(run, title, history, best, loss_name, references):
    """Prints which epoch was kept and, in a dry run, whether all losses are finite; draws the curves."""
    kept = history[best.epoch]
    rules = {kept.get("val_acc"): "highest validation accuracy", -kept["val_loss"]: "lowest validation loss"}
    rule = ", then ".join(rules.get(each, "score") for each in best.score)  # what the step gave to best.update
    scores = f"validation accuracy {100 * kept['val_acc']:.2f} %, " if "val_acc" in kept else ""
    scores += f"validation loss {kept['val_loss']:.4f}"
    print(f"best epoch : {best.epoch} of 0 to {len(history) - 1}, picked by {rule}: {scores}")
    run.save_figure("curves", curves_figure(history, loss_name, references, title, best.epoch, rule))
    print_finite(run, history)


def report_genres(run, title, splits, test, val=None, matrix=False, baselines=False, suffix=""):
    """Prints and saves the report on the test set: metrics, confusion matrix, predictions. Returns the metrics.

    splits: training, validation and test set, the second may be None; test, val: Evaluations of logits, val where it is
    to be reported too; matrix: print the confusion matrix in the write-up's form too; baselines: print what models
    without a network score too; suffix: of the names of its files, where a run has several reports.
    """
    classes, test_set = run.metadata["classes"], splits[2]
    classified = test.targets.numpy(), test.outputs.argmax(dim=1).numpy()
    metrics = classification_metrics(*classified, classes)
    metrics["test_cross_entropy"] = torch.nn.functional.cross_entropy(test.outputs, test.targets).item()
    metrics["test_squared_error"] = squared_error_loss(test.outputs, test.targets).item()
    if val:
        metrics["val_loss"] = val.loss
        metrics["val_accuracy"] = (val.outputs.argmax(dim=1) == val.targets).double().mean().item()
    print(f"\n{title}, {len(test_set)} test clips (a class that is never predicted has precision 0)\n")
    print(report_table(metrics))
    entropy, error = metrics["test_cross_entropy"], metrics["test_squared_error"]
    print(f"\ncross entropy {entropy:.4f}, squared error of the softmax {error:.4f}")
    metrics["interval"] = print_interval("accuracy", *classified, fraction_correct)
    with in_log_alone(run):  # the screen has the picture
        print("\nconfusion matrix: rows true, columns predicted, in the same order")
        for name, counts in zip(classes, metrics["confusion"], strict=True):
            print(f"{name[:20]:>20} " + " ".join(f"{count:4d}" for count in counts))
    if matrix:
        with np.printoptions(linewidth=100, threshold=sys.maxsize):
            print(f"\n({np.array(metrics['confusion'], dtype=float)!r},\n {metrics['accuracy']})")
    evaluations = [("val", splits[1], val)] if val else []
    save_genre_predictions(run, classes, [*evaluations, ("test", test_set, test)], suffix)
    title = f"{title}: accuracy {metrics['accuracy']:.3f}"
    run.save_figure(f"confusion{suffix}", confusion_figure(metrics["confusion"], classes, title))
    if baselines:
        metrics["baselines"] = report_baselines(run, splits, *classified)
    return metrics


def report_axes(run, title, splits, test, baselines=False, suffix=""):
    """Prints, draws and saves the report on the test set, axis by axis. Returns {axis: metrics}.

    splits: training, validation and test set, the second may be None; test: an Evaluation of values (n,) or (n, axes);
    baselines, suffix: see report_genres. Metrics: spearman is None where it is undefined.
    """
    axes, found = run.metadata["classes"], {}
    arrays = test.targets.numpy(), test.outputs.numpy(), clip_labels(splits[0])
    columns = [values.reshape(len(values), -1) for values in arrays]
    for number, axis in enumerate(axes):
        true, predicted, train = (values[:, number] for values in columns)
        error, constant = float(np.mean((true - predicted) ** 2)), float(np.mean((true - train.mean()) ** 2))
        rho = spearman(true, predicted)
        errors = f"MSE {error:.4f} on {len(true)} test clips, {constant:.4f} for the training clips' mean"
        print(f"{title}, {axis}: {errors}")
        if error >= constant:
            print(f"           in squared error it is no better than the constant predictor {train.mean():.3f}")
        sentence = "The Spearman correlation between the ground true values and the predicted values for"
        print(f"{sentence} {axis} is {rho_text(rho)}")
        run.save_figure(f"scatter_{axis}{suffix}", scatter_figure(true, predicted, axis, rho, f"{title}, {axis}"))
        found[axis] = {"spearman": rho, "mse": error, "mse_constant": constant}
        found[axis]["interval"] = print_interval("correlation", true, predicted, rank_correlation)
        if baselines:
            found[axis]["baselines"] = report_baselines(run, splits, true, predicted, axis, number)
    if len(axes) == len(AXES):
        print_mean_correlation(each["spearman"] for each in found.values())
    save_axis_predictions(run, axes, splits[2], columns[0], columns[1], suffix)
    return found


def print_results(step, data, mode, seeds, rows_by_seed):
    """The RESULT lines, last of all: one for each row of each seed and, for several seeds, their means.

    rows_by_seed: for each seed the same list of {key: value}. Returns the rows, as means where there are several seeds.
    """
    means = rows_by_seed[0] if len(seeds) == 1 else mean_rows(rows_by_seed)
    by_seed = [{**row, "seed": seed} for seed, rows in zip(seeds, rows_by_seed, strict=True) for row in rows]
    for row in [*by_seed, *means] if len(seeds) > 1 else means:
        print(result_line(step, data, mode, row))
    return means


def with_means_of_axes(rows):
    """The rows and, behind the three of a model whose one number is a correlation, one with their mean."""
    found = []
    for row in rows:
        found.append(row)
        alike = [each for each in rows if {**each, "axis": 0, "spearman": 0} == {**row, "axis": 0, "spearman": 0}]
        if row is alike[-1] and "spearman" in row and {each["axis"] for each in alike} == set(AXES):
            found.append({**row, "axis": "mean", "spearman": mean_or_none(each["spearman"] for each in alike)})
    return found


def mean_rows(rows_by_seed):
    """[[{key: value}] of each seed] -> [{key: mean, "seeds": N, "<key>_sd": sample std}]; None where a seed has None.

    Texts and counts on which the seeds differ are joined: learns/slow.
    """
    means = []
    for rows in zip(*rows_by_seed, strict=True):
        means.append({**rows[0], "seeds": len(rows)})
        for key, value in rows[0].items():
            values = [row[key] for row in rows]
            if value is None or isinstance(value, float):
                means[-1][key] = mean_or_none(values)
                means[-1][f"{key}_sd"] = None if None in values else float(np.std(values, ddof=1))
            elif len(set(values)) > 1:
                means[-1][key] = "/".join(map(str, dict.fromkeys(values)))
    return means


def result_line(step, data, mode, values):
    """RESULT <step> key=value ...: floats with four decimals, None as undefined; marks demo music and dry runs."""
    marks = {"data": "demo"} if data.demo else {}
    if mode in ("quick", "score"):
        marks["mode"] = mode
    texts = []
    for key, value in {**values, **marks}.items():
        text = "undefined" if value is None else f"{value:.4f}" if isinstance(value, float) else value
        texts.append(f"{key}={text}")
    return f"RESULT {step} {' '.join(texts)}"
