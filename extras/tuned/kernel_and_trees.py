"""Kernel ridge and extra trees of the tuned recipe, on statistics of a clip and of its thirds."""

import numpy as np

from common.baselines import clip_statistics, normal_scores
from common.dataset import unwrap
from common.features import N_CHROMA, N_MELS
from extras.tuned.blocks import block_features

# The kernel is exp(-GAMMA d). d is the mean over the families of features of the squared distance in units of its
# median, which makes a product of one kernel for each family: 48 numbers of harmony weigh as much as 496 correlations.
# Otherwise the many features that describe an album's sound would dominate.
GAMMA = 0.5
# Penalty of kernel ridge. Classes are regressed as 0 and 1 (R. Rifkin and A. Klautau, "In defense of one-vs-all
# classification", 2004). Good where clips are few: trained on 197 clips, nine points above an SVM on the other 442.
RIDGE = 0.1
TEMPERATURE = 0.15  # of the softmax of the regressed values, which are close to each other, mostly between 0 and 1
TILT_STD = 6.0  # dB, standard deviation of the random spectral tilt, about the range of a tone control
TREES = 500
TREES_WEIGHT = 1 / 3  # of the extra trees in the mean with kernel ridge
# Fraction of the features that a node chooses from. With fewer, trees differ more and their mean is better
# (P. Geurts, "Extremely randomized trees", 2006)
MAX_FEATURES = 0.2
TREE_FAMILIES = ("statistics", "harmony")  # the block-level features added nothing for the trees


def harmony(chroma):
    """Harmony of a clip, whatever its key: (T, 12) -> (48,).

    Mean, standard deviation and mean step over time of each chroma bin, the strongest bin first; then the mean of a
    frame's sorted bins, which shows how many notes sound at once.
    """
    steps = np.abs(np.diff(chroma, axis=0, prepend=chroma[:1])).mean(axis=0)
    means = chroma.mean(axis=0)
    by_note = [np.roll(each, -means.argmax()) for each in (means, chroma.std(axis=0), steps)]
    return np.concatenate([*by_note, np.sort(chroma, axis=1).mean(axis=0)])


def song_statistics(dataset, tilt=False):
    """Statistics of each clip and its thirds: {family: (n, 4, k)}, at full length, in the dataset's order.

    dataset: a SpectrogramDataset or a Subset of one; mel and chroma are read, whatever its features.
    tilt: random spectral tilt (EQ) augmentation of the thirds, for training clips. Songs of one album share its
    mastering, which should not decide their genre.
    """
    base, indices = unwrap(dataset)
    rng, found = np.random.default_rng(0), []
    for index in indices:
        whole, *thirds = pieces(np.asarray(base.clips[base.ids[index]], dtype=np.float64))
        if tilt:
            thirds = [np.hstack([third[:, :N_MELS] + random_tilt(rng), third[:, -N_CHROMA:]]) for third in thirds]
        found.append([clip_families(piece[:, :N_MELS], piece[:, -N_CHROMA:]) for piece in (whole, *thirds)])
    return {name: np.array([[piece[name] for piece in clip] for clip in found]) for name in found[0][0]}


def pieces(clip):
    """[the clip (T, F), and its thirds]: more training data, and predictions to average where a song changes."""
    third = -(-len(clip) // 3)
    return [clip, *(clip[start : start + third] for start in (0, (len(clip) - third) // 2, len(clip) - third))]


def random_tilt(rng):
    """(128,) dB: a random gain for each mel band, interpolated between five random values."""
    return np.interp(np.arange(N_MELS), np.linspace(0, N_MELS - 1, 5), rng.normal(0, TILT_STD, 5))


def clip_families(mel, chroma):
    """{family: vector} of one clip or piece, (T, 128) dB and (T, 12)."""
    return {"statistics": clip_statistics(mel), "harmony": harmony(chroma), **block_features(mel)}


def kernels(train, test):
    """The kernel among training pieces (n, n), and between test and training pieces (m, n).

    train {family: (n, k)}, test {family: (m, k)}.
    """
    from sklearn.metrics.pairwise import euclidean_distances

    count = len(next(iter(train.values())))
    within, between = (np.zeros((len(next(iter(split.values()))), count)) for split in (train, test))
    for name in train:
        train_scores, test_scores = normal_scores(train[name], test[name])
        own = euclidean_distances(train_scores, squared=True)
        unit = np.median(own) or 1.0
        for total, distances in (
            (within, own),
            (between, euclidean_distances(test_scores, train_scores, squared=True)),
        ):
            # in place: for the lab's 9220 pieces a matrix has 700 MB
            total += np.divide(distances, unit, out=distances)
    return [np.exp(np.multiply(total, -GAMMA / len(train), out=total), out=total) for total in (within, between)]


def kernel_values(train, targets, test):
    """Values (m, c) by kernel ridge on all training pieces, the mean over the pieces of each test clip.

    train {family: (n, p, k)}, targets (n, c), test {family: (m, p, k)}.
    """
    from scipy.linalg import solve

    count = next(iter(train.values())).shape[1]
    within, between = kernels(
        *({name: each.reshape(-1, each.shape[-1]) for name, each in split.items()} for split in (train, test))
    )
    within[np.diag_indices_from(within)] += RIDGE
    mean = targets.mean(axis=0)
    weights = solve(within, np.repeat(targets - mean, count, axis=0), assume_a="pos", overwrite_a=True)
    return (between @ weights).reshape(-1, count, targets.shape[1]).mean(axis=1) + mean


def tree_features(families):
    """Features (n, k) of the whole clips, the first of the pieces."""
    return np.hstack([families[name][:, 0] for name in TREE_FAMILIES])


def class_probabilities(train, targets, test, trees_weight=TREES_WEIGHT):
    """Probabilities (m, C) of classes 0 to C - 1 by kernel ridge and extra trees.

    train, test: what song_statistics returns. targets (n,): every class occurs in them.
    """
    from sklearn.ensemble import ExtraTreesClassifier

    exponents = np.exp(kernel_values(train, np.eye(targets.max() + 1)[targets], test) / TEMPERATURE)
    kernel = exponents / exponents.sum(axis=1, keepdims=True)
    trees = ExtraTreesClassifier(TREES, max_features=MAX_FEATURES, random_state=0).fit(tree_features(train), targets)
    return kernel + trees_weight * (trees.predict_proba(tree_features(test)) - kernel)


def axis_values(train, targets, test, trees_weight=TREES_WEIGHT):
    """Values (m, axes) by kernel ridge and extra trees, for targets (n, axes); train, test: from song_statistics."""
    from sklearn.ensemble import ExtraTreesRegressor

    values = kernel_values(train, targets, test)
    for column, target in enumerate(targets.T):  # a forest for each axis, since each needs other features
        trees = ExtraTreesRegressor(TREES, max_features=MAX_FEATURES, min_samples_leaf=2, random_state=0)
        predicted = trees.fit(tree_features(train), target).predict(tree_features(test))
        values[:, column] += trees_weight * (predicted - values[:, column])
    return values
