"""The path that a GPU takes, run on a pretend one (pretend_gpu.py): every step gives the CPU's numbers there."""

import csv
import io
import json
import sys
from contextlib import redirect_stderr, redirect_stdout
from functools import partial
from types import SimpleNamespace

import numpy as np
import pretend_gpu
import pytest
import torch
from conftest import contents
from small_data import MAPPING
from torch import nn

import compete
import evaluate as evaluate_script
import step5_lstm
import step7_cnn
import step8_regression
import step9_transfer
import step10_multitask
from common import models
from common.checkpoints import read_checkpoint
from common.checks import overfit_batch
from common.dataset import SpectrogramDataset, make_loader, torch_train_val_split
from common.errors import LabError
from common.labels import AXES
from common.models import Classifier, CNNBackbone, LSTMBackbone, MultitaskRegressor
from common.training import BestEpoch, evaluate, train_epoch
from extras.speed.accelerate import accelerate
from extras.speed.resident import ResidentLoader, resident
from extras.tuned.networks import tuned_backbone
from extras.tuned.train import error_and_correlation_loss

if not pretend_gpu.is_supported():
    pytest.skip(
        f"PyTorch {torch.__version__} takes no device from Python, 2.9 is the first that does: no pretend GPU",
        allow_module_level=True,
    )

REFUSED = "expected all tensors on the same device|are not at the same device"
# Every step's ways over a device: (step, arguments).
STEPS = {
    "step 5": (step5_lstm, ["--features", "mel", "--loss", "squared-error", "--epochs", "1"]),
    "step 5, cross entropy": (step5_lstm, ["--features", "beat", "--epochs", "2"]),
    "step 7": (step7_cnn, ["--epochs", "2"]),
    "step 7, overfit": (step7_cnn, ["--overfit-batch", "--batch-size", "4"]),
    "step 8": (step8_regression, ["--axis", "energy", "--epochs", "1"]),
    "step 9": (step9_transfer, ["--epochs", "1", "--pretrain-epochs", "1"]),
    "step 10": (step10_multitask, ["--epochs", "2", "--ensemble", "2"]),
    "compete": (compete, ["emotions", "--quick"]),
}


@pytest.fixture(scope="module", autouse=True)
def gpu():
    pretend_gpu.register()
    with pretend_gpu.one_thread():
        yield


@pytest.fixture(scope="module")
def ran(small, tmp_path_factory):
    """ran(name, device): that run of STEPS, made once; see run_step."""
    made = {}

    def run(name, device):
        if (name, device) not in made:
            step, more = STEPS[name]
            folder = tmp_path_factory.mktemp("runs")
            more = [*more, "--submit", str(folder / "solution.txt")] if name == "step 10" else more
            made[name, device] = run_step(step, more, small, folder, device)
        return made[name, device]

    return run


def run_step(step, more, small, folder, device):
    """A step's main in this process: its rows, the runs' folder, the devices that its models were on.

    On the CPU without its fast stages, which add up in another order.
    """
    seen = set()

    def spy(model, where):
        seen.add(next(model.parameters()).device.type)
        return accelerate(model, where) if device != "cpu" else model

    places = ["--data", str(small.path), "--cache", str(small.path.parent / "gpu-cache"), "--out", str(folder)]
    flags = [*places, "--no-baselines", "--batch-size", "16", "--device", device]
    with pytest.MonkeyPatch.context() as patch, redirect_stdout(io.StringIO()), redirect_stderr(io.StringIO()):
        for module in (step, sys.modules["extras.tuned.train"]):
            if hasattr(module, "accelerate"):
                patch.setattr(module, "accelerate", spy)
        rows = step.main([*flags, *more])
    return SimpleNamespace(rows=rows, folder=folder, devices=seen)


def numbers_of(folder):
    """{path: content} of every run's history, metrics and predictions, and of the file to submit."""
    found = {}
    for name, content in contents(folder).items():
        if name.endswith("metrics.json"):
            found[name] = {key: content[key] for key in ("result", "metrics")}
        elif name.endswith("history.json"):
            found[name] = json.loads(content)
        elif name.endswith((".csv", "solution.txt")):
            found[name] = list(csv.reader(content.decode().splitlines()))
    return found


def predictions(folder):
    """The rows of each predictions.csv below a folder."""
    return (content for name, content in numbers_of(folder).items() if "predictions" in name)


