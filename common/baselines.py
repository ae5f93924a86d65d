"""Two models without a network, seconds each: the lines that a network has to cross on the same clips.

A linear model on the mean and deviation of each row, and a kernel machine on richer statistics of the mel spectrogram.
Both are fitted on training and validation clips together, their strength chosen by cross-validation among these.
"""

import contextlib
import copy
import hashlib
import json
import warnings
from pathlib import Path

import numpy as np
from threadpoolctl import threadpool_limits
from torch.utils.data import Subset

from common.dataset import clip_ids, clip_labels, unwrap
from common.features import HOP_LENGTH, N_MELS, SAMPLE_RATE
from common.files import write_json
from common.metrics import spearman

IN_SINGLE_FILE = (
    False  # left out of the single file of a step: a step is whole without models to compare its network with
)

NAMES = {"linear": "the linear model", "kernel": "the kernel machine"}
CEPSTRA = 40  # of the bands' decibels; the first of them is the level
SHAPES = 13  # of these, the ones whose modulation and covariance are taken
MODULATIONS = ((0.5, 1), (1, 2), (2, 4), (4, 8), (8, 16))  # Hz: from phrases to tremolo
FOLDS = 5


def mean_and_std(mel):
    """(T, F) -> (2 F,): each row's mean and standard deviation over time."""
    return np.concatenate([mel.mean(axis=0), mel.std(axis=0)])


def clip_statistics(mel):
    """(T, 128) dB -> (476,): cepstra and their steps from frame to frame, percentiles per band, modulation spectrum,
    covariance.

    The cepstra are the DCT over the bands; modulation and covariance are of the first 13. One frame is enough.
    """
    from scipy.fft import dct, rfft, rfftfreq

    cepstra = dct(mel, axis=1, norm="ortho")[:, :CEPSTRA]
    steps = np.diff(cepstra, axis=0, prepend=cepstra[:1])
    bands = mel[:, ::4]
    changes = np.diff(bands, axis=0, prepend=bands[:1])
    shapes = cepstra[:, :SHAPES] - cepstra[:, :SHAPES].mean(axis=0)
    power = np.abs(rfft(shapes, axis=0)) ** 2 / len(shapes)
    rates = rfftfreq(len(shapes), HOP_LENGTH / SAMPLE_RATE)
    parts = [cepstra.mean(axis=0), cepstra.std(axis=0), steps.std(axis=0), np.abs(steps).mean(axis=0)]
    parts += [*np.percentile(bands, (10, 50, 90), axis=0), changes.std(axis=0), np.maximum(changes, 0).mean(axis=0)]
    parts += [np.log(power[(rates >= slow) & (rates < fast)].sum(axis=0) + 1e-3) for slow, fast in MODULATIONS]
    parts += [(shapes.T @ shapes / len(shapes))[np.triu_indices(SHAPES)]]
    return np.concatenate(parts)


def statistics_of(dataset, statistics):
    """(n, k) statistics of the mel spectrograms behind a dataset or Subset, at their full length and in its order."""
    base, rows = unwrap(dataset)
    return np.array([statistics(np.asarray(base.clips[base.ids[row]][:, :N_MELS], dtype=np.float64)) for row in rows])


def chosen_model(model, choices, known, targets):
    """The model fitted on known (n, k), targets (n,) with those of the choices that do best in cross-validation among
    them.
    """
    from sklearn.model_selection import GridSearchCV, KFold

    with warnings.catch_warnings():
        warnings.simplefilter(
            "ignore"
        )  # constant rows and unfinished iterations are nothing that a reader of this line could mend
        search = GridSearchCV(model, choices, cv=KFold(FOLDS, shuffle=True, random_state=0))
        return search.fit(known, targets).best_estimator_


def linear_predictions(known, targets, unknown, classify):
    """Predictions (m,) for unknown (m, k) by logistic or ridge regression on standardised inputs: known (n, k), targets
    (n,).
    """
    from sklearn.linear_model import LogisticRegression, Ridge
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    if classify:
        model, choices = LogisticRegression(max_iter=300), {"logisticregression__C": np.logspace(-4, 0, 9)}
    else:
        model, choices = Ridge(), {"ridge__alpha": np.logspace(0, 5, 11)}
    return chosen_model(make_pipeline(StandardScaler(), model), choices, known, targets).predict(unknown)


def svm_predictions(known, targets, unknown, classify):
    """Predictions (m,) for unknown (m, k) by a support vector machine with radial basis on normal_scores: known (n, k),
    targets (n,).
    """
    known, unknown = normal_scores(known, unknown)
    return svm(known, targets, classify).predict(unknown)


