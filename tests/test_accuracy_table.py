"""benchmarks/accuracy.py: the table of finished runs."""

import csv

import numpy as np
import pytest

from benchmarks import accuracy
from common.errors import LabError
from common.labels import AXES


def write_run(folder, rows, name="predictions.csv"):
    folder.mkdir(parents=True, exist_ok=True)
    with open(folder / name, "w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, rows[0])
        writer.writeheader()
        writer.writerows(rows)
    (folder / "metrics.json").write_text("{}", encoding="utf-8")


def genre_rows(right, clips=100):
    """A validation clip that must not count, and test clips of which this share is right."""
    rows = [{"id": f"t{k}", "side": "test", "true": "Rock", "predicted": "Rock" if k < right * clips else "Jazz"} for k in range(clips)]
    return [{"id": "v", "side": "val", "true": "Rock", "predicted": "Jazz"}, *rows]


def table(capsys, *words):
    accuracy.main([str(word) for word in words])
    lines = [line.strip("| ").split(" | ") for line in capsys.readouterr().out.splitlines()]
    return {tuple(cells[:4]): cells[4:] for cells in lines[2:]}


def test_means_deviations_and_paired_differences(tmp_path, capsys):
    for variant, shares in (("mel", (0.5, 0.6)), ("mel_tuned", (0.7, 0.8, 0.9))):
        for seed, right in enumerate(shares):
            write_run(tmp_path / "step7_cnn" / f"{variant}_seed{seed}", genre_rows(right))
    write_run(tmp_path / "step7_cnn" / "mel_tuned_seed0", genre_rows(0.6), "predictions_network.csv")
    write_run(tmp_path / "step7_cnn" / "mel_seed0.old-1", genre_rows(0.1))
    write_run(tmp_path / "step7_cnn" / "mel_seed0_quick", genre_rows(0.1))
    found = table(capsys, tmp_path, "--base", "mel")
    assert set(found) == {("step7_cnn", *rest) for rest in (
        ("mel", "-", "accuracy"), ("mel_tuned", "all", "accuracy"), ("mel_tuned", "network", "accuracy"), ("mel_tuned", "-", "accuracy"),
    )}  # fmt: skip
    assert found["step7_cnn", "mel", "-", "accuracy"][:3] == ["2", "0.550", "0.071"]
    seeds, mean, _, drawn, beside = found["step7_cnn", "mel_tuned", "-", "accuracy"]
    low, high = map(float, drawn.split(" to "))
    assert (seeds, mean) == ("2", "0.850") and 0.7 < low < 0.85 < high < 0.96
    assert beside.startswith("+0.200, ") and beside.endswith("(1 seeds)")  # seed 1 alone is in both


def test_the_mean_of_the_axes_is_drawn_as_one(tmp_path, capsys):
    rng = np.random.default_rng(0)
    rows = [{"id": k, "side": "test", "axis": axis, "true": k, "predicted": k + 50 * rng.normal()} for k in range(80) for axis in AXES]
    write_run(tmp_path / "step10_multitask" / "cnn_seed0", rows)
    found = table(capsys, tmp_path)
    means = [float(found["step10_multitask", "cnn", "-", axis][1]) for axis in AXES]
    assert float(found["step10_multitask", "cnn", "-", "mean"][1]) == pytest.approx(np.mean(means), abs=1e-3)


def test_a_folder_without_runs_is_named(tmp_path):
    with pytest.raises(LabError, match="finished runs were expected"):
        accuracy.main([str(tmp_path)])
