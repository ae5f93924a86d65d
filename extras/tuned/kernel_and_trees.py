"""The tuned recipe's members without a network: a kernel machine and random trees on what can be counted in a clip and
in its thirds.
"""

import numpy as np

from common.baselines import clip_statistics, normal_scores
from common.dataset import unwrap
from common.features import N_CHROMA, N_MELS
from extras.tuned.blocks import block_features

# The kernel is exp(-WIDTH d), d being the families' mean squared distance in units of its median: a product of one
# kernel for each family, so that 48 numbers of harmony weigh as much as 496 correlations. What tells an album's sound
# from another's otherwise outvotes the rest.
WIDTH = 0.5
# Kernel ridge regression's penalty; classes are regressed as 0 and 1 (R. Rifkin and A. Klautau, "In defense of
# one-vs-all classification", 2004), and that is at its best where clips are few: where 197 teach 442 it is nine points
# above a support vector machine's votes.
RIDGE = 0.1
TEMPERATURE = (
    0.15  # what the regressed 0s and 1s are divided by before their softmax: they come out between, and near each other
)
MASTERING = (
    6.0  # dB: deviation of the curve that a piece to learn from is heard through, about what a tone control does
)
TREES = 500
TREES_SHARE = 1 / 3  # beside the kernel machine's
# of the statistics that a node may choose among; trees that see less differ more, and their mean gains (P. Geurts,
# "Extremely randomized trees", 2006)
SHARE = 0.2
TREE_FAMILIES = ("statistics", "harmony")  # with the blocks' features too they score alike


def harmony(chroma):
    """(T, 12) -> (48,): each note's mean, deviation and mean step over time, the strongest note first, so that the key
    does not matter; and the mean of a frame's notes in order of strength: how many sound at once.
    """
    steps = np.abs(np.diff(chroma, axis=0, prepend=chroma[:1])).mean(axis=0)
    means = chroma.mean(axis=0)
    by_note = [np.roll(each, -means.argmax()) for each in (means, chroma.std(axis=0), steps)]
    return np.concatenate([*by_note, np.sort(chroma, axis=1).mean(axis=0)])


def song_statistics(dataset, remastered=False):
    """{family: (n, 4, k)} of the pieces of the clips behind a dataset or Subset, mel and chroma, at full length and in
    its order.

    remastered: the thirds as another studio could have left them, for those to learn from: albums sound alike, and so
    do a training split's, but what sounds like an album tells no genre.
    """
    base, rows = unwrap(dataset)
    rng, found = np.random.default_rng(0), []
    for row in rows:
        whole, *thirds = pieces(np.asarray(base.clips[base.ids[row]], dtype=np.float64))
        if remastered:
            thirds = [np.hstack([third[:, :N_MELS] + mastering(rng), third[:, -N_CHROMA:]]) for third in thirds]
        found.append([clip_families(piece[:, :N_MELS], piece[:, -N_CHROMA:]) for piece in (whole, *thirds)])
    return {name: np.array([[piece[name] for piece in clip] for clip in found]) for name in found[0][0]}


def pieces(clip):
    """[the clip (T, F), and its thirds]: more to learn from, and more to ask, than one summary of a song that changes."""
    third = -(-len(clip) // 3)
    return [clip, *(clip[start : start + third] for start in (0, (len(clip) - third) // 2, len(clip) - third))]


def mastering(rng):
    """(128,) dB: a smooth curve over the mel bands, through five random values."""
    return np.interp(np.arange(N_MELS), np.linspace(0, N_MELS - 1, 5), rng.normal(0, MASTERING, 5))


def clip_families(mel, chroma):
    """{family: vector} of one clip or piece, (T, 128) dB and (T, 12)."""
    return {"statistics": clip_statistics(mel), "harmony": harmony(chroma), **block_features(mel)}


def kernels(known, unknown):
    """The kernel among known pieces (n, n) and between unknown and known ones (m, n), from {family: (n, k)} and
    {family: (m, k)}.
    """
    from sklearn.metrics.pairwise import euclidean_distances

    count = len(next(iter(known.values())))
    within, between = (np.zeros((len(next(iter(split.values()))), count)) for split in (known, unknown))
    for name in known:
        near, far = normal_scores(known[name], unknown[name])
        own = euclidean_distances(near, squared=True)
        unit = np.median(own) or 1.0
        for total, distances in ((within, own), (between, euclidean_distances(far, near, squared=True))):
            total += np.divide(
                distances, unit, out=distances
            )  # in place: the lab's whole set has 9220 pieces, 700 MB a matrix
    return [np.exp(np.multiply(total, -WIDTH / len(known), out=total), out=total) for total in (within, between)]


def kernel_values(known, targets, unknown):
    """Values (m, c) by kernel ridge regression on every piece of the known clips, the mean over each unknown clip's
    pieces.

    known {family: (n, p, k)}, targets (n, c), unknown {family: (m, p, k)}.
    """
    from scipy.linalg import solve

    count = next(iter(known.values())).shape[1]
    within, between = kernels(
        *({name: each.reshape(-1, each.shape[-1]) for name, each in split.items()} for split in (known, unknown))
    )
    within[np.diag_indices_from(within)] += RIDGE
    mean = targets.mean(axis=0)
    weights = solve(within, np.repeat(targets - mean, count, axis=0), assume_a="pos", overwrite_a=True)
    return (between @ weights).reshape(-1, count, targets.shape[1]).mean(axis=1) + mean


def for_trees(families):
    """The whole clips' statistics (n, k), which come first among the pieces'."""
    return np.hstack([families[name][:, 0] for name in TREE_FAMILIES])


def machine_probabilities(known, targets, unknown, trees_share=TREES_SHARE):
    """Probabilities (m, C) of the classes 0 to C - 1, which all stand in targets (n,), from what song_statistics gives
    of both splits.
    """
    from sklearn.ensemble import ExtraTreesClassifier

    exponents = np.exp(kernel_values(known, np.eye(targets.max() + 1)[targets], unknown) / TEMPERATURE)
    kernel = exponents / exponents.sum(axis=1, keepdims=True)
    trees = ExtraTreesClassifier(TREES, max_features=SHARE, random_state=0).fit(for_trees(known), targets)
    return kernel + trees_share * (trees.predict_proba(for_trees(unknown)) - kernel)


def machine_values(known, targets, unknown, trees_share=TREES_SHARE):
    """Values (m, axes) for targets (n, axes), from what song_statistics gives of both splits."""
    from sklearn.ensemble import ExtraTreesRegressor

    values = kernel_values(known, targets, unknown)
    for number, target in enumerate(targets.T):  # one forest for each axis: what splits the clips differs
        trees = ExtraTreesRegressor(TREES, max_features=SHARE, min_samples_leaf=2, random_state=0).fit(
            for_trees(known), target
        )
        values[:, number] += trees_share * (trees.predict(for_trees(unknown)) - values[:, number])
    return values