def svm(known, targets, classify):
    from sklearn.svm import SVC, SVR

    model, strengths = (SVC(), (1, 3, 10)) if classify else (SVR(), (0.3, 1, 3))
    return chosen_model(model, {"C": strengths, "gamma": (3e-4, 1e-3, 3e-3)}, known, targets)


def normal_scores(known, unknown):
    """Both (n, k), (m, k) brought to a normal distribution by the quantiles of `known`.

    They are taken once, of all known clips, and not anew in each fold: they know no target, and take most of the time.
    """
    from sklearn.preprocessing import QuantileTransformer

    quantiles = QuantileTransformer(n_quantiles=min(100, len(known)), output_distribution="normal").fit(known)
    return quantiles.transform(known), quantiles.transform(unknown)


MODELS = {"linear": (linear_predictions, mean_and_std), "kernel": (svm_predictions, clip_statistics)}


def model_score(name, train_set, test_set, classify):
    """What the model of this name in MODELS, fitted on train_set, scores on test_set: accuracy, or one axis's rank
    correlation.
    """
    predictions, statistics = MODELS[name]
    targets, true = clip_labels(train_set).astype(float), clip_labels(test_set)
    if not classify and targets.std() > 0:
        targets = (
            targets - targets.mean()
        ) / targets.std()  # ranks stay; the machine's tolerance is made for this scale
    with threadpool_limits(1):  # on two threads the linear model's many small products take five times as long
        predicted = predictions(
            statistics_of(train_set, statistics), targets, statistics_of(test_set, statistics), classify
        )
    return float(np.mean(predicted == true)) if classify else spearman(true, predicted)


def baseline_scores(train_set, test_set, classify):
    """{"linear": score, "kernel": score} on test_set, both models fitted on train_set, see model_score.

    None for both where train_set has fewer than two clips for each fold, or one class alone.
    """
    targets = clip_labels(train_set)
    if len(targets) < 2 * FOLDS or (classify and len(set(targets)) < 2):
        return dict.fromkeys(MODELS)
    return {name: model_score(name, train_set, test_set, classify) for name in MODELS}


def kept_scores(folder, key, train_set, test_set, classify):
    """baseline_scores, computed once for each key (data fingerprint, folder, axis) and split, and kept as JSON in
    `folder`.
    """
    ids = hashlib.sha256(json.dumps([clip_ids(train_set), clip_ids(test_set)]).encode()).hexdigest()[:8]
    path = Path(folder) / f"{key}_{ids}.json"
    with contextlib.suppress(OSError, ValueError, RecursionError):  # not there yet, or damaged: it is made anew
        kept = json.loads(path.read_text(encoding="utf-8"))
        if (
            isinstance(kept, dict)
            and kept.keys() == MODELS.keys()
            and all(type(score) in (float, type(None)) for score in kept.values())
        ):
            return kept
    scores = baseline_scores(train_set, test_set, classify)
    with contextlib.suppress(OSError):
        path.parent.mkdir(parents=True, exist_ok=True)
    write_json(path, scores)
    return scores


def report_baselines(run, splits, score, axis=None, number=None):
    """Prints and returns what two models without a network score on the same test clips, fitted on the training and
    validation clips.

    score: this network's; axis, number: the axis and its column in the labels, None for genres. Returns {"linear":
    score, "kernel": score}.
    """
    base = unwrap(splits[0])[0]
    known = Subset(base, sorted(row for split in splits[:2] if split is not None for row in unwrap(split)[1].tolist()))
    test_set = splits[2]
    if axis is not None:
        known, test_set = of_axis(known, number), of_axis(test_set, number)
    key = "_".join(filter(None, [run.metadata["data"], base.folder.name, axis]))
    scores = kept_scores(run.folder.parents[1] / "baselines", key, known, test_set, classify=axis is None)
    texts = ", ".join(
        f"{NAMES[name]} {'undefined' if value is None else f'{value:.4f}'}" for name, value in scores.items()
    )
    below = [NAMES[name] for name, value in scores.items() if None in (value, score) or score <= value]
    print(
        f"without a network: {texts}; this network is {'not above ' + ' nor '.join(below) if below else 'above both'}"
    )
    return scores


def of_axis(dataset, number):
    """A dataset or Subset with several axes as labels as one with column `number` alone; the clips are the same, in the
    same order.
    """
    base, rows = unwrap(dataset)
    single = copy.copy(base)
    single.labels = base.labels.reshape(len(base), -1)[:, number]
    return Subset(single, rows.tolist())


def add_baselines_flag(parser):
    """Adds --no-baselines."""
    models = "leave out the two models without a network, half a minute on 2 cores"
    parser.add_argument("--no-baselines", dest="baselines", action="store_false", help=models)
