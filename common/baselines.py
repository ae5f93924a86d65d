"""Two models without a network, seconds each: what a network has to beat on the same test clips.

A linear model on the mean and std of each mel band, and an SVM (RBF) on richer statistics of the mel spectrogram. Both
are fitted on training and validation clips together; cross-validation among these chooses their regularisation.
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

from common.comparison import fraction_correct, paired_difference
from common.dataset import clip_ids, clip_labels, unwrap
from common.features import HOP_LENGTH, N_MELS, SAMPLE_RATE
from common.files import write_json
from common.metrics import rank_correlation

IN_SINGLE_FILE = False  # left out of the single file of a step: no part of its experiment

NAMES = {"linear": "the linear model", "svm": "the SVM (RBF)"}
CLAIMS = {"yes": "above", "no": "below", "not significant": "significantly different from"}
KEPT = "2"  # of what is kept: predictions; the first version kept scores
CEPSTRA = 40  # of the bands' decibels; the first of them is the level
SHAPES = 13  # of these, the ones whose modulation and covariance are taken
MODULATIONS = ((0.5, 1), (1, 2), (2, 4), (4, 8), (8, 16))  # Hz: from phrases to tremolo
FOLDS = 5


def mean_and_std(mel):
    """(T, F) -> (2 F,): mean and std of each mel band over time."""
    return np.concatenate([mel.mean(axis=0), mel.std(axis=0)])


def clip_statistics(mel):
    """(T, 128) dB -> (476,): cepstra and their changes between frames, percentiles of bands, modulation, covariance.

    The cepstra are the DCT over the mel bands; modulation spectrum and covariance are of the first 13. One frame is
    enough.
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
    """(n, k) statistics of the mel spectrograms of a dataset or Subset, at their full length and in its order."""
    base, indices = unwrap(dataset)
    clips = (base.clips[base.ids[index]][:, :N_MELS] for index in indices)
    return np.array([statistics(np.asarray(clip, dtype=np.float64)) for clip in clips])


def chosen_model(model, choices, inputs, targets):
    """The model fitted on (n, k), (n,) with those of the choices {parameter: values} that do best in cross-validation."""
    from sklearn.model_selection import GridSearchCV, KFold

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # on constant inputs and unfinished iterations: no user could mend them
        search = GridSearchCV(model, choices, cv=KFold(FOLDS, shuffle=True, random_state=0))
        return search.fit(inputs, targets).best_estimator_


def linear_predictions(train_inputs, targets, test_inputs, classify):
    """Predictions (m,) by logistic or ridge regression on standardised inputs: (n, k), (n,), (m, k)."""
    from sklearn.linear_model import LogisticRegression, Ridge
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    if classify:
        model, choices = LogisticRegression(max_iter=300), {"logisticregression__C": np.logspace(-4, 0, 9)}
    else:
        model, choices = Ridge(), {"ridge__alpha": np.logspace(0, 5, 11)}
    return chosen_model(make_pipeline(StandardScaler(), model), choices, train_inputs, targets).predict(test_inputs)


def svm_predictions(train_inputs, targets, test_inputs, classify):
    """Predictions (m,) by a support vector machine with an RBF kernel on normal_scores: (n, k), (n,), (m, k)."""
    train_inputs, test_inputs = normal_scores(train_inputs, test_inputs)
    return svm(train_inputs, targets, classify).predict(test_inputs)


def svm(inputs, targets, classify):
    from sklearn.svm import SVC, SVR

    model, strengths = (SVC(), (1, 3, 10)) if classify else (SVR(), (0.3, 1, 3))
    return chosen_model(model, {"C": strengths, "gamma": (3e-4, 1e-3, 3e-3)}, inputs, targets)


def normal_scores(train_inputs, test_inputs):
    """(n, k) and (m, k) mapped to a normal distribution by the quantiles of the training inputs.

    Quantiles are taken once, of all training clips, not in each fold: they use no target, and take most of the time.
    """
    from sklearn.preprocessing import QuantileTransformer

    count = min(100, len(train_inputs))
    quantiles = QuantileTransformer(n_quantiles=count, output_distribution="normal").fit(train_inputs)
    return quantiles.transform(train_inputs), quantiles.transform(test_inputs)


MODELS = {"linear": (linear_predictions, mean_and_std), "svm": (svm_predictions, clip_statistics)}


def model_predictions(name, train_set, test_set, classify):
    """Class numbers or, in any unit, values (n,) of test_set by the model of this name in MODELS, fitted on train_set."""
    predictions, statistics = MODELS[name]
    targets = clip_labels(train_set).astype(float)
    if not classify and targets.std() > 0:
        targets = (targets - targets.mean()) / targets.std()  # the SVM's tolerance is made for this scale
    inputs = statistics_of(train_set, statistics), targets, statistics_of(test_set, statistics)
    with threadpool_limits(1):  # on two threads the linear model's many small products take five times as long
        return predictions(*inputs, classify)


