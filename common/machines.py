"""The tuned recipe's members without a network: a kernel machine and random trees on statistics of the whole clip, which err unlike it."""

import numpy as np

from common.baselines import clip_statistics, kernel_machine, normal_scores
from common.dataset import rows_of
from common.features import N_CHROMA, N_MELS

TREES = 500
# of the statistics that a node may choose among; trees that see less differ more, and their mean gains (P. Geurts, "Extremely randomized
# trees", 2006)
SHARE = 0.2


def harmony(chroma):
    """(T, 12) -> (48,): each note's mean, deviation and mean step over time, the strongest note first, so that the key does not matter;
    and the mean of a frame's notes in order of strength: how many sound at once."""
    steps = np.abs(np.diff(chroma, axis=0, prepend=chroma[:1])).mean(axis=0)
    means = chroma.mean(axis=0)
    by_note = [np.roll(each, -means.argmax()) for each in (means, chroma.std(axis=0), steps)]
    return np.concatenate([*by_note, np.sort(chroma, axis=1).mean(axis=0)])


def song_statistics(dataset):
    """(n, 476 + 48) statistics of the clips behind a dataset or Subset, mel and chroma, at their full length and in its order."""
    base, rows = rows_of(dataset)
    clips = (np.asarray(base.clips[base.ids[row]], dtype=np.float64) for row in rows)
    return np.array([np.concatenate([clip_statistics(clip[:, :N_MELS]), harmony(clip[:, -N_CHROMA:])]) for clip in clips])


def machine_probabilities(known, targets, unknown):
    """Probabilities (m, C) of the classes 0 to C - 1, which all stand in targets: known (n, k), targets (n,), unknown (m, k).

    The mean of the two. Those of the kernel machine are the softmax of its votes, one for each pair of classes, which ranks and weighs
    classes but promises no frequencies.
    """
    from sklearn.ensemble import ExtraTreesClassifier

    near, far = normal_scores(known, unknown)
    votes = kernel_machine(near, targets, classify=True).decision_function(far)
    votes = np.stack([-votes, votes], axis=1) / 2 if votes.ndim == 1 else votes  # two classes have one number
    exponents = np.exp(votes - votes.max(axis=1, keepdims=True))
    trees = ExtraTreesClassifier(TREES, max_features=SHARE, random_state=0).fit(known, targets)
    return (exponents / exponents.sum(axis=1, keepdims=True) + trees.predict_proba(unknown)) / 2


def machine_values(known, targets, unknown):
    """Values (m, axes) for unknown (m, k), the mean of the two: known (n, k), targets (n, axes)."""
    from sklearn.ensemble import ExtraTreesRegressor

    near, far = normal_scores(known, unknown)
    columns = []
    for target in targets.T.astype(np.float64):
        spread = target.std() or 1.0  # the kernel machine's tolerance is made for this scale
        scaled = (target - target.mean()) / spread
        kernel = kernel_machine(near, scaled, classify=False).predict(far)
        trees = ExtraTreesRegressor(TREES, max_features=SHARE, min_samples_leaf=2, random_state=0).fit(known, scaled).predict(unknown)
        columns.append((kernel + trees) / 2 * spread + target.mean())
    return np.stack(columns, axis=1)
