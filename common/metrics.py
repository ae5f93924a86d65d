"""Losses, accuracy, the classification report, rank correlation, and the losses of constant predictors."""

import math
from functools import partial

import numpy as np
import torch


def squared_error_loss(logits, targets):
    """Mean over clips and classes of (softmax - one-hot) squared: logits (B, C), targets (B,) int64 -> scalar.

    What the logs of the write-up's steps 5a, 5b and 5d show in place of the cross entropy that it names: a uniform
    guess over 10 classes has (1/10)(0.9**2 + 9 * 0.1**2) = 0.0900 there, where a cross entropy has ln 10 = 2.30.
    """
    one_hot = torch.nn.functional.one_hot(targets, logits.shape[1]).to(logits.dtype)
    return ((logits.softmax(dim=1) - one_hot) ** 2).mean()


def accuracy(logits, targets):
    """Fraction of clips whose largest logit is the true class: (n, C), (n,) -> float in 0..1."""
    return (logits.argmax(dim=1) == targets).double().mean().item()


def majority_class(train_labels, test_labels, num_classes):
    """The most frequent training class, and the fraction of training and of test clips that are of it."""
    counts = np.bincount(train_labels, minlength=num_classes)
    largest = int(counts.argmax())
    return largest, counts[largest] / len(train_labels), float(np.mean(np.asarray(test_labels) == largest))


def prior_losses(train_labels, num_classes):
    """{name: (cross entropy, squared error)} of a uniform guess and of the training set's class priors."""
    priors = np.bincount(train_labels, minlength=num_classes) / len(train_labels)
    entropy = -sum(prior * math.log(prior) for prior in priors if prior > 0)
    uniform = np.full(num_classes, 1 / num_classes)
    distances = (np.sum((guess - np.eye(num_classes)) ** 2, axis=1) for guess in (uniform, priors))
    errors = [float(np.dot(priors, each)) / num_classes for each in distances]
    return {"uniform guess": (math.log(num_classes), errors[0]), "class priors": (entropy, errors[1])}


def classification_metrics(true, predicted, classes):
    """Accuracy, precision, recall and F1 (per class, micro, macro, weighted) and confusion matrix of (n,) and (n,).

    true, predicted: class numbers; classes: names in the order of their numbers. A class that is never predicted has
    precision 0 (scikit-learn's zero_division=0). Rows of the confusion matrix are true classes, columns predicted ones.
    """
    from sklearn.metrics import confusion_matrix, precision_recall_fscore_support

    numbers = list(range(len(classes)))
    scores = partial(precision_recall_fscore_support, true, predicted, labels=numbers, zero_division=0)
    metrics: dict = {"accuracy": float(np.mean(np.asarray(true) == np.asarray(predicted)))}
    for average in ("micro", "macro", "weighted"):
        precision, recall, f1, _ = scores(average=average)
        metrics[average] = {"precision": float(precision), "recall": float(recall), "f1": float(f1)}
    keys = ("precision", "recall", "f1", "support")
    rows = zip(classes, *(column.tolist() for column in scores()), strict=True)
    metrics["classes"] = {name: dict(zip(keys, row, strict=True)) for name, *row in rows}
    metrics["confusion"] = confusion_matrix(true, predicted, labels=numbers).tolist()
    return metrics


def report_table(metrics):
    """The metrics as a table in the form of the write-up's step 6, with genre names and a row of micro averages."""
    support = sum(row["support"] for row in metrics["classes"].values())
    width = max(12, *map(len, metrics["classes"]))
    averages = {f"{name} avg": {**metrics[name], "support": support} for name in ("micro", "macro", "weighted")}
    lines = [f"{'':{width}}  precision    recall  f1-score   support", ""]
    for name, row in [*metrics["classes"].items(), *averages.items()]:
        lines.append(
            f"{name:>{width}}  {row['precision']:9.2f} {row['recall']:9.2f} {row['f1']:9.2f} {row['support']:9d}"
        )
    lines[-3:-3] = ["", f"{'accuracy':>{width}}  {'':9} {'':9} {metrics['accuracy']:9.2f} {support:9d}"]
    return "\n".join(lines)


def spearman(true, predicted):
    """Spearman's rank correlation of (n,) and (n,), ties by average rank; None where either is constant (no ranks)."""
    found = float(rank_correlation(true, predicted))
    return None if np.isnan(found) else found


def rho_text(rho):
    """A rank correlation as text; None is undefined."""
    return "undefined (a constant has no ranks)" if rho is None else rho


def print_mean_correlation(correlations, which=""):
    """The write-up's sentence on the mean of the three axes' correlations; which: of what model, after the number."""
    mean = mean_or_none(correlations)
    text = rho_text(None if mean is None else 100 * mean)
    print(f"The Mean Spearman correlation between the ground true values and the predicted values is {text} %{which}")


def rank_correlation(true, predicted):
    """Spearman's of (..., n) and (..., n) along the last axis, ties by average rank; NaN where either is constant."""
    from scipy.stats import rankdata

    one, other = (rankdata(values, axis=-1) for values in (true, predicted))
    one, other = (ranks - ranks.mean(axis=-1, keepdims=True) for ranks in (one, other))
    squares = np.asarray((one**2).sum(axis=-1) * (other**2).sum(axis=-1))
    nan = np.full(squares.shape, np.nan)
    return np.divide((one * other).sum(axis=-1), np.sqrt(squares), out=nan, where=squares > 0)


def mean_or_none(values):
    """The mean of numbers; None as soon as one of them is None."""
    values = [*values]
    return None if None in values else float(np.mean(values))
