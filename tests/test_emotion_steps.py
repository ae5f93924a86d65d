"""Steps 8 to 10 on the tiny data folder, and what they promise: one split, an honest transfer, a whole submission."""

import json
import os
from functools import partial
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from scipy.stats import spearmanr

import step8_regression
import step9_transfer
import step10_multitask
from common.checkpoints import read_backbone, read_checkpoint
from common.comparison import bootstrap, difference, interval, mean_difference
from common.dataset import SpectrogramDataset, clip_ids, make_loader, without
from common.errors import LabError
from common.files import save_checkpoint
from common.labels import AXES
from common.metrics import spearman
from common.models import Classifier, CNNBackbone, MultitaskRegressor, Regressor
from common.report import mean_rows, print_results, with_means_of_axes
from common.submission import write_submission
from common.training import train_epoch


@pytest.fixture
def flags(tiny_data, tmp_path):
    places = ["--data", str(tiny_data), "--cache", str(tmp_path / "cache"), "--out", str(tmp_path / "runs")]
    return [*places, "--no-baselines", "--batch-size", "8"]


ARCHITECTURE = ["cnn", "mel", [2, 3], 3]


def write_classifier(path, weights):
    metadata = {
        "step": "step7_cnn",
        "variant": "mel_seed0",
        "seed": 0,
        "epoch": 1,
        "data": "f",
        "data_path": "/there",
        "demo": None,
    }
    metadata |= {"architecture": ARCHITECTURE, "classes": list("abcd"), "train_ids": ["7"], "class_mapping": {}}
    save_checkpoint(path, weights, metadata)


def test_transfer_takes_weights_and_statistics_below_the_head(tmp_path):
    classifier = Classifier(CNNBackbone(channels=(2, 3)), 4)
    classifier(torch.randn(2, 8, 128), torch.tensor([8, 8]))
    write_classifier(tmp_path / "best.pt", classifier.state_dict())
    weights, seen = read_backbone(tmp_path / "best.pt", CNNBackbone(channels=(2, 3)), ARCHITECTURE)
    torch.testing.assert_close(weights, dict(classifier.backbone.state_dict()), rtol=0, atol=0)
    assert seen["train_ids"] == ["7"]


@pytest.mark.parametrize("damage", ["missing", "extra", "shape"])
def test_transfer_refuses_whatever_does_not_fit(damage, tmp_path):
    weights = Classifier(CNNBackbone(channels=(2, 3)), 4).state_dict()
    if damage == "missing":
        del weights["backbone.stages.0.1.running_mean"]
    elif damage == "extra":
        weights["backbone.more"] = torch.zeros(1)
    else:
        weights["backbone.stages.0.0.weight"] = torch.zeros(5, 1, 3, 3)
    write_classifier(tmp_path / "best.pt", weights)
    with pytest.raises(LabError, match=r"best\.pt: weights of the network .* differs"):
        read_backbone(tmp_path / "best.pt", CNNBackbone(channels=(2, 3)), ARCHITECTURE)


def test_a_checkpoint_of_another_step_is_no_start_for_transfer(flags, tmp_path):
    step8_regression.main([*flags, "--epochs", "1", "--model", "lstm", "--axis", "energy"])
    lstm = tmp_path / "runs" / "step8_regression" / "lstm_energy_seed0" / "best.pt"
    with pytest.raises(LabError, match=r"best\.pt: a checkpoint of step7_cnn"):
        step9_transfer.main([*flags, "--pretrained", str(lstm)])


def test_a_frozen_backbone_changes_neither_weights_nor_statistics(tiny_data):
    torch.manual_seed(0)
    model = Regressor(CNNBackbone(channels=(2, 3)))
    model.backbone.requires_grad_(False)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    loader = make_loader(SpectrogramDataset(tiny_data / "multitask_dataset", features="mel", axis="energy"), 8)
    train_epoch(model, loader, torch.nn.MSELoss(), torch.optim.Adam(model.head.parameters()))
    changed = {name for name, tensor in model.state_dict().items() if not torch.equal(tensor, before[name])}
    assert changed == {"head.weight", "head.bias"}


