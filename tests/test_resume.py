"""A run that is stopped anywhere and goes on with --resume ends as one that was never stopped: weights, logs, figures,
RESULT.
"""

import errno
import os
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from conftest import contents
from torch import nn

import step5_lstm
import step7_cnn
import step8_regression
import step9_transfer
import step10_multitask
from common import cli, files
from common.dataset import EpochBatches
from common.errors import LabError
from common.locations import find_data
from common.models import CNNBackbone, Regressor
from common.resume import TrainingState, read_states
from common.run import open_run
from common.training import BestEpoch

REPOSITORY = Path(__file__).resolve().parent.parent
CNN = ("runs", "step7_cnn", "mel_seed0")


@pytest.fixture
def flags(tiny_data, tmp_path):
    places = ["--data", str(tiny_data), "--cache", str(tmp_path / "cache"), "--out", str(tmp_path / "runs")]
    return [*places, "--no-baselines", "--batch-size", "8"]


class Stopped(BaseException):
    """As sudden as a kill can be inside one process."""


def stop_at(monkeypatch, count):
    """Ends the process, so to speak, instead of its `count`-th rename of a file from now on."""
    renames = iter(range(1, count))

    def replace(source, target, really=os.replace):
        if next(renames, None) is None:
            raise Stopped
        really(source, target)

    monkeypatch.setattr(files, "os", SimpleNamespace(replace=replace, fsync=lambda number: None))


@pytest.mark.parametrize(
    ("step", "more"),
    [
        pytest.param(step5_lstm, ["--features", "beat", "chroma", "--epochs", "2"], marks=pytest.mark.soak),
        (step7_cnn, ["--epochs", "3", "--seeds", "2"]),
        pytest.param(
            step8_regression,
            ["--model", "cnn", "--axis", "valence", "energy", "--epochs", "2"],
            marks=pytest.mark.soak,
        ),
        (step9_transfer, ["--epochs", "2", "--pretrain-epochs", "2"]),
        (step10_multitask, ["--epochs", "3", "--ensemble", "2"]),
    ],
)
def test_a_step_that_is_stopped_again_and_again_ends_as_if_it_had_not_been(
    flags, tmp_path, capsys, monkeypatch, step, more
):
    rows = step.main([*flags, *more])
    printed, right = capsys.readouterr().out, contents(tmp_path / "runs")
    (tmp_path / "runs").rename(tmp_path / "never stopped")
    stops, found = 0, None
    while found is None:
        stop_at(monkeypatch, 5 + 11 * stops)  # later from time to time: what is finished is written again
        try:
            found = step.main([*flags, *more, "--resume"])
        except Stopped:
            stops += 1
            capsys.readouterr()
    assert stops > 1 and found == rows and capsys.readouterr().out == printed
    again = contents(tmp_path / "runs")
    assert again.keys() == right.keys() and [name for name in right if again[name] != right[name]] == []


