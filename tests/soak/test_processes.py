"""torchrun with two processes on CPUs: the numbers of one process at the same batch, within noise, and one writer; and
demo music by workers that are spawned.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

import step5_lstm
from extras.demo.folder import compose_demo
from tests.conftest import write_tiny_data
from tests.test_demo import SMALL, digests

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


def test_workers_start_by_spawning_too(tmp_path):
    code = (
        "import multiprocessing, sys; multiprocessing.set_start_method('spawn'); from extras.demo.folder import compose_demo; "
        f"compose_demo(sys.argv[1], processes=2, **{SMALL})"
    )
    subprocess.run([sys.executable, "-c", code, str(tmp_path / "two")], check=True, cwd=REPOSITORY, timeout=100)
    compose_demo(tmp_path / "one", **SMALL, processes=1)
    assert digests(tmp_path / "two") == digests(tmp_path / "one")