def test_without_leaves_out_those_ids_alone(tiny_data):
    dataset = SpectrogramDataset(tiny_data / "multitask_dataset", axis="energy")
    kept = without(dataset, [*dataset.ids[:5], "not there"])
    assert clip_ids(kept) == dataset.ids[5:]


def test_step10_submits_every_hidden_clip_under_its_id(flags, tiny_data, tmp_path, capsys):
    submission = tmp_path / "solution.txt"
    rows = step10_multitask.main([*flags, "--epochs", "6", "--ensemble", "2", "--submit", str(submission)])
    text = capsys.readouterr().out
    assert [row["axis"] for row in rows] == [*AXES, "mean"]
    assert text.count("Epoch: 5\nTraining\nvalence_loss: ") == 2 and text.count("Total validation loss = ") == 4
    lines = submission.read_text().splitlines()
    assert lines[0] == "Id.fused.full.npy.gz,valence,energy,danceability"
    assert [line.split(",")[0] for line in lines[1:]] == [f"{ident}.fused.full.npy.gz" for ident in range(9500, 9506)]
    folder = tmp_path / "runs" / "step10_multitask" / "cnn_ensemble2_seed0"
    assert {"best-0.pt", "best-1.pt", "scatter_valence.png", "predictions.csv"} <= {
        path.name for path in folder.iterdir()
    }

    # the two members differ, and the submission is their mean for the same id
    hidden = SpectrogramDataset(tiny_data / "multitask_dataset", None, False, features="mel", axis=AXES)
    outputs = []
    for member in range(2):
        model = MultitaskRegressor(CNNBackbone()).eval()
        model.load_state_dict(read_checkpoint(folder / f"best-{member}.pt")[0])
        x, _, length = hidden[3]
        outputs.append(model(torch.from_numpy(x)[None, :length], torch.tensor([length]))[0].detach().numpy())
    written = [float(value) for value in lines[4].split(",")[1:]]
    np.testing.assert_allclose(written, np.mean(outputs, axis=0), atol=2e-4)
    assert np.abs(outputs[0] - outputs[1]).max() > 1e-4


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--weights", "1", "2"], "--weights"),
        (["--weights", "0", "0", "0"], "--weights"),
        (["--weights", "1", "-2", "1"], "--weights"),
        (["--weights", "1e-46", "0", "0"], "--weights"),  # 0 in float32
        (["--weights", "1", "1e-46", "1"], "--weights"),
        (["--weights", "1e-30", "1e-30", "1e-30"], "--weights"),  # Adam's steps would be 0
        (["--weights", "1e39", "1", "1"], "--weights"),  # infinite in float32
        (["--ensemble", "0"], "--ensemble"),
        (["--submit", "x", "--seeds", "2"], "no --seeds"),
        (["--submit", "x", "--quick"], "no dry run"),
        (["--submit", "x", "--overfit-batch"], "no dry run"),
    ],
)
def test_impossible_arguments_of_step10(arguments, said, capsys):
    with pytest.raises(SystemExit):
        step10_multitask.main(arguments)
    assert said in capsys.readouterr().err


@pytest.mark.parametrize("place", ["nowhere/solution.txt", "data"])
def test_a_submission_that_could_not_be_written_is_refused_before_any_work(flags, tmp_path, place):
    with pytest.raises(LabError, match=f"--submit {tmp_path / place}: the name of a file"):
        step10_multitask.main([*flags, "--submit", str(tmp_path / place)])
    assert not (tmp_path / "runs").exists()


