"""torchrun with two processes on CPUs: the numbers of one process at the same batch, within noise, and one writer."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

import step5_lstm
from tests.conftest import write_tiny_data

REPOSITORY = Path(__file__).resolve().parent.parent.parent


@pytest.fixture
def tiny_data(tmp_path):
    return write_tiny_data(tmp_path / "data")


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
    assert [path.name for path in (tmp_path / "two/step5_lstm").iterdir() if path.is_dir()] == [
        "beat_cross-entropy_seed0"
    ]
    step5_lstm.main([*shared_flags(tmp_path / "one", tiny_data), *flags])
    for two, one in zip(
        *(history(tmp_path / name, "step5_lstm", "beat_cross-entropy_seed0") for name in ("two", "one")), strict=True
    ):
        assert two == pytest.approx({**one, "train_loss": two["train_loss"]}, rel=1e-4)
        assert two["train_loss"] == pytest.approx(one["train_loss"], rel=0.05)  # the last clip counts twice in its mean
