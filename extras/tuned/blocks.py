"""Block-level features of a mel spectrogram: typical patterns over mel bands and time in short blocks of a clip.

After K. Seyerlehner, G. Widmer and T. Pohle, "Fusing block-level features for music similarity estimation" (DAFx 2010):
overlapping blocks of frames are cut from a clip, each gives a pattern, and the clip's features are a percentile over
the blocks. The families of patterns are theirs. The sizes are chosen for the lab's clips: mel bands averaged in fours,
blocks of at most 6 s, and about every third of a block's sorted frames.
"""

from itertools import pairwise

import numpy as np

from common.features import HOP_LENGTH, SAMPLE_RATE

BANDS = 32
CONTRAST_BANDS = 16
# Hz, edges of the bins of modulation frequency, how fast a band's level changes: from musical bars to roughness
MODULATION_EDGES = np.geomspace(0.47, 20, 14)


def block_features(mel):
    """{family: vector} of a mel spectrogram (T, 128) in dB; a clip shorter than a block is repeated to fill it."""
    levels = mel.reshape(len(mel), BANDS, -1).mean(axis=2)
    rises = np.maximum(levels[3:] - levels[:-3], 0) if len(levels) > 3 else np.zeros_like(levels)
    onsets = np.sort(blocks(rises, 25, 5), axis=1)[:, 11::3]  # the larger half: most frames have no onset
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
    """Blocks (n, size, F) -> (n, 13, F): log of each band's mean modulation power between two MODULATION_EDGES."""
    power = np.abs(np.fft.rfft(x - x.mean(axis=1, keepdims=True), axis=1)) ** 2 / x.shape[1]
    hertz = np.fft.rfftfreq(x.shape[1], HOP_LENGTH / SAMPLE_RATE)
    within = [(hertz >= slow) & (hertz < fast) for slow, fast in pairwise(MODULATION_EDGES)]
    return np.log(np.stack([power[:, each].mean(axis=1) for each in within], axis=1) + 1e-2)


def correlations(x):
    """Blocks (n, size, F) -> (n, F (F - 1) / 2): correlation over time of each pair of bands."""
    x = x - x.mean(axis=1, keepdims=True)
    x = x / (np.sqrt((x**2).sum(axis=1, keepdims=True)) + 1e-6)
    pairs = np.triu_indices(x.shape[2], 1)
    return (x.transpose(0, 2, 1) @ x)[:, pairs[0], pairs[1]]