def test_a_submission_can_be_asked_for_of_a_finished_run(flags, tmp_path, monkeypatch):
    flags, submission = [*flags, "--epochs", "1"], tmp_path / "solution.txt"

    def alike(path, ids, values, *names):
        write_submission(path, ids, values[:1] * len(ids))

    with monkeypatch.context() as patch, pytest.raises(LabError, match="no rank correlation"):
        patch.setattr(step10_multitask, "write_submission", alike)
        step10_multitask.main([*flags, "--submit", str(submission)])
    metrics = tmp_path / "runs" / "step10_multitask" / "cnn_seed0" / "metrics.json"
    result = json.loads(metrics.read_text())["result"]  # which is not lost with the submission
    step10_multitask.main([*flags, "--submit", str(submission), "--submit-suffix", "", "--resume"])
    assert json.loads(metrics.read_text())["result"] == result and submission.read_text().splitlines()[1].startswith(
        "9500,"
    )


def test_a_submission_is_whole_or_not_there(tmp_path):
    path = tmp_path / "solution.txt"
    write_submission(path, ["7", "8"], [[0.1, 0.2, 0.3], [0.4, 0.5, 0.6]], "Id", "")
    assert (
        path.read_text()
        == "Id,valence,energy,danceability\n7,0.100000,0.200000,0.300000\n8,0.400000,0.500000,0.600000\n"
    )
    for values, said in (
        ([[0.1, 0.2, 0.3], [0.4, float("nan"), 0.6]], "energy"),
        ([[0.1, 0.2, 0.3], [0.4, 0.5, 0.3]], "danceability"),
    ):
        with pytest.raises(LabError, match=f"solution.txt.*{said}"):
            write_submission(path, ["7", "8"], values)
    with pytest.raises(LabError, match=str(tmp_path / "nowhere")):
        write_submission(tmp_path / "nowhere" / "x.txt", ["7", "8"], [[0.1, 0.2, 0.3], [0.4, 0.5, 0.6]])
    assert path.read_text().startswith("Id,") and {*os.listdir(tmp_path)} == {path.name, f".{path.name}.written"}


