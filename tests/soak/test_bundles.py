"""Every single file alone in an empty folder beside its step, on the tiny data: the same RESULT lines.

The steps run without accelerate, as the single files do: the fast stages round otherwise, which training amplifies.
"""

import os
import subprocess
import sys

import pytest

from common.locations import REPOSITORY
from extras.single_file.bundle import STEPS, single_step

PLAINLY = """
import importlib, sys
import extras.speed.accelerate
extras.speed.accelerate.accelerate = lambda model, device: model
importlib.import_module(sys.argv[1]).main(sys.argv[2:])
"""


def results(command, folder, **environment):
    folder.mkdir(exist_ok=True)
    command, environment = [sys.executable, *map(str, command)], {**os.environ, **environment}
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, encoding="utf-8")
    assert done.returncode == 0, done.stderr
    return [line for line in done.stdout.splitlines() if line.startswith("RESULT ")]


@pytest.mark.parametrize("name", STEPS)
@pytest.mark.parametrize("seed", [0, 1])
def test_a_single_file_alone_gives_the_steps_result(tiny_data, tmp_path, name, seed):
    flags = ["--data", tiny_data, "--seed", seed] + ["--epochs", 3, "--batch-size", 8] * (name != "step1_visualize")
    path = tmp_path / "empty" / "single.py"
    path.parent.mkdir()
    path.write_text(single_step(name, path.name), encoding="utf-8")
    places = ["--cache", tmp_path / "cache", *["--no-baselines"] * (name != "step1_visualize")]
    expected = results(["-c", PLAINLY, name, *flags, *places], tmp_path / "step", PYTHONPATH=str(REPOSITORY))
    assert results([path, *flags], path.parent) == expected and expected
