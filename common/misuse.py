"""Checks of what only a changed or pasted definition can be given: no step gives such arguments or loss functions."""

import numpy as np
import torch

from common.errors import LabError
from common.features import COLUMNS
from common.labels import AXES

IN_SINGLE_FILE = False  # left out of the single file of a step, which gives none of this


def check_arguments(features, axis, train, max_length):
    """Raises LabError for arguments that SpectrogramDataset does not know."""
    axes = [] if axis is None else list(axis) if isinstance(axis, (list, tuple)) else [axis]
    if features not in [*COLUMNS] or not all(name in AXES for name in axes) or (axis is not None and not axes):
        expected = f"features among {', '.join(COLUMNS)} and axes among {', '.join(AXES)} were expected"
        raise LabError(f"{expected}, not {features}, {axis}")
    if train not in (True, False) or not isinstance(max_length, (int, np.integer)) or not -1 <= max_length != 0:
        expected = "train=True or train=False, and a max_length from 1 on (-1: the longest clip) were expected"
        raise LabError(f"{expected}, not {train!r}, {max_length!r}")


def check_image(n_mels, channels, kernel_size):
    """Raises LabError for sizes that leave a CNNBackbone without features."""
    if not channels or min(channels) < 1 or n_mels < 2 ** len(channels) or kernel_size not in range(1, 999, 2):
        expected = f"at least one stage, one filter in each, n_mels from {2 ** len(channels)} on and an odd kernel"
        given = f"n_mels={n_mels}, channels={channels}, kernel_size={kernel_size}"
        raise LabError(f"{expected} were expected, not {given}; each stage halves the image")


def check_mean(loss_function, outputs, targets):
    """Raises LabError unless a loss function returns means over the clips: they stay when every clip counts twice."""
    with torch.no_grad():
        once = loss_function(outputs, targets).cpu().double()
        twice = loss_function(torch.cat([outputs, outputs]), torch.cat([targets, targets])).cpu().double()
    found = "a number for each clip" if once.shape != twice.shape else "a sum"
    if once.shape != twice.shape or ((twice / once - 2).abs() < 1e-3).any():  # 0 / 0 is NaN, not 2
        raise LabError(f"a loss function that returns the mean over the clips was expected, this one returns {found}")