def baseline_predictions(train_set, test_set, classify):
    """{"linear": predictions [n], "svm": predictions [n]} of test_set, see model_predictions.

    None for both where train_set has fewer than two clips for each fold, or one class alone.
    """
    targets = clip_labels(train_set)
    if len(targets) < 2 * FOLDS or (classify and len(set(targets)) < 2):
        return dict.fromkeys(MODELS)
    return {name: model_predictions(name, train_set, test_set, classify).tolist() for name in MODELS}


def kept_predictions(folder, key, train_set, test_set, classify):
    """baseline_predictions, made once for each key (data fingerprint, folder, axis) and split, and kept in `folder`."""
    ids = hashlib.sha256(json.dumps([clip_ids(train_set), clip_ids(test_set)]).encode()).hexdigest()[:8]
    path = Path(folder) / f"{key}_{ids}.{KEPT}.json"
    with contextlib.suppress(
        OSError, ValueError, TypeError, AttributeError, RecursionError
    ):  # not there yet, or damaged: computed again
        kept = json.loads(path.read_text(encoding="utf-8"))
        if kept.keys() == MODELS.keys() and all(
            each is None or (len(each) == len(test_set) and {*map(type, each)} == {float}) for each in kept.values()
        ):
            return kept
    predicted = baseline_predictions(train_set, test_set, classify)
    with contextlib.suppress(OSError):
        path.parent.mkdir(parents=True, exist_ok=True)
    write_json(path, predicted)
    return predicted


def report_baselines(run, splits, true, predicted, axis=None, column=None):
    """Prints and returns {"linear": score, "svm": score} of the models without a network on the same test clips.

    true, predicted: of these clips, this network's; axis, column: the axis and its column in the labels, None for
    genres. What is said of the two and this network is by the paired bootstrap.
    """
    base = unwrap(splits[0])[0]
    indices = [index for split in splits[:2] if split is not None for index in unwrap(split)[1].tolist()]
    train_set, test_set = Subset(base, sorted(indices)), splits[2]
    if axis is not None:
        train_set, test_set = of_axis(train_set, column), of_axis(test_set, column)
    fingerprints = run.metadata["data"].split("+")  # of all folders that the run reads: these clips' own counts
    data = next((each for each in fingerprints if each.startswith(f"{base.folder.name}=")), run.metadata["data"])
    key = "_".join(filter(None, [data, base.folder.name, axis]))
    kept = kept_predictions(run.folder.parents[1] / "baselines", key, train_set, test_set, classify=axis is None)
    score, scores, found = fraction_correct if axis is None else rank_correlation, {}, {}
    for name, each in kept.items():
        theirs = np.full(len(true), np.nan) if each is None else np.array(each)
        value = np.nan if each is None else float(score(true, theirs))
        scores[name] = None if np.isnan(value) else value
        pair = [[(score, true, predicted, theirs)]]
        found[NAMES[name]] = None if np.isnan(value) else paired_difference([range(len(true))], pair)
    texts = [f"{NAMES[name]} {'undefined' if each is None else f'{each:.4f}'}" for name, each in scores.items()]
    print(f"without a network: {', '.join(texts)}; this network is {claim(found)}")
    differences = [f"minus {name} {each}" for name, each in found.items() if each]
    if differences:
        print(f"             this network {', '.join(differences)}")
    return scores


def claim(found):
    """What a network is by {other model: Difference or None}: "above A, not significantly different from B"."""
    words = {name: CLAIMS.get(each and each.answer, "compared with") for name, each in found.items()}
    sure = {"above", "below"}
    if len({*words.values()}) == 1:
        (same,) = {*words.values()}
        return f"{same} both" if same in sure else f"{same} neither {' nor '.join(words)}"
    return ", ".join(f"{'not ' * (each not in sure)}{each} {name}" for name, each in words.items())


def of_axis(dataset, column):
    """A dataset or Subset with several axes as labels, with one column of them alone; same clips, same order."""
    base, indices = unwrap(dataset)
    single = copy.copy(base)
    single.labels = base.labels.reshape(len(base), -1)[:, column]
    return Subset(single, indices.tolist())


def add_baselines_flag(parser):
    """Adds --no-baselines."""
    text = "leave out the two models without a network, half a minute on 2 cores"
    parser.add_argument("--no-baselines", dest="baselines", action="store_false", help=text)