def test_a_header_that_cannot_be_written_ends_the_run_before_it_trains(flags, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(LabError, match=r"x\.txt: .* expected.*; nothing was written"):
        step10_multitask.main([*flags, "--submit", "x.txt", "--submit-header", "a,b"])
    assert not (tmp_path / "runs").exists() and not (tmp_path / "x.txt").exists()


def test_a_perfect_regressor_has_no_loss_and_one_clip_keeps_its_shape():
    model = Regressor(CNNBackbone(channels=(2,)))
    assert model(torch.zeros(1, 4, 128), torch.tensor([4])).shape == (1,)
    targets = torch.tensor([[0.1, 0.2, 0.3], [0.4, 0.5, 0.9]])
    assert step10_multitask.axis_losses(targets, targets, (1, 1, 1)).tolist() == [0, 0, 0, 0]
    losses = step10_multitask.axis_losses(targets + torch.tensor([1.0, 2.0, 3.0]), targets, (0.5, 0, 1))
    torch.testing.assert_close(losses, torch.tensor([9.5, 1.0, 4.0, 9.0]))


def test_a_constant_has_no_rank_correlation_and_makes_no_mean(capsys):
    assert spearman(np.array([1.0, 2, 3]), np.array([0.5, 0.5, 0.5])) is None
    assert spearman(np.array([1.0, 2, 3]), np.array([1.0, 8, 9])) == pytest.approx(1)
    true, predicted = np.random.default_rng(0).integers(0, 5, (2, 30))
    assert spearman(true, predicted) == pytest.approx(spearmanr(true, predicted).statistic)
    rows = [{"axis": axis, "spearman": rho} for axis, rho in zip(AXES, (0.5, None, 0.1), strict=True)]
    assert print_results("step", SimpleNamespace(demo=None), "full", [0], [with_means_of_axes(rows)])[3] == {
        "axis": "mean",
        "spearman": None,
    }
    lines = capsys.readouterr().out.splitlines()
    assert lines[-1] == "RESULT step axis=mean spearman=undefined"


def test_a_seed_without_a_figure_leaves_the_mean_undefined():
    (row,) = mean_rows([[{"axis": "valence", "spearman": 0.4}], [{"axis": "valence", "spearman": None}]])
    assert row == {"axis": "valence", "spearman": None, "seeds": 2, "spearman_sd": None}


def test_a_count_that_differs_between_seeds_is_no_single_number():
    (row,) = mean_rows([[{"axis": "valence", "seen": 3, "start": 1}], [{"axis": "valence", "seen": 5, "start": 1}]])
    assert row == {"axis": "valence", "seen": "3/5", "start": 1, "seeds": 2}


def test_a_finding_needs_an_interval_without_zero(tmp_path):
    rng = np.random.default_rng(0)
    true = rng.normal(size=200)
    models = {"good": true + 0.2 * rng.normal(size=200), "bad": rng.normal(size=200), "also bad": rng.normal(size=200)}
    runs = {}
    for name, predicted in models.items():
        (tmp_path / name).mkdir()
        lines = [f"{k},test,energy,{one},{other}" for k, (one, other) in enumerate(zip(true, predicted, strict=True))]
        (tmp_path / name / "predictions.csv").write_text("\n".join(["id,split,axis,true,predicted", *lines]))
        runs[name] = {0: {"folder": str(tmp_path / name)}}
    assert difference(runs["good"], runs["bad"], "energy").answer == "yes"
    assert difference(runs["bad"], runs["good"], "energy").answer == "no"
    assert difference(runs["bad"], runs["also bad"], "energy").answer == "not significant"
    assert difference(runs["good"], {1: runs["bad"][0]}, "energy") is None  # no seed in common
    there, back = (runs["good"], runs["bad"], "energy"), (runs["bad"], runs["good"], "energy")
    assert mean_difference([there, there]) == difference(*there)
    assert mean_difference([there, back])[:3] == pytest.approx((0, 0, 0))  # both on the same clips in every round
    (tmp_path / "bad" / "predictions.csv").write_text("id,split,axis,true,predicted\n1,test,energy,0.5,0.5\n")
    assert difference(runs["good"], runs["bad"], "energy") is None  # other clips


def coverage(sets, splits, gaps_of):
    """In how many of `sets` made-up comparisons, without any true difference, the interval of the mean gap holds 0."""
    held = 0
    for number in range(sets):
        gaps = gaps_of(np.random.default_rng(number))
        low, high = interval(bootstrap(splits, partial(mean_gap, gaps)))
        held += low <= 0 <= high
    return held


def mean_gap(gaps, k, rows):
    return gaps[k][rows].mean(axis=-1)


def test_the_bootstrap_interval_covers_about_as_often_as_it_says(monkeypatch):
    """Two models that are right 70 % of the time, one seed: the 95 % interval of their difference holds 0 in about 95
    of 100 sets.
    """
    monkeypatch.setattr("common.comparison.ROUNDS", 100)
    held = coverage(100, [range(100)], lambda rng: [(rng.random(100) < 0.7) - (rng.random(100) < 0.7).astype(float)])
    assert 87 <= held <= 99


def test_seeds_on_the_same_clips_are_no_new_clips(monkeypatch):
    """What a song is worth to one model alone is shared by five seeds, whose mean then moves nearly as far as one
    seed's.
    """
    monkeypatch.setattr("common.comparison.ROUNDS", 100)

    def gaps_of(rng):
        song = rng.normal(size=100)
        return [song + 0.3 * rng.normal(size=100) for _ in range(5)]

    assert 87 <= coverage(100, [range(100)] * 5, gaps_of) <= 99


def test_seeds_that_differ_widen_the_interval(monkeypatch):
    """What a seed is worth on every song alike: of clips alone, the interval would hardly ever hold 0."""
    monkeypatch.setattr("common.comparison.ROUNDS", 100)
    assert (
        coverage(60, [range(400)] * 8, lambda rng: [rng.normal() + 0.5 * rng.normal(size=400) for _ in range(8)]) >= 45
    )
