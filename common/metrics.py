"""What a prediction is worth: losses, accuracy, the classification report, and the figures of models that know nothing."""

import math
import sys

import numpy as np
import torch


def squared_error_loss(logits, targets):
    """Mean over clips and classes of (softmax - one-hot) squared: logits (B, C), targets (B,) int64 -> scalar.

    What the logs of the write-up's steps 5a, 5b and 5d show in place of the cross entropy that it names: a uniform guess over 10
    classes has (1/10)(0.9**2 + 9 * 0.1**2) = 0.0900 there, where a cross entropy has ln 10 = 2.30.
    """
    one_hot = torch.nn.functional.one_hot(targets, logits.shape[1]).to(logits.dtype)
    return ((logits.softmax(dim=1) - one_hot) ** 2).mean()


def accuracy(logits, targets):
    """Share of clips whose largest logit is the true class: (n, C), (n,) -> float in 0..1."""
    return (logits.argmax(dim=1) == targets).double().mean().item()


def majority_class(train_labels, test_labels, num_classes):
    """(class, its share of the training labels, its share of the test labels): what calling everything by one name scores."""
    counts = np.bincount(train_labels, minlength=num_classes)
    largest = int(counts.argmax())
    return largest, counts[largest] / len(train_labels), float(np.mean(np.asarray(test_labels) == largest))


def prior_losses(train_labels, num_classes):
    """What models that ignore their input lose, {name: (cross entropy, squared error)}: a uniform guess, and the training set's shares."""
    shares = np.bincount(train_labels, minlength=num_classes) / len(train_labels)
    entropy = -sum(share * math.log(share) for share in shares if share > 0)
    uniform = np.full(num_classes, 1 / num_classes)
    errors = [float(np.dot(shares, np.sum((guess - np.eye(num_classes)) ** 2, axis=1))) / num_classes for guess in (uniform, shares)]
    return {"uniform guess": (math.log(num_classes), errors[0]), "class shares": (entropy, errors[1])}


def classification_metrics(true, predicted, classes):
    """Precision, recall, F1 and support per class, macro and micro, and the confusion matrix, from class numbers (n,) and (n,).

    classes: names in the order of their numbers. A class that is never predicted has precision 0 (scikit-learn's zero_division=0).
    Rows of the confusion matrix are true classes, columns predicted ones.
    """
    from sklearn.metrics import confusion_matrix, precision_recall_fscore_support

    numbers = list(range(len(classes)))
    keys = ("precision", "recall", "f1")
    scores = {}
    for average in ("micro", "macro", "weighted"):
        values = precision_recall_fscore_support(true, predicted, labels=numbers, average=average, zero_division=0)
        scores[average] = dict(zip(keys, map(float, values[:3]), strict=True))
    per_class = np.array(precision_recall_fscore_support(true, predicted, labels=numbers, zero_division=0)).T
    return {
        "accuracy": float(np.mean(np.asarray(true) == np.asarray(predicted))),
        **scores,
        "classes": {
            name: {**dict(zip(keys, map(float, row[:3]), strict=True)), "support": int(row[3])}
            for name, row in zip(classes, per_class, strict=True)
        },
        "confusion": confusion_matrix(true, predicted, labels=numbers).tolist(),
    }


def report_table(metrics):
    """The metrics as text in the form of the write-up's step 6, genre names in front of their rows and the micro average among them."""
    support = sum(row["support"] for row in metrics["classes"].values())
    width = max(12, *(len(name) for name in metrics["classes"]))
    lines = [f"{'':{width}}  precision    recall  f1-score   support", ""]
    for name, row in metrics["classes"].items():
        lines.append(f"{name:>{width}}  {row['precision']:9.2f} {row['recall']:9.2f} {row['f1']:9.2f} {row['support']:9d}")
    lines += ["", f"{'accuracy':>{width}}  {'':9} {'':9} {metrics['accuracy']:9.2f} {support:9d}"]
    for average in ("micro", "macro", "weighted"):
        row = metrics[average]
        lines.append(f"{average + ' avg':>{width}}  {row['precision']:9.2f} {row['recall']:9.2f} {row['f1']:9.2f} {support:9d}")
    return "\n".join(lines)


def confusion_text(metrics):
    """Confusion matrix and accuracy in the form of the write-up's steps 7b and 9c: (array([[...]]), accuracy)."""
    with np.printoptions(linewidth=100, threshold=sys.maxsize):
        return f"({np.array(metrics['confusion'], dtype=float)!r},\n {metrics['accuracy']})"


def axis_losses(outputs, targets, weights):
    """The multitask loss and its parts: values (B, 3), targets (B, 3), weights (3,) -> (4,): their weighted sum, then each axis's MSE."""
    parts = ((outputs - targets) ** 2).mean(dim=0)
    return torch.cat([(parts * parts.new_tensor(weights)).sum()[None], parts])


def spearman(true, predicted):
    """Spearman's rank correlation of values (n,) and (n,), ties by average rank; None where either is constant, since there is no rank."""
    found = float(rank_correlation(true, predicted))
    return None if np.isnan(found) else found


def rank_correlation(true, predicted):
    """Spearman's of (n,) and (n,), NaN where either is constant; scipy's own takes longer, and a bootstrap calls it by the thousand."""
    from scipy.stats import rankdata

    one, other = (ranks - ranks.mean() for ranks in (rankdata(true), rankdata(predicted)))
    squares = (one @ one) * (other @ other)
    return one @ other / np.sqrt(squares) if squares > 0 else np.nan


def mean_or_none(values):
    """The mean of numbers, None as soon as one of them is: an undefined figure makes no mean."""
    values = list(values)
    return None if any(value is None for value in values) else float(np.mean(values))


def share_right(true, predicted):
    """Accuracy of names or numbers (n,) and (n,)."""
    return (true == predicted).mean()


ROUNDS = 1000  # of a bootstrap: enough for the second decimal of an interval


def bootstrap(sides, score):
    """How far a mean over seeds moves when clips and seeds are drawn anew with replacement: (up to ROUNDS,) means.

    sides: each seed's clips by id; a round draws a clip equally often for every seed that has it, since it is the same song.
    score(k, rows): that of seed k on these rows of its side; NaN, or a side without a clip, leaves a round out. With one seed the means say
    nothing on seeds; two or three that differ more than clips do make their spread too small.
    """
    rng, names = np.random.default_rng(0), sorted(set().union(*sides))
    number = {name: place for place, name in enumerate(names)}
    places = [np.array([number[name] for name in side]) for side in sides]
    means = []
    for _ in range(ROUNDS):
        times = np.bincount(rng.integers(0, len(names), len(names)), minlength=len(names))
        drawn = [(k, np.repeat(np.arange(len(places[k])), times[places[k]])) for k in rng.integers(0, len(sides), len(sides))]
        means.append(np.mean([score(k, rows) if len(rows) else np.nan for k, rows in drawn]))
    return np.array(means)[~np.isnan(means)]


def interval(draws):
    """The 95 % interval (low, high) of what bootstrap returned; (None, None) where that is nothing."""
    return tuple(np.percentile(draws, [2.5, 97.5]).tolist()) if len(draws) else (None, None)


def score_interval(true, predicted, score):
    """The 95 % interval of score(true, predicted), (n,) and (n,), when the clips are drawn anew."""
    return interval(bootstrap([range(len(true))], lambda _, rows: score(true[rows], predicted[rows])))