def best_file(folder):
    """The only best.pt below a folder."""
    (path,) = folder.rglob("best.pt")
    return path


def assert_alike(found, expected, where=""):
    """Equal but for rounding: every number within 1e-4 of the other, or 1e-6 near 0."""
    if isinstance(expected, dict):
        assert found.keys() == expected.keys(), where
        for key in expected:
            assert_alike(found[key], expected[key], f"{where} {key}")
    elif isinstance(expected, list | tuple):
        assert len(found) == len(expected), where
        for place, (one, other) in enumerate(zip(found, expected, strict=True)):
            assert_alike(one, other, f"{where} {place}")
    elif isinstance(expected, str) and found != expected:
        assert_alike(float(found), float(expected), where)
    elif isinstance(expected, float):
        assert found == pytest.approx(expected, rel=1e-4, abs=1e-6, nan_ok=True), where
    else:
        assert found == expected, where


def assert_plain_files(folder):
    """Every tensor of every .pt file is an ordinary one of the CPU's, as a machine without this GPU reads it."""
    files = sorted(folder.rglob("*.pt"))
    for path in files:
        weights = torch.load(path, weights_only=True)["weights"]
        assert weights and {(type(tensor), tensor.device.type) for tensor in weights.values()} == {
            (torch.Tensor, "cpu")
        }
        read_checkpoint(path)
    return [path.name for path in files]


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=[pytest.mark.soak] * (name in ("step 5", "step 8"))) for name in STEPS]
)
def test_a_step_ends_on_a_gpu_with_the_cpus_numbers(name, ran):
    on_cpu, on_gpu = ran(name, "cpu"), ran(name, "gpu")
    assert (on_cpu.devices, on_gpu.devices) == ({"cpu"}, {"gpu"})
    assert_alike(on_gpu.rows, on_cpu.rows)
    expected = numbers_of(on_cpu.folder)
    assert_alike(numbers_of(on_gpu.folder), expected)
    names = assert_plain_files(on_gpu.folder)
    if "overfit" in name:
        assert names == [] and on_gpu.rows[0]["overfit"] == "learns"
    else:
        assert any("predictions" in path for path in expected) and any(each.startswith("best") for each in names)
        assert any(each.startswith("state") for each in names) == (name != "compete")  # a dry run saves no states
    assert ("solution.txt" in expected) == (name == "step 10")


@pytest.mark.parametrize(("first", "then"), [("gpu", "gpu"), ("gpu", "cpu"), ("cpu", "gpu")])
def test_a_run_that_is_killed_between_epochs_goes_on_from_its_saved_state(
    first, then, ran, small, tmp_path, monkeypatch
):
    never_killed = ran("step 7", then)
    really, calls = step7_cnn.train_epoch, []

    def killed(*given):
        calls.append(given)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return really(*given)

    monkeypatch.setattr(step7_cnn, "train_epoch", killed)
    with pytest.raises(KeyboardInterrupt):
        run_step(*STEPS["step 7"], small, tmp_path, first)
    assert "state.pt" in assert_plain_files(tmp_path)
    resumed = run_step(step7_cnn, [*STEPS["step 7"][1], "--resume"], small, tmp_path, then)
    assert len(calls) == 3  # the second epoch alone was run again
    assert_alike(resumed.rows, never_killed.rows)
    assert_alike(numbers_of(tmp_path), numbers_of(never_killed.folder))
    if first == then:
        assert numbers_of(tmp_path) == numbers_of(never_killed.folder)  # to the bit, and so are the weights
        (weights, _), (expected, _) = (read_checkpoint(best_file(root)) for root in (tmp_path, never_killed.folder))
        assert all(torch.equal(weights[name], expected[name]) for name in expected)


@pytest.mark.parametrize(("trained", "scored"), [("gpu", "cpu"), ("cpu", "gpu")])
@pytest.mark.parametrize("name", ["step 5, cross entropy", "step 7"])
def test_a_checkpoint_of_one_device_scores_the_same_on_the_other(name, trained, scored, ran, small, tmp_path):
    run = ran(name, trained)
    checkpoint = best_file(run.folder)
    cache = str(small.path.parent / "gpu-cache")
    with redirect_stdout(io.StringIO()), redirect_stderr(io.StringIO()):
        rows = evaluate_script.main([str(checkpoint), "--cache", cache, "--out", str(tmp_path), "--device", scored])
    assert_alike([row["test_acc"] for row in rows], [row["test_acc"] for row in run.rows])
    one, other = (next(predictions(folder)) for folder in (tmp_path, run.folder))
    tested = [row for row in other if "test" in row]
    assert len(tested) == 17
    assert_alike([row for row in one if "test" in row], tested)


