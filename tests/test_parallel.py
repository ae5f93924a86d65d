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
from extras.speed import processes
from extras.speed.processes import share

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


def test_two_processes_take_one_processs_steps_where_there_is_no_batch_norm(tiny_data, tmp_path):
    flags = ["--features", "beat", "--batch-size", "4"]  # of 17 clips: the last one alone, which both processes take
    finished = two_processes("step5_lstm", tmp_path / "two", tiny_data, *flags)
    assert finished.returncode == 0, finished.stderr
    assert finished.stdout.count("RESULT step5_lstm") == 1 and finished.stdout.count("epoch : 1 ,training") == 1
    assert [path.name for path in (tmp_path / "two/step5_lstm").iterdir() if path.is_dir()] == ["beat_cross-entropy_seed0"]
    step5_lstm.main([*shared_flags(tmp_path / "one", tiny_data), *flags])
    for two, one in zip(*(history(tmp_path / name, "step5_lstm", "beat_cross-entropy_seed0") for name in ("two", "one")), strict=True):
        assert two == pytest.approx({**one, "train_loss": two["train_loss"]}, rel=1e-4)
        assert two["train_loss"] == pytest.approx(one["train_loss"], rel=0.05)  # the last clip counts twice in its mean


def test_only_the_first_process_writes_the_submission(monkeypatch):
    ended = []
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setattr(sys, "stdout", sys.stdout)
    monkeypatch.setattr(processes.atexit, "register", lambda action, *given, **more: ended.append(lambda: action(*given, **more)))
    for name, value in {"init_process_group": None, "barrier": None, "is_initialized": True, "destroy_process_group": None}.items():
        monkeypatch.setattr(processes.distributed, name, lambda *_, value=value: value)
    monkeypatch.setenv("TQDM_DISABLE", "")
    for number, keeps in ((0, True), (1, False)):
        monkeypatch.setattr(processes.distributed, "get_rank", lambda number=number: number)
        args = Namespace(device="cpu", out="runs", resume=False, no_baselines=False, submit="solution.txt")
        processes.join_processes(args)
        assert (args.submit == "solution.txt") is keeps and Path(args.submit).parent.is_dir()
    sys.stdout.close()  # the second one's, which leads nowhere
    for action in ended:
        action()


def test_alone_nothing_is_shared_out():
    loader, loss_function = object(), object()
    assert processes.share_out(torch.nn.Linear(2, 1), loader, loss_function) == (loader, loss_function)


@pytest.mark.parametrize("clips", [1, 2, 3, 7, 8])
def test_shares_are_equally_large_and_hold_every_clip(clips):
    shares = [share(clips, rank, 2).tolist() for rank in (0, 1)]
    assert len(shares[0]) == len(shares[1]) == (clips + 1) // 2
    assert set(shares[0] + shares[1]) == set(range(clips))
