"""Step 11 and Grad-CAM: scores of neighbours and silhouettes by brute force, and what stands in the run."""

import json

import numpy as np
import pytest
import torch
from scipy.stats import spearmanr
from small_data import write_small_data

import step7_cnn
import step10_multitask
import step11_latent
from common.errors import LabError
from common.models import Classifier, CNNBackbone
from extras.inside.latent import neighbour_score, scores_of, silhouette, spaces_of, thirds
from extras.inside.measure import Region, agreement, grad_cam


def points_and_classes(seed=0, count=40):
    rng = np.random.default_rng(seed)
    classes = rng.integers(0, 3, count)
    return rng.normal(size=(count, 4)) + classes[:, None], classes


def distances(points):
    return np.sqrt(((points[:, None] - points) ** 2).sum(axis=2))


def test_neighbours_are_the_five_nearest_other_clips():
    points, classes = points_and_classes()
    apart = distances(points) + np.diag(np.full(len(points), np.inf))
    nearest = np.argsort(apart, axis=1)[:, :5]
    votes = [np.bincount(classes[row]).argmax() for row in nearest]
    assert neighbour_score(points, classes) == np.mean(votes == classes)
    values = points[:, 0] + 0.1
    wanted = spearmanr(values, values[nearest].mean(axis=1)).statistic
    assert neighbour_score(points, values) == pytest.approx(wanted)
    assert neighbour_score(points, np.full(len(points), 0.5)) is None


def test_the_silhouette_is_rousseeuws():
    points, classes = points_and_classes(1)
    apart, found = distances(points), []
    for k, own in enumerate(classes):
        means = {c: apart[k, (classes == c) & (np.arange(len(classes)) != k)].mean() for c in set(classes.tolist())}
        inside, outside = means[own], min(mean for c, mean in means.items() if c != own)
        found.append((outside - inside) / max(inside, outside))
    assert silhouette(points, classes) == pytest.approx(np.mean(found))
    assert silhouette(points, np.zeros(len(points), dtype=int)) is None
    values = np.array([0.9, 0.1, 0.5, 0.2, 0.8, 0.45])
    assert thirds(values).tolist() == [2, 0, 1, 0, 2, 1]
    assert scores_of(points[:6], values)["silhouette"] == silhouette(points[:6], thirds(values))


def test_spaces_keep_every_clip_and_standardise():
    points, _ = points_and_classes(2)
    spaces = spaces_of(np.hstack([points * [1, 10, 100, 1000], np.full((len(points), 1), 7.0)]), seed=0)
    assert spaces.full.shape == (40, 4) and spaces.pca.shape == spaces.tsne.shape == (40, 2)
    assert np.allclose(spaces.full.mean(axis=0), 0) and np.allclose(spaces.full.std(axis=0), 1)
    assert np.array_equal(spaces.tsne, spaces_of(points * [1, 10, 100, 1000], seed=0).tsne)


def test_the_run_of_two_networks(tmp_path, capsys):
    small = write_small_data(tmp_path / "data")
    flags = ["--data", str(small.path), "--no-cache", "--out", str(tmp_path / "runs")]
    with pytest.raises(LabError, match="a full run of step 5 or 7 to 10 on these data, seed 0, was expected"):
        step11_latent.main(flags)
    step7_cnn.main([*flags, "--epochs", "1", "--no-baselines"])
    step10_multitask.main([*flags, "--epochs", "1", "--no-baselines"])
    checkpoint = tmp_path / "runs/step10_multitask/cnn_seed0/best.pt"
    with pytest.raises(LabError, match="at least 10 test clips were expected, there are 7"):
        step11_latent.main([*flags, "--checkpoint", str(checkpoint)])
    capsys.readouterr()
    rows = step11_latent.main([*flags, "--checkpoint", str(tmp_path / "runs/step7_cnn/mel_seed0/best.pt")])
    found = [line for line in capsys.readouterr().out.splitlines() if line.startswith("RESULT step11_latent ")]
    assert len(rows) == len(found) == 6
    assert [(row["weights"], row["space"]) for row in rows[:3]] == [("trained", s) for s in ("full", "pca", "tsne")]
    assert "network=step7_cnn_mel_seed0 by=genre weights=untrained space=full neighbours=" in found[3]
    folder = tmp_path / "runs/step11_latent/step7_cnn_mel_seed0_seed0"
    assert (folder / "latent_genre.png").exists() and json.loads((folder / "metrics.json").read_text())[
        "metrics"
    ] == rows


def test_grad_cam_is_the_weighted_sum_of_the_last_stage():
    torch.manual_seed(0)
    model = Classifier(CNNBackbone(32, (4, 6)), 3).eval()
    clip = torch.randn(40, 32)
    heat = grad_cam(model, model.backbone.stages[-1], clip, 1)
    output, _ = model.backbone.frames(clip[None], torch.tensor([40]))  # (1, 6, 10, 8)
    # the logit is the head's weights times the mean over 10 frames: so is its gradient in each frame
    weights = model.head.weight[1].reshape(6, 8).mean(dim=1) / 10
    wanted = (weights[:, None, None] * output[0]).sum(dim=0).relu()
    wanted = torch.nn.functional.interpolate(wanted[None, None], (40, 32), mode="bilinear")[0, 0]
    torch.testing.assert_close(heat, wanted)
    assert heat.shape == clip.shape and heat.min() >= 0


def test_agreement_is_a_rank_correlation_over_windows():
    heat = torch.arange(24.0).reshape(6, 4)
    windows = [Region(slice(k, k + 2), slice(0, 4), drop) for k, drop in enumerate((0.1, 0.4, 0.2, 0.9, 0.8))]
    means = [heat[k : k + 2].mean().item() for k in range(5)]
    assert agreement(heat, windows) == pytest.approx(spearmanr(means, [0.1, 0.4, 0.2, 0.9, 0.8]).statistic)
    assert agreement(torch.zeros(6, 4), windows) is None