def test_step_9_freezes_the_backbone_that_step_7_has_trained_on_a_gpu(ran, small, tmp_path):
    checkpoint = best_file(ran("step 7", "gpu").folder)
    more = ["--epochs", "1", "--freeze", "--pretrained", str(checkpoint)]
    on_cpu, on_gpu = (run_step(step9_transfer, more, small, tmp_path / device, device) for device in ("cpu", "gpu"))
    assert on_gpu.devices == {"gpu"} and on_gpu.rows[0]["seen"] > 0
    assert_alike(on_gpu.rows, on_cpu.rows)
    assert_alike(numbers_of(on_gpu.folder), numbers_of(on_cpu.folder))
    given, _ = read_checkpoint(checkpoint)
    left, _ = read_checkpoint(next(on_gpu.folder.rglob("valence_transfer_*/best.pt")))
    assert all(torch.equal(left[name], given[name]) for name in left if name.startswith("backbone."))


# Parts, each on both devices


@pytest.fixture
def genres(small):
    """genres(): (train_loader, val_loader) of beat-synced mel, batches of 8, the same ones at every call."""

    def loaders(features="mel"):
        path = small.path / "fma_genre_spectrograms_beat"
        return torch_train_val_split(SpectrogramDataset(path, MAPPING, features=features), 8, 8, 0.33, seed=0)

    return loaders


SCALE = torch.full((128,), -40.0), torch.full((128,), 9.0)  # dB
NETWORKS = {
    "LSTM": lambda: LSTMBackbone(128, 16, num_layers=2),
    "bidirectional LSTM": lambda: LSTMBackbone(128, 16, num_layers=2, bidirectional=True, dropout=0.3),
    "CNN": CNNBackbone,
    "tuned CNN": lambda: tuned_backbone("tuned-cnn", 128, 2, *SCALE, subtract_mean=0.5, dropout=0.3),
    "tuned LSTM": lambda: tuned_backbone("tuned-lstm", 128, 1, *SCALE, dropout=0.3),
}


@pytest.mark.parametrize(
    ("name", "keep"), [*((name, None) for name in NETWORKS), ("LSTM", resident), ("CNN", resident)]
)
def test_a_network_trains_and_is_evaluated_as_on_the_cpu(name, keep, genres):
    found = []
    for device in ("cpu", "gpu"):
        torch.manual_seed(0)
        model = Classifier(NETWORKS[name](), 3).to(device)
        train_loader, val_loader = (keep(loader, device) if keep else loader for loader in genres())
        optimizer = torch.optim.SGD(model.parameters(), lr=1e-3, momentum=0.9)  # Adam makes steps of what is rounding
        loss = train_epoch(model, train_loader, nn.CrossEntropyLoss(label_smoothing=0.1), optimizer, device)
        val = evaluate(model, val_loader, nn.CrossEntropyLoss(), device)
        assert {(type(tensor), tensor.device.type) for tensor in (val.outputs, val.targets)} == {(torch.Tensor, "cpu")}
        found.append([loss, val.loss, val.outputs, val.targets])
    assert {weight.device.type for weight in model.parameters()} == {"gpu"}
    assert not next(model.parameters()).is_cuda
    assert {state["momentum_buffer"].device.type for state in optimizer.state.values()} == {"gpu"}
    torch.testing.assert_close(found[1], found[0], rtol=1e-4, atol=1e-5)


def test_resident_clips_give_the_loaders_batches_and_lie_on_the_device(genres):
    (loader, _), (again, _) = genres(), genres()
    kept = resident(again, "gpu")
    assert isinstance(kept, ResidentLoader) and len(kept) == len(loader)
    for _ in range(2):
        for one, other in zip(kept, loader, strict=True):
            for mine, theirs in zip(one, other, strict=True):
                assert mine.device.type == "gpu" and mine.dtype == theirs.dtype
                torch.testing.assert_close(mine.cpu(), theirs, rtol=0, atol=0)


