"""Block-level features of a mel spectrogram: what its short pieces have in common, as patterns over bands and time.

After K. Seyerlehner, G. Widmer and T. Pohle, "Fusing block-level features for music similarity estimation" (DAFx 2010):
overlapping blocks of frames are cut from a clip, each gives a pattern, and a percentile over the blocks stands for the
clip. The families are theirs; the sizes fit the lab's files: bands in fours, blocks of at most 6 s, of a block's sorted
columns every third or so.
"""

from itertools import pairwise

import numpy as np

from common.features import HOP_LENGTH, SAMPLE_RATE

BANDS = 32
CONTRAST_BANDS = 16
RATES = np.geomspace(
    0.47, 20, 14
)  # Hz, edges of the bins that count how fast a band's level moves: from bars to roughness


def block_features(mel):
    """{family: vector} of a mel spectrogram (T, 128) in dB; a clip shorter than a block is repeated until it fills one."""
    levels = mel.reshape(len(mel), BANDS, -1).mean(axis=2)
    rises = np.maximum(levels[3:] - levels[:-3], 0) if len(levels) > 3 else np.zeros_like(levels)
    onsets = np.sort(blocks(rises, 25, 5), axis=1)[:, 11::3]  # the larger half: most frames hold no onset
    groups = mel.reshape(len(mel), CONTRAST_BANDS, -1)
    contrasts = blocks(groups.max(axis=2) - groups.min(axis=2), 40, 20)
    patterns = {
        "spectrum": np.percentile(np.sort(blocks(levels, 10, 5), axis=1)[:, ::3], 90, axis=0),
        "onsets": np.percentile(onsets, 90, axis=0),
        "onset variance": np.log(onsets.var(axis=0) + 1e-2),
        "fluctuation": np.percentile(fluctuations(blocks(levels, 256, 64)), 60, axis=0),
        "correlation": np.percentile(correlations(blocks(levels, 256, 128)), 50, axis=0),
        "contrast": np.percentile(np.sort(contrasts, axis=1)[:, ::8], 10, axis=0),
    }
    return {name: pattern.ravel() for name, pattern in patterns.items()}


def blocks(x, size, hop):
    """(T, F) -> (n, size, F): blocks of `size` frames, one every `hop` frames."""
    if len(x) < size:
        x = np.pad(x, ((0, size - len(x)), (0, 0)), mode="wrap")
    return np.moveaxis(np.lib.stride_tricks.sliding_window_view(x, size, axis=0)[::hop], 2, 1)


def fluctuations(x):
    """Blocks (n, size, F) -> (n, 13, F): the log of each band's mean power of modulation between two RATES."""
    power = np.abs(np.fft.rfft(x - x.mean(axis=1, keepdims=True), axis=1)) ** 2 / x.shape[1]
    rates = np.fft.rfftfreq(x.shape[1], HOP_LENGTH / SAMPLE_RATE)
    within = [(rates >= slow) & (rates < fast) for slow, fast in pairwise(RATES)]
    return np.log(np.stack([power[:, each].mean(axis=1) for each in within], axis=1) + 1e-2)


def correlations(x):
    """Blocks (n, size, F) -> (n, F (F - 1) / 2): how alike each two bands move."""
    x = x - x.mean(axis=1, keepdims=True)
    x = x / (np.sqrt((x**2).sum(axis=1, keepdims=True)) + 1e-6)
    pairs = np.triu_indices(x.shape[2], 1)
    return (x.transpose(0, 2, 1) @ x)[:, pairs[0], pairs[1]]
