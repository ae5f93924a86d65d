"""The recipe of compete.py: its networks, kernel ridge and extra trees, and a run that is interrupted and resumed."""

import numpy as np
import pytest
import torch
from conftest import contents

import compete
from common.dataset import SpectrogramDataset
from common.features import HOP_LENGTH, SAMPLE_RATE
from extras.tuned.blocks import MODULATION_EDGES, block_features
from extras.tuned.kernel_and_trees import (
    RIDGE,
    axis_values,
    class_probabilities,
    clip_families,
    harmony,
    kernel_values,
    kernels,
    pieces,
    song_statistics,
)
from extras.tuned.networks import FrontEnd, mean_and_std_over_time, tuned_backbone
from extras.tuned.train import error_and_correlation_loss, feature_mean_and_std, one_cycle


@pytest.fixture
def flags(tiny_data, tmp_path, monkeypatch):
    monkeypatch.setattr("extras.tuned.kernel_and_trees.TREES", 20)
    monkeypatch.setattr(
        "extras.tuned.kernel_and_trees.block_features", lambda mel: {"spectrum": mel.mean(axis=0)}
    )  # all families would take seconds
    paths = ["--data", str(tiny_data), "--cache", str(tmp_path / "cache"), "--out", str(tmp_path / "runs")]
    return [*paths, "--no-baselines", "--batch-size", "8", "--epochs", "2"]


@pytest.mark.parametrize("kind", ["tuned-cnn", "tuned-lstm"])
@pytest.mark.parametrize("every", [1, 3])
def test_more_padding_changes_no_output(kind, every):
    torch.manual_seed(0)
    network = (
        tuned_backbone(kind, 128, every, torch.full((128,), -40.0), torch.full((128,), 9.0), subtract_mean=0.7)
        .double()
        .eval()
    )
    x, lengths = -80 * torch.rand(3, 100, 128, dtype=torch.float64), torch.tensor([100, 61, 2])
    for row, length in enumerate(lengths):
        x[row, length:] = 0
    padded = torch.nn.functional.pad(x, (0, 0, 0, 37), value=-3.0)
    with torch.no_grad():
        torch.testing.assert_close(network(padded, lengths), network(x, lengths), rtol=0, atol=1e-6)
        alone = torch.cat(
            [network(x[row : row + 1, :length], lengths[row : row + 1]) for row, length in enumerate(lengths)]
        )
        torch.testing.assert_close(alone, network(x, lengths), rtol=0, atol=1e-6)


def test_front_end_standardises_and_averages_in_groups():
    x = torch.arange(14.0).reshape(1, 7, 2)
    out, lengths = FrontEnd(torch.tensor([1.0, 2.0]), torch.tensor([2.0, 4.0]), every=3)(x, torch.tensor([7]))
    by_hand = ((x - torch.tensor([1.0, 2.0])) / torch.tensor([2.0, 4.0]))[:, :6].reshape(1, 2, 3, 2).mean(dim=2)
    torch.testing.assert_close(out, by_hand)
    assert lengths.tolist() == [2]


def test_a_fixed_filter_changes_nothing_after_mean_subtraction():
    x, lengths = torch.randn(2, 30, 128), torch.tensor([30, 20])
    filtered = x + 5 * torch.randn(2, 1, 128)
    for subtract_mean in (0.0, 1.0):
        network = tuned_backbone("tuned-cnn", 128, 3, subtract_mean=subtract_mean).eval()
        with torch.no_grad():
            same = torch.allclose(network(x, lengths), network(filtered, lengths), atol=1e-4)
        assert same == (subtract_mean == 1)


def test_mean_and_std_over_time_are_of_the_real_frames():
    x, lengths = torch.randn(2, 3, 9, 4), torch.tensor([9, 5])
    x[1, :, 5:] = 0
    found = mean_and_std_over_time(x, lengths).reshape(2, 6, 4)
    for row, length in enumerate(lengths):
        real = x[row, :, :length]
        torch.testing.assert_close(found[row, :3], real.mean(dim=1))
        torch.testing.assert_close(found[row, 3:], real.std(dim=1, correction=0), rtol=1e-3, atol=1e-3)


def test_feature_mean_and_std_are_of_all_frames_together():
    rng = np.random.default_rng(0)
    clips = [rng.normal(-40, 9, (frames, 5)).astype(np.float16) for frames in (7, 30)]
    for clip in clips:
        clip[:, 4] = 0
    mean, std = feature_mean_and_std(clips)
    together = np.concatenate(clips).astype(np.float64)
    np.testing.assert_allclose(mean, together.mean(axis=0), rtol=1e-5)
    np.testing.assert_allclose(std[:4], together.std(axis=0)[:4], rtol=1e-5)
    assert std[4] == 1


