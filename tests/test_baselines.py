import numpy as np
import pytest
from conftest import write_tiny_data

from common.baselines import (
    baseline_predictions,
    clip_statistics,
    kept_predictions,
    linear_predictions,
    mean_and_std,
    svm_predictions,
)
from common.dataset import SpectrogramDataset, genre_splits
from common.labels import load_class_mapping
from common.metrics import spearman


@pytest.mark.parametrize("frames", [1, 5, 40])
def test_statistics_are_finite_numbers_whatever_the_length(frames):
    mel = np.random.default_rng(0).normal(-40, 10, (frames, 128))
    assert mean_and_std(mel).shape == (256,) and clip_statistics(mel).shape == (476,)
    assert np.isfinite(clip_statistics(mel)).all() and np.isfinite(clip_statistics(np.full((frames, 128), -80.0))).all()


def test_statistics_by_hand():
    mel = np.zeros((4, 128))
    mel[2:] = 6.0
    assert mean_and_std(mel)[[0, 127, 128]].tolist() == [3, 3, 3]
    found = clip_statistics(mel)
    level = 3 * np.sqrt(128)  # the first cepstrum of a flat spectrum
    assert found[0] == pytest.approx(level) and np.abs(found[1:40]).max() < 1e-9  # means of the others are 0
    assert found[40] == pytest.approx(level) and found[120] == pytest.approx(
        2 * level / 4
    )  # deviation, mean size of the steps
    assert found[160:256].reshape(3, 32)[:, 0].tolist() == [0, 3, 6]  # percentiles


@pytest.mark.parametrize("predictions", [linear_predictions, svm_predictions])
def test_both_models_learn_what_can_be_learnt(predictions):
    rng = np.random.default_rng(0)
    known, unknown = rng.normal(size=(120, 6)), rng.normal(size=(60, 6))
    classes = (known[:, 0] > 0).astype(float)
    assert np.mean(predictions(known, classes, unknown, True) == (unknown[:, 0] > 0)) > 0.85
    assert np.corrcoef(predictions(known, known[:, 1], unknown, False), unknown[:, 1])[0, 1] > 0.85


def test_predictions_are_made_once_for_each_split(tiny_data, tmp_path, monkeypatch):
    train, test = genre_splits(tiny_data / "fma_genre_spectrograms", load_class_mapping(tiny_data), "mel")
    first = kept_predictions(tmp_path / "kept", "key", train, test, True)
    assert set(first) == {"linear", "svm"} and {len(each) for each in first.values()} == {len(test)}
    (path,) = (tmp_path / "kept").iterdir()
    for damaged in ('{"linear": 0.5, "svm": 0.5}', '{"linear": [0.0], "svm": null}', "{"):
        path.write_text(damaged)
        assert kept_predictions(tmp_path / "kept", "key", train, test, True) == first, damaged
    monkeypatch.setattr("common.baselines.baseline_predictions", lambda *_: pytest.fail("made again"))
    assert kept_predictions(tmp_path / "kept", "key", train, test, True) == first


def test_the_tiny_emotions_follow_brightness_and_the_linear_model_sees_it(tiny_data):
    dataset = SpectrogramDataset(
        tiny_data / "multitask_dataset", features="chroma", axis="energy"
    )  # mel is read from the clips behind it
    assert spearman(dataset.labels, baseline_predictions(dataset, dataset, False)["linear"]) > 0.9


def test_too_few_clips_and_a_single_class_leave_both_undefined(tmp_path):
    data = write_tiny_data(tmp_path / "few", train=4)
    train, test = genre_splits(data / "fma_genre_spectrograms", load_class_mapping(data), "mel")
    assert baseline_predictions(train, test, True) == {"linear": None, "svm": None}  # 8 clips for five folds
    data = write_tiny_data(tmp_path / "one")
    train, test = genre_splits(data / "fma_genre_spectrograms", load_class_mapping(data), "mel")
    train.labels[:] = 0
    assert baseline_predictions(train, test, True) == {"linear": None, "svm": None}