@pytest.mark.parametrize("step", [train_epoch, evaluate])
def test_multitask_losses_on_the_device(step, small):
    """What steps 10 and its tuned recipe minimise, with scales and weights from the CPU."""
    labelled = SpectrogramDataset(small.path / "multitask_dataset_beat", features="mel", axis=AXES)
    scale = torch.from_numpy(labelled.labels).std(dim=0)
    found = []
    for device in ("cpu", "gpu"):
        torch.manual_seed(0)
        model = MultitaskRegressor(LSTMBackbone(128, 8)).to(device)
        loader, loss = make_loader(labelled, 8), partial(error_and_correlation_loss, scale=scale, weight=0.5)
        last = torch.optim.Adam(model.parameters()) if step is train_epoch else None
        done = step(model, loader, loss, *[last] * (last is not None), device)
        found.append(done if last else done.loss)
    assert_alike(*found[::-1])


def test_best_epoch_keeps_its_weights_on_the_cpu_and_puts_them_back_on_the_device():
    torch.manual_seed(0)
    model = Classifier(CNNBackbone(16, (2, 4)), 3).to("gpu")
    before = {name: tensor.cpu().clone() for name, tensor in model.state_dict().items()}
    best = BestEpoch(model)
    assert best.update(0, 0.5, model) and all(type(tensor) is torch.Tensor for tensor in best.weights.values())
    with torch.no_grad():
        for tensor in model.state_dict().values():
            tensor.add_(1)
    assert not best.update(1, 0.4, model)
    best.restore(model)
    for name, tensor in model.state_dict().items():
        assert tensor.device.type == "gpu" and torch.equal(tensor.cpu(), before[name])


def test_overfit_batch_says_the_same(genres, capsys):
    found, said = [], []
    for device in ("cpu", "gpu"):
        torch.manual_seed(0)
        model = Classifier(LSTMBackbone(12, 8, bidirectional=True), 3).to(device)
        optimizer = torch.optim.Adam(model.parameters(), lr=3e-3, weight_decay=1e-3)
        loader = genres("chroma")[0]
        found.append(overfit_batch(model, loader, nn.CrossEntropyLoss(), optimizer, device, steps=6))
        said.append(capsys.readouterr().out.splitlines())
    assert {state["exp_avg"].device.type for state in optimizer.state.values()} == {"gpu"}
    assert_alike(found[1], found[0])
    assert len(said[0]) == len(said[1]) and said[0][:2] == said[1][:2] and said[0][-1][:20] == said[1][-1][:20]


def test_a_loss_that_is_not_finite_is_told_with_its_clips(genres):
    model = Classifier(LSTMBackbone(128, 4), 3).to("gpu")
    with torch.no_grad():
        model.head.weight.fill_(np.inf)
    optimizer = torch.optim.Adam(model.parameters())
    with pytest.raises(LabError, match=r"non-finite.* clips \d+"):
        train_epoch(model, genres()[0], nn.CrossEntropyLoss(), optimizer, "gpu")


def test_padding_changes_no_result():
    torch.manual_seed(0)
    x, lengths = torch.randn(2, 9, 16), torch.tensor([9, 5])
    for backbone in (CNNBackbone(16, (2, 4)), LSTMBackbone(16, 4), LSTMBackbone(16, 4, bidirectional=True)):
        backbone = backbone.double().eval()
        expected = backbone(x.double(), lengths)
        more = torch.nn.functional.pad(x.double(), (0, 0, 0, 4), value=7.0)
        found = backbone.to("gpu")(more.to("gpu"), lengths.to("gpu"))
        torch.testing.assert_close(found.cpu(), expected, rtol=1e-6, atol=1e-9)


def test_a_mask_that_forgets_the_device_is_caught_in_a_step(small, tmp_path, monkeypatch):
    def forgetful(x, lengths):
        return x * (torch.arange(x.shape[2]) < lengths[:, None])[:, None, :, None]

    monkeypatch.setattr(models, "mask_padding", forgetful)
    run_step(step7_cnn, ["--epochs", "1"], small, tmp_path / "cpu", "cpu")
    with pytest.raises(RuntimeError, match=REFUSED):
        run_step(step7_cnn, ["--epochs", "1"], small, tmp_path / "gpu", "gpu")