def test_one_cycle_rises_for_a_tenth_and_ends_near_0():
    factors = [one_cycle(epoch, 50) for epoch in range(50)]
    assert factors[4] == factors[5] == 1 and factors[0] == 0.2
    assert factors[-1] < 0.01 and np.all(np.diff(factors[5:]) < 0)
    assert all(0 < one_cycle(epoch, epochs) <= 1 for epochs in (1, 2, 9) for epoch in range(epochs))


def test_the_emotions_loss_depends_on_order_and_scale():
    targets, scale = torch.rand(16, 3), torch.tensor([0.2, 0.3, 0.1])
    assert error_and_correlation_loss(targets, targets, scale, 0.5).item() < 1e-3
    shrunk = targets.mean(dim=0) + 0.1 * (targets - targets.mean(dim=0))
    shuffled = targets.mean(dim=0) + 0.1 * (targets - targets.mean(dim=0)).flip(0)
    assert error_and_correlation_loss(shrunk, targets, scale, 0.5) < error_and_correlation_loss(
        shuffled, targets, scale, 0.5
    )
    for rows in (1, 4):  # a last batch of one clip, and constant outputs
        constant = torch.zeros(rows, 3, requires_grad=True)
        loss = error_and_correlation_loss(constant, targets[:rows], scale, 0.5)
        loss.backward()
        assert loss.isfinite() and constant.grad.isfinite().all()


def families(values):
    """Like the output of song_statistics: two families of the numbers (n, k), the same for a clip and its thirds."""
    return {"statistics": np.stack([values] * 4, axis=1), "harmony": np.stack([values[:, :2]] * 4, axis=1)}


@pytest.mark.parametrize("num_classes", [2, 3])
def test_class_probabilities_are_in_the_order_of_the_classes(num_classes):
    rng = np.random.default_rng(0)
    targets = np.arange(60) % num_classes
    train, test = (families(rng.normal(0, 0.3, (60, 4)) + targets[:, None]) for _ in range(2))
    probabilities = class_probabilities(train, targets, test)
    np.testing.assert_allclose(probabilities.sum(axis=1), 1)
    assert (probabilities.argmax(axis=1) == targets).mean() > 0.9


def test_axis_values_are_in_the_axes_own_units_and_order():
    rng = np.random.default_rng(0)
    train, test = rng.normal(size=(2, 80, 4))
    axes = [np.array([0.5, 0.7, 0.2]) + np.array([0.05, 0.1, -0.05]) * each[:, :3] for each in (train, test)]
    axes[0][:, 2] = 0.4  # a constant axis stays constant
    values = axis_values(families(train), axes[0], families(test))
    assert values.shape == (80, 3) and np.allclose(values[:, 2], 0.4)
    for number in (0, 1):
        assert np.corrcoef(values[:, number], axes[1][:, number])[0, 1] > 0.8
        assert abs(values[:, number].mean() - axes[1][:, number].mean()) < 0.03


def test_every_family_has_the_same_weight_in_the_kernel():
    rng = np.random.default_rng(0)
    train = {"one": rng.normal(size=(30, 50)), "other": rng.normal(size=(30, 2))}
    within, between = kernels(train, train)
    np.testing.assert_allclose(within, between)
    np.testing.assert_allclose(within.diagonal(), 1)
    scaled = {"one": train["one"] * 1000, "other": np.hstack([train["other"]] * 20)}
    np.testing.assert_allclose(kernels(scaled, scaled)[0], within)


def test_pieces_are_the_clip_and_its_thirds():
    clip = np.arange(20.0).reshape(10, 2)
    assert [piece[:, 0].tolist() for piece in pieces(clip)[1:]] == [[0, 2, 4, 6], [6, 8, 10, 12], [12, 14, 16, 18]]
    assert np.array_equal(pieces(clip)[0], clip)
    assert all(len(piece) == 1 for piece in pieces(clip[:1]))


def test_only_the_thirds_are_tilted_and_only_in_their_mel_bands(tiny_data):
    dataset = SpectrogramDataset(tiny_data / "multitask_dataset", axis="energy")
    plain, tilted = song_statistics(dataset), song_statistics(dataset, tilt=True)
    for name in plain:
        assert np.array_equal(plain[name][:, 0], tilted[name][:, 0])
        same = np.allclose(plain[name], tilted[name])
        unaffected = ("harmony", "onsets", "onset variance", "fluctuation", "correlation")  # the others are of levels
        assert same == (name in unaffected), name


