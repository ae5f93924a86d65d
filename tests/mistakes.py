"""What the tests of the lab's 32 mistakes share; test_mistakes_*.py have one test for each, numbered as in
docs/mistakes.md.

A check takes an implementation and asserts. Ours has to pass it, and the mistake itself, written out in a few lines,
has to fail it with the words given, so that it fails for its own reason.
"""

import numpy as np
import pytest
import torch
from torch import nn
from torch.utils.data import Dataset

from common.dataset import make_loader


def tell_apart(check, ours, *mistakes):
    """Ours passes the check; each of the mistakes, (words, implementation), fails it with an AssertionError that says
    these words.
    """
    check(ours)
    for words, mistaken in mistakes:
        with pytest.raises(AssertionError, match=words):
            check(mistaken)


class Clips(Dataset):
    """Clips (n, T, F) and their labels (n,), all of them full length."""

    def __init__(self, x, y):
        self.x, self.y = np.asarray(x, dtype=np.float32), np.asarray(y)

    def __len__(self):
        return len(self.x)

    def __getitem__(self, item):
        return self.x[item], self.y[item], len(self.x[item])


class FirstFrame(nn.Module):
    """A backbone whose summary of a clip is its first frame."""

    def __init__(self, n_features):
        super().__init__()
        self.feature_size = n_features

    def forward(self, x, lengths):
        return x[:, 0]


class Constant(nn.Module):
    """A model of one weight that says the same of every clip."""

    def __init__(self):
        super().__init__()
        self.value = nn.Parameter(torch.tensor(1.0))

    def forward(self, x, lengths):
        return self.value + 0 * x[:, 0, 0]


def numbers_loader(batch_size, values=(0.1, 0.9, 0.4, 0.7, 0.2), **options):
    """Clips of one feature whose label is that feature: whoever repeats it makes no error."""
    values = np.asarray(values, dtype=np.float32)
    return make_loader(Clips(np.repeat(values[:, None, None], 3, axis=1), values), batch_size, **options)


def noise(n_clips, n_frames, n_features, seed=0):
    return torch.randn(n_clips, n_frames, n_features, generator=torch.Generator().manual_seed(seed))
