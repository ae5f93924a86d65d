"""The GPU's path as far as a CPU can walk it: resident clips give the loader's batches, mixed precision leaves a CPU
alone.
"""

import numpy as np
import pytest
import torch

from common.dataset import SpectrogramDataset, genre_splits, torch_train_val_split, unwrap
from common.labels import AXES, load_class_mapping
from common.training import gradient_scaler, mixed_precision
from extras.speed.resident import ResidentLoader, resident


def assert_same_batches(found, expected):
    for one, other in zip(found, expected, strict=True):
        for mine, theirs in zip(one, other, strict=True):
            torch.testing.assert_close(mine, theirs, rtol=0, atol=0)


def resident_on_cpu(loader):
    return ResidentLoader(loader, *unwrap(loader.dataset), "cpu")


@pytest.mark.parametrize("features", ["mel", "chroma"])
def test_resident_clips_give_the_loaders_batches(features, tiny_data):
    train, _ = genre_splits(tiny_data / "fma_genre_spectrograms", load_class_mapping(tiny_data), features)
    train_loader, val_loader = torch_train_val_split(train, 5, 5, seed=3)
    again, _ = torch_train_val_split(train, 5, 5, seed=3)
    for _ in range(2):
        assert_same_batches(resident_on_cpu(again), train_loader)
    assert_same_batches(resident_on_cpu(val_loader), val_loader)
    assert train.resident.frames.dtype == torch.float16


def test_resident_clips_are_cut_to_max_length_and_carry_three_axes(tiny_data):
    labelled = SpectrogramDataset(tiny_data / "multitask_dataset", features="fused", axis=AXES, max_length=7)
    loader = torch_train_val_split(labelled, 4, 4, seed=0)[0]
    assert_same_batches(resident_on_cpu(loader), torch_train_val_split(labelled, 4, 4, seed=0)[0])


def test_on_a_cpu_batches_are_the_loaders_and_nothing_is_rounded(tiny_data):
    train, _ = genre_splits(tiny_data / "fma_genre_spectrograms", load_class_mapping(tiny_data), "mel")
    loader = torch_train_val_split(train, 5, 5, seed=3)[0]
    assert resident(loader, "cpu") is loader
    assert "resident" not in vars(train)
    x = torch.from_numpy(np.full((2, 2), 1 + 1e-7, dtype=np.float32))
    with mixed_precision("cpu"):
        assert torch.equal(x @ torch.eye(2), x)
    scaler = gradient_scaler("cpu")
    assert scaler.scale(x) is x