def test_kernel_values_are_the_mean_over_the_pieces():
    rng = np.random.default_rng(0)
    train, test, targets = rng.normal(size=(12, 4, 3)), rng.normal(size=(5, 4, 3)), rng.normal(size=(12, 2))
    found = kernel_values({"one": train}, targets, {"one": test})
    within, between = kernels({"one": train.reshape(-1, 3)}, {"one": test.reshape(-1, 3)})
    centred = np.repeat(targets, 4, axis=0) - targets.mean(axis=0)
    by_hand = between @ np.linalg.inv(within + RIDGE * np.eye(48)) @ centred + targets.mean(axis=0)
    np.testing.assert_allclose(found, by_hand.reshape(5, 4, 2).mean(axis=1), rtol=1e-6)


@pytest.mark.parametrize("frames", [1, 2, 4, 5, 30, 300])
def test_clips_of_any_length_have_all_families(frames):
    rng = np.random.default_rng(0)
    found = clip_families(rng.uniform(-80, 0, (frames, 128)), rng.random((frames, 12)))
    assert {name: len(vector) for name, vector in found.items()} == {
        "statistics": 476, "harmony": 48, "spectrum": 128, "onsets": 160, "onset variance": 160, "fluctuation": 416, "correlation": 496,
        "contrast": 80,
    }  # fmt: skip
    assert all(np.isfinite(vector).all() for vector in found.values())


def test_fluctuation_finds_the_frequency_of_a_modulated_band_and_correlation_its_partner():
    level = np.zeros((600, 128))
    wave = 20 * np.sin(2 * np.pi * 4 * np.arange(600) * HOP_LENGTH / SAMPLE_RATE)  # 4 Hz
    level[:, 40:44], level[:, 80:84] = wave[:, None], -wave[:, None]
    found = block_features(level - 40)
    by_frequency = found["fluctuation"].reshape(-1, 32)[:, 10]
    most = by_frequency.argmax()
    assert MODULATION_EDGES[most] <= 4 < MODULATION_EDGES[most + 1]
    pairs = dict(zip(zip(*np.triu_indices(32, 1), strict=True), found["correlation"], strict=True))
    assert pairs[10, 20] == pytest.approx(-1, abs=1e-3) and pairs[10, 11] == pytest.approx(0, abs=1e-3)


def test_contrast_and_spectrum_are_in_the_bands_own_decibels():
    level = np.full((100, 128), -50.0)
    level[:, 9] = -10
    found = block_features(level)
    assert np.allclose(found["spectrum"].reshape(4, 32)[:, 2], -40) and np.allclose(
        found["spectrum"].reshape(4, 32)[:, 3], -50
    )
    assert np.allclose(found["contrast"].reshape(5, 16)[:, 1], 40) and np.allclose(
        found["contrast"].reshape(5, 16)[:, 0], 0
    )


def test_harmony_does_not_depend_on_the_key():
    chroma = np.random.default_rng(0).random((30, 12)) * np.linspace(0.2, 1, 12)
    np.testing.assert_allclose(harmony(np.roll(chroma, 5, axis=1)), harmony(chroma))
    assert not np.allclose(harmony(chroma[:, ::-1]), harmony(chroma))
    assert harmony(chroma[:1]).shape == (48,)


def test_a_dry_run_may_lack_a_class(flags, monkeypatch):
    monkeypatch.setattr("common.cli.QUICK_CLIPS", 3)
    rows = compete.main(["genres", *flags, "--quick"])
    assert [row["members"] for row in rows] == ["networks"]


@pytest.mark.parametrize(
    ("flags", "named"),
    [
        (["--change", "networks=1"], "compete.py is the tuned recipe"),
        (["genres", "--submit", "x.txt"], "--submit is for emotions"),
        (["emotions", "--network", "lstm"], "--network lstm is for genres"),
        (["emotions", "--overfit-batch"], "--overfit-batch"),
        (["moods"], "moods"),
        ([], "task"),
    ],
)
def test_impossible_flags_are_one_sentence(capsys, flags, named):
    with pytest.raises(SystemExit) as caught:
        compete.main(flags)
    text = capsys.readouterr().err
    assert caught.value.code == 2 and named in text and text.count("\n") == 1


def test_an_interrupted_tuned_run_resumes_to_the_same_end(flags, tmp_path, monkeypatch):
    compete.main(["genres", *flags])
    right = contents(tmp_path / "runs")
    (tmp_path / "runs").rename(tmp_path / "whole")
    import extras.tuned.train as tuned

    passes, really = iter(range(3)), tuned.train_epoch

    def train_epoch(*args):
        if next(passes, None) is None:
            raise KeyboardInterrupt
        return really(*args)

    monkeypatch.setattr(tuned, "train_epoch", train_epoch)
    with pytest.raises(KeyboardInterrupt):
        compete.main(["genres", *flags])  # in the second network's last epoch
    monkeypatch.setattr(tuned, "train_epoch", really)
    compete.main(["genres", *flags, "--resume"])
    assert contents(tmp_path / "runs") == right