def test_a_killed_process_goes_on(flags, tmp_path, capsys):
    flags = [*flags, "--epochs", "3"]
    step7_cnn.main(flags)
    right = contents(tmp_path / "runs")
    (tmp_path / "runs").rename(tmp_path / "never stopped")
    child = subprocess.Popen(
        [sys.executable, str(REPOSITORY / "step7_cnn.py"), *flags], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    while child.poll() is None and not tmp_path.joinpath(*CNN, "state.pt").exists():
        time.sleep(0.01)
    child.kill()
    child.wait()
    step7_cnn.main([*flags, "--resume"])
    assert "resumed after epoch " in capsys.readouterr().err and contents(tmp_path / "runs") == right


def test_a_finished_run_prints_its_result_again_and_mends_what_is_missing(flags, tmp_path, capsys):
    flags = [*flags, "--epochs", "2"]
    step7_cnn.main(flags)
    printed, right = capsys.readouterr().out, contents(tmp_path / "runs")
    for name in ("best.pt", "metrics.json", "confusion.png"):
        tmp_path.joinpath(*CNN, name).unlink()
    step7_cnn.main([*flags, "--resume"])
    assert capsys.readouterr().out == printed and contents(tmp_path / "runs") == right


def test_with_nothing_saved_a_run_begins_and_leaves_a_finished_one_alone(flags, tmp_path, capsys):
    flags = [*flags, "--epochs", "1", "--resume"]
    step7_cnn.main(flags)
    first, right = capsys.readouterr().out, contents(tmp_path / "runs")
    for path in tmp_path.joinpath(*CNN).glob("state*"):
        path.unlink()
    step7_cnn.main(flags)
    assert capsys.readouterr().out == first and contents(tmp_path / "runs") == right
    assert tmp_path.joinpath(*CNN[:2], "mel_seed0.old-1", "metrics.json").exists()


@pytest.mark.parametrize(("damaged", "after"), [(["state.pt"], 1), (["state.pt", "state.before.pt"], None)])
def test_a_damaged_state_falls_back_to_the_one_before_and_says_so(flags, tmp_path, capsys, damaged, after):
    flags = [*flags, "--epochs", "3"]
    step7_cnn.main(flags)
    printed, right = capsys.readouterr().out, contents(tmp_path / "runs")
    for name in damaged:
        path = tmp_path.joinpath(*CNN, name)
        path.write_bytes(path.read_bytes()[:-3000])
    step7_cnn.main([*flags, "--resume"])
    said = capsys.readouterr()
    assert said.out == printed and contents(tmp_path / "runs") == right
    assert all(f"{name}: a checkpoint of this project was expected" in said.err for name in damaged)
    assert ("resumed after epoch" in said.err) == (after is not None) and f"resumed after epoch {after}" * (
        after or 0
    ) in said.err


def test_a_kill_between_the_two_renames_loses_one_epoch_at_most(flags, tmp_path, capsys):
    flags = [*flags, "--epochs", "2"]
    step7_cnn.main(flags)
    right = contents(tmp_path / "runs")
    tmp_path.joinpath(*CNN, "state.pt").rename(tmp_path.joinpath(*CNN, "state.pt.part"))
    step7_cnn.main([*flags, "--resume"])
    assert "resumed after epoch 0" in capsys.readouterr().err and contents(tmp_path / "runs") == right


@pytest.mark.parametrize(
    ("more", "flag"),
    [
        (["--lr", "0.5"], "--lr 0.5"),
        pytest.param(["--epochs", "3"], "--epochs 3", marks=pytest.mark.soak),
        pytest.param(["--batch-size", "4"], "--batch-size 4", marks=pytest.mark.soak),
    ],
)
def test_other_arguments_are_refused_and_the_run_is_left_alone(flags, tmp_path, more, flag):
    step7_cnn.main([*flags, "--epochs", "2"])
    right = contents(tmp_path / "runs")
    with pytest.raises(LabError, match=rf"^{flag}: the run in .*mel_seed0 has \S+, and --resume"):
        step7_cnn.main([*flags, "--epochs", "2", *more, "--resume"])
    assert contents(tmp_path / "runs") == right


def test_other_data_are_refused_and_another_place_of_the_same_is_not(flags, tiny_data, tmp_path):
    flags = [*flags, "--epochs", "1"]
    rows = step7_cnn.main(flags)
    elsewhere = tiny_data.rename(tmp_path / "moved")
    flags[1] = str(elsewhere)
    assert step7_cnn.main([*flags, "--no-cache", "--device", "cpu", "--resume"]) == rows
    labels = elsewhere / "fma_genre_spectrograms" / "test_labels.txt"
    labels.write_bytes(labels.read_bytes().rstrip().rpartition(b"\n")[0])
    with pytest.raises(LabError, match=r"--data .* was trained on other data"):
        step7_cnn.main([*flags, "--resume"])


def test_ctrl_c_ends_with_130_and_says_how_to_go_on(flags, capsys, monkeypatch):
    passes = iter(range(2))

    def interrupted(*arguments, really=step7_cnn.train_epoch):
        if next(passes, None) is None:
            raise KeyboardInterrupt
        return really(*arguments)

    monkeypatch.setattr(step7_cnn, "train_epoch", interrupted)
    monkeypatch.setattr(sys, "argv", ["step7_cnn.py", "--epochs", "4", "--out", "a b"])
    with pytest.raises(SystemExit) as ended:
        cli.run_script(lambda: step7_cnn.main([*flags, "--epochs", "4"]))
    last = capsys.readouterr().err.splitlines()[-1]
    assert ended.value.code == 130 and last.endswith("python step7_cnn.py --epochs 4 --out 'a b' --resume")
    monkeypatch.undo()
    step7_cnn.main([*flags, "--epochs", "4", "--resume"])
    assert "resumed after epoch 1" in capsys.readouterr().err


def test_a_full_disk_is_one_sentence_and_the_run_goes_on_when_there_is_room(flags, tmp_path, capsys, monkeypatch):
    flags = [*flags, "--epochs", "2"]
    step7_cnn.main(flags)
    right = contents(tmp_path / "runs")
    (tmp_path / "runs").rename(tmp_path / "never stopped")

    def full(source, target, really=os.replace):
        if str(target).endswith("state.pt") and Path(target).with_name("state.before.pt").exists():
            raise OSError(errno.ENOSPC, "No space left on device")
        really(source, target)

    monkeypatch.setattr(files, "os", SimpleNamespace(replace=full, fsync=os.fsync))
    with pytest.raises(LabError, match=r"state\.pt: it cannot be written .*No space left"):
        step7_cnn.main(flags)
    monkeypatch.undo()
    step7_cnn.main([*flags, "--resume"])
    assert "resumed after epoch 0" in capsys.readouterr().err and contents(tmp_path / "runs") == right


@pytest.mark.parametrize("mode", [["--quick"], ["--overfit-batch"]])
def test_dry_runs_save_no_state(flags, tmp_path, mode, capsys):
    step7_cnn.main([*flags, *mode])
    assert not list(tmp_path.rglob("state*"))
    with pytest.raises(SystemExit):
        step7_cnn.main([*flags, *mode, "--resume"])
    assert f"argument --resume: not allowed with argument {mode[0]}" in capsys.readouterr().err


def test_another_thread_count_is_said(flags, capsys):
    flags = [*flags, "--epochs", "1"]
    step7_cnn.main(flags)
    threads = torch.get_num_threads()
    torch.set_num_threads(threads + 1)
    try:
        step7_cnn.main([*flags, "--resume"])
    finally:
        torch.set_num_threads(threads)
    assert f"threads {threads} is now {threads + 1}: numbers may differ" in capsys.readouterr().err


class Noisy(nn.Module):
    """A CNN with dropout before its head: every pass draws random numbers."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(1)
        self.network, self.drop = Regressor(CNNBackbone(8, (2, 3))), nn.Dropout(0.5)

    def forward(self, x):
        return self.network(self.drop(x), torch.full((len(x),), x.shape[1]))


def trained(folder, stop=None):
    """Four epochs with dropout and a falling rate, left after `stop` of them as a killed process leaves them: the
    weights, the order.
    """
    model = Noisy()
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
    schedule = torch.optim.lr_scheduler.StepLR(optimizer, 1, 0.5)
    loader = SimpleNamespace(batch_sampler=EpochBatches(6, 2, True, seed=3))
    best, history = BestEpoch(model), []
    state = TrainingState(model, optimizer, loader, best, history, schedule)
    torch.manual_seed(9)
    saved = read_states(folder, {}, "data")
    if saved:
        state.restore(saved["state.pt"][1])
    x = torch.arange(6 * 8 * 8).reshape(6, 8, 8) / 400
    for epoch in range(len(history), 4 if stop is None else stop):
        for rows in loader.batch_sampler:
            optimizer.zero_grad()
            (model(x[rows]) ** 2).mean().backward()
            optimizer.step()
        schedule.step()
        best.update(epoch, (float(epoch % 2), 0.5), model)
        history.append({"epoch": epoch, "rows": rows, "rate": schedule.get_last_lr()[0]})
        state.save(folder / "state.pt", {"arguments": {}, "data": "data"})
    return model, optimizer, best, history


def test_random_numbers_schedule_and_layouts_go_on_where_they_were(tmp_path):
    (tmp_path / "a").mkdir(), (tmp_path / "b").mkdir()
    right_model, _, right_best, right_history = trained(tmp_path / "a")
    for stop in (1, 2, 3):
        trained(tmp_path / "b", stop)
    model, optimizer, best, history = trained(tmp_path / "b")
    torch.testing.assert_close(dict(model.state_dict()), dict(right_model.state_dict()), rtol=0, atol=0)
    torch.testing.assert_close(best.weights, right_best.weights, rtol=0, atol=0)
    assert history == right_history and (best.epoch, best.score, best.tried) == (1, (1.0, 0.5), 4)
    for weight, kept in optimizer.state.items():
        assert all(value.stride() == weight.stride() for value in kept.values() if value.dim() > 1)
    assert (tmp_path / "a" / "state.pt").read_bytes() == (tmp_path / "b" / "state.pt").read_bytes()


def test_a_state_of_another_network_and_a_file_that_is_none_are_refused(tmp_path, capsys):
    trained(tmp_path, 1)
    saved = read_states(tmp_path, {}, "data")["state.pt"][1]
    other = nn.Linear(2, 2)
    loader = SimpleNamespace(batch_sampler=EpochBatches(6, 2))
    state = TrainingState(other, torch.optim.Adam(other.parameters()), loader, BestEpoch(other), [], SimpleNamespace())
    with pytest.raises(LabError, match="--resume: the saved state is of another network"):
        state.restore(saved)
    torch.save({"some": torch.zeros(2)}, tmp_path / "state.pt")
    assert read_states(tmp_path, {}, "data") == {}
    assert "state.pt: a checkpoint of this project was expected" in capsys.readouterr().err


@pytest.mark.parametrize(
    "error",
    [
        torch.cuda.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB"),
        RuntimeError(
            "[enforce fail at alloc_cpu.cpp:121] . DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes."
        ),
        MemoryError(),
    ],
)
def test_a_memory_that_is_full_says_which_flag_to_lower(tiny_data, tmp_path, error):
    given = tmp_path / "s" / "v", {"mode": "full", **find_data(tiny_data).metadata()}, {"batch_size": 512}
    with pytest.raises(LabError, match=r"^--batch-size 512: .* the memory is full"), open_run(*given):
        raise error
