"""The tuned recipe's members without a network: a kernel machine and random trees on what can be counted in a whole clip."""

import numpy as np

from common.baselines import clip_statistics, normal_scores
from common.blocks import block_features
from common.dataset import rows_of
from common.features import N_CHROMA, N_MELS

# The kernel is exp(-WIDTH d), d being the families' mean squared distance in units of its median: a product of one kernel for each family,
# so that 48 numbers of harmony weigh as much as 496 correlations. What tells an album's sound from another's otherwise outvotes the rest.
WIDTH = 0.5
COST = 3  # how dearly the kernel machine pays for each clip on the wrong side
TREES = 500
# of the statistics that a node may choose among; trees that see less differ more, and their mean gains (P. Geurts, "Extremely randomized
# trees", 2006)
SHARE = 0.2
TREE_FAMILIES = ("statistics", "harmony")  # with the blocks' features too they score alike


def harmony(chroma):
    """(T, 12) -> (48,): each note's mean, deviation and mean step over time, the strongest note first, so that the key does not matter;
    and the mean of a frame's notes in order of strength: how many sound at once."""
    steps = np.abs(np.diff(chroma, axis=0, prepend=chroma[:1])).mean(axis=0)
    means = chroma.mean(axis=0)
    by_note = [np.roll(each, -means.argmax()) for each in (means, chroma.std(axis=0), steps)]
    return np.concatenate([*by_note, np.sort(chroma, axis=1).mean(axis=0)])


def song_statistics(dataset):
    """{family: (n, k)} of the clips behind a dataset or Subset, mel and chroma, at their full length and in its order."""
    base, rows = rows_of(dataset)
    clips = (np.asarray(base.clips[base.ids[row]], dtype=np.float64) for row in rows)
    found = [clip_families(clip[:, :N_MELS], clip[:, -N_CHROMA:]) for clip in clips]
    return {name: np.array([each[name] for each in found]) for name in found[0]}


def clip_families(mel, chroma):
    """{family: vector} of one clip, (T, 128) dB and (T, 12)."""
    return {"statistics": clip_statistics(mel), "harmony": harmony(chroma), **block_features(mel)}


def kernels(known, unknown):
    """The kernel among known clips (n, n) and between unknown and known ones (m, n), from {family: (n, k)} and {family: (m, k)}."""
    from scipy.spatial.distance import cdist

    within = between = 0.0
    for name in known:
        near, far = normal_scores(known[name], unknown[name])
        own = cdist(near, near, "sqeuclidean")
        unit = np.median(own) or 1.0
        within, between = within + own / unit, between + cdist(far, near, "sqeuclidean") / unit
    return np.exp(-WIDTH * within / len(known)), np.exp(-WIDTH * between / len(known))


def for_trees(families):
    return np.hstack([families[name] for name in TREE_FAMILIES])


def machine_probabilities(known, targets, unknown):
    """Probabilities (m, C) of the classes 0 to C - 1, which all stand in targets (n,): known {family: (n, k)}, unknown {family: (m, k)}.

    The mean of the two. Those of the kernel machine are the softmax of its votes, one for each pair of classes, which ranks and weighs
    classes but promises no frequencies.
    """
    from sklearn.ensemble import ExtraTreesClassifier
    from sklearn.svm import SVC

    within, between = kernels(known, unknown)
    votes = SVC(C=COST, kernel="precomputed").fit(within, targets).decision_function(between)
    votes = np.stack([-votes, votes], axis=1) / 2 if votes.ndim == 1 else votes  # two classes have one number
    exponents = np.exp(votes - votes.max(axis=1, keepdims=True))
    trees = ExtraTreesClassifier(TREES, max_features=SHARE, random_state=0).fit(for_trees(known), targets)
    return (exponents / exponents.sum(axis=1, keepdims=True) + trees.predict_proba(for_trees(unknown))) / 2


def machine_values(known, targets, unknown):
    """Values (m, axes), the mean of the two: known {family: (n, k)}, targets (n, axes), unknown {family: (m, k)}."""
    from sklearn.ensemble import ExtraTreesRegressor
    from sklearn.svm import SVR

    within, between = kernels(known, unknown)
    columns = []
    for target in targets.T.astype(np.float64):
        spread = target.std() or 1.0  # the kernel machine's tolerance is made for this scale
        scaled = (target - target.mean()) / spread
        kernel = SVR(C=COST, kernel="precomputed").fit(within, scaled).predict(between)
        trees = ExtraTreesRegressor(TREES, max_features=SHARE, min_samples_leaf=2, random_state=0).fit(for_trees(known), scaled)
        columns.append((kernel + trees.predict(for_trees(unknown))) / 2 * spread + target.mean())
    return np.stack(columns, axis=1)
