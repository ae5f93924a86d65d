"""Two processes on CPUs train one model: the same figures as one process at the same batch, within noise, and one writer."""

import json
import os
import subprocess
import sys
from argparse import Namespace
from pathlib import Path

import pytest
import torch

import step5_lstm
import step7_cnn
from common import parallel
from common.parallel import gathered, in_parallel, mean_over_processes, own_share

REPOSITORY = Path(__file__).resolve().parent.parent


def two_processes(step, out, data, *flags):
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2", f"{step}.py"]
    arguments = [*command, *shared_flags(out, data), *flags]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    return subprocess.run(arguments, cwd=REPOSITORY, env=environment, capture_output=True, text=True, encoding="utf-8")


def shared_flags(out, data):
    return ["--data", str(data), "--out", str(out), "--no-cache", "--epochs", "2", "--no-baselines"]


def history(out, step, variant):
    return json.loads((out / step / variant / "history.json").read_text(encoding="utf-8"))


def test_a_cnn_is_trained_by_two_processes_with_one_writer(tiny_data, tmp_path):
    finished = two_processes("step7_cnn", tmp_path / "two", tiny_data)
    assert finished.returncode == 0, finished.stderr
    assert finished.stdout.count("RESULT step7_cnn") == 1 and finished.stdout.count("epoch : 1 ,") == 1
    assert [path.name for path in (tmp_path / "two/step7_cnn").iterdir() if path.is_dir()] == ["mel_seed0"]
    step7_cnn.main(shared_flags(tmp_path / "one", tiny_data))
    for two, one in zip(*(history(tmp_path / name, "step7_cnn", "mel_seed0") for name in ("two", "one")), strict=True):
        assert two["train_loss"] == pytest.approx(one["train_loss"], rel=0.5)  # batch norm sees half a batch on a CPU


def test_two_processes_take_one_processs_steps_where_there_is_no_batch_norm(tiny_data, tmp_path):
    flags = ["--features", "beat", "--batch-size", "5"]
    finished = two_processes("step5_lstm", tmp_path / "two", tiny_data, *flags)
    assert finished.returncode == 0, finished.stderr
    step5_lstm.main([*shared_flags(tmp_path / "one", tiny_data), *flags])
    for two, one in zip(*(history(tmp_path / name, "step5_lstm", "beat_cross-entropy_seed0") for name in ("two", "one")), strict=True):
        assert two == pytest.approx(one, rel=1e-4)


def test_only_the_first_process_writes_the_submission(monkeypatch):
    ended = []
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setattr(sys, "stdout", sys.stdout)
    monkeypatch.setattr(parallel.atexit, "register", lambda action, *given, **more: ended.append(lambda: action(*given, **more)))
    for name, value in {"init_process_group": None, "barrier": None, "is_initialized": True, "destroy_process_group": None}.items():
        monkeypatch.setattr(parallel.distributed, name, lambda *_, value=value: value)
    monkeypatch.setenv("TQDM_DISABLE", "")
    for number, keeps in ((0, True), (1, False)):
        monkeypatch.setattr(parallel, "rank", lambda number=number: number)
        args = Namespace(device="cpu", out="runs", resume=False, no_baselines=False, submit="solution.txt")
        parallel.join_processes(args)
        assert (args.submit == "solution.txt") is keeps and Path(args.submit).parent.is_dir()
    sys.stdout.close()  # the second one's, which leads nowhere
    for action in ended:
        action()


def test_alone_a_process_has_the_whole_batch():
    batch, model = (torch.arange(6).view(3, 2), torch.arange(3), torch.ones(3)), torch.nn.Linear(2, 1)
    assert own_share(batch) == (batch, 1.0)
    assert in_parallel(model) is model
    assert gathered({1: "b", 3: "d"}) == ["b", "d"]
    value = torch.tensor([3.0])
    mean_over_processes([value])
    assert value.item() == 3


@pytest.mark.parametrize("clips", [1, 2, 3, 7])
def test_shares_hold_every_clip_once_and_their_weighted_means_are_the_batchs(clips, monkeypatch):
    y = torch.arange(clips, dtype=torch.float64) ** 2
    monkeypatch.setattr(parallel, "processes", lambda: 2)
    total, held = 0.0, []
    for number in (0, 1):
        monkeypatch.setattr(parallel, "rank", lambda number=number: number)
        (share, again, _), weight = own_share((y, y, y))
        assert len(share) and torch.equal(share, again)
        total += weight * share.mean().item() / 2  # DDP's mean over the processes
        held += share.tolist() if weight else []
    assert sorted(held) == y.tolist()
    assert total == pytest.approx(y.mean().item())
