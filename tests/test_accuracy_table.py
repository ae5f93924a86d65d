"""benchmarks/accuracy.py: the table of finished runs."""

import csv
import json

import numpy as np
import pytest

from benchmarks import accuracy
from common.errors import LabError
from common.labels import AXES


def write_run(folder, rows, name="predictions.csv", data="here"):
    folder.mkdir(parents=True, exist_ok=True)
    with open(folder / name, "w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, rows[0])
        writer.writeheader()
        writer.writerows(rows)
    (folder / "metrics.json").write_text(json.dumps({"data": data}), encoding="utf-8")


def genre_rows(right, clips=100):
    """A validation clip that must not count, and test clips of which this fraction is right."""
    rows = [
        {"id": f"t{k}", "split": "test", "true": "Rock", "predicted": "Rock" if k < right * clips else "Jazz"}
        for k in range(clips)
    ]
    return [{"id": "v", "split": "val", "true": "Rock", "predicted": "Jazz"}, *rows]


def table(capsys, *flags):
    accuracy.main([str(flag) for flag in flags])
    lines = [line.strip("| ").split(" | ") for line in capsys.readouterr().out.splitlines()]
    return {tuple(cells[:4]): cells[4:] for cells in lines[2:]}


def test_means_stds_and_paired_differences(tmp_path, capsys):
    for variant, fractions in (("mel", (0.5, 0.6)), ("genres_cnn", (0.7, 0.8, 0.9))):
        for seed, right in enumerate(fractions):
            write_run(tmp_path / "step7_cnn" / f"{variant}_seed{seed}", genre_rows(right))
    for seed in range(3):
        write_run(tmp_path / "step7_cnn" / f"genres_cnn_seed{seed}", genre_rows(0.6), "predictions_networks.csv")
    write_run(tmp_path / "step7_cnn" / "mel_seed0.old-1", genre_rows(0.1))
    write_run(tmp_path / "step7_cnn" / "mel_seed0_quick", genre_rows(0.1))
    found = table(capsys, tmp_path, "--base", "mel")
    assert set(found) == {("step7_cnn", variant, members, "accuracy") for variant, members in (
        ("mel", "-"), ("genres_cnn", "all"), ("genres_cnn", "networks"),
    )}  # fmt: skip
    assert found["step7_cnn", "mel", "-", "accuracy"][:3] == ["2", "0.550", "0.071"]
    seeds, mean, std, bounds, gap = found["step7_cnn", "genres_cnn", "all", "accuracy"]
    low, high = map(float, bounds.split(" to "))
    assert (seeds, mean, std) == ("3", "0.800", "0.100") and 0.6 < low < 0.8 < high < 0.96
    assert gap.startswith("+0.200, +0.1") and gap.endswith("(2 seeds)")
    assert found["step7_cnn", "genres_cnn", "networks", "accuracy"][4].startswith("+0.050, ")


def axis_rows(predicted, axes=AXES, clips=80):
    rng = np.random.default_rng(0)
    return [
        {"id": k, "split": "test", "axis": axis, "true": k, "predicted": predicted(k, rng)}
        for k in range(clips)
        for axis in axes
    ]


def test_the_mean_of_the_axes_has_one_interval(tmp_path, capsys):
    write_run(tmp_path / "step10_multitask" / "cnn_seed0", axis_rows(lambda k, rng: k + 50 * rng.normal()))
    found = {key[3]: cells for key, cells in table(capsys, tmp_path).items()}
    assert float(found["mean"][1]) == pytest.approx(np.mean([float(found[axis][1]) for axis in AXES]), abs=1e-3)
    low, high = zip(*(map(float, found[axis][3].split(" to ")) for axis in (*AXES, "mean")), strict=True)
    widths = np.subtract(high, low)
    assert widths[-1] < min(widths[:3])  # the mean of three axes is estimated better than each


def test_a_constant_is_undefined_and_other_axes_or_clips_are_no_base(tmp_path, capsys):
    for axis, predicted in (("valence", lambda k, rng: 0.5), ("energy", lambda k, rng: k)):
        write_run(tmp_path / "step8_regression" / f"lstm_{axis}_seed0", axis_rows(predicted, [axis]))
    write_run(tmp_path / "step8_regression" / "cnn_energy_seed0", axis_rows(lambda k, rng: k, ["energy"], clips=70))
    found = table(capsys, tmp_path, "--base", "lstm_energy")
    assert found["step8_regression", "lstm_valence", "-", "valence"] == ["1", "undefined", "-", "-", "-"]
    assert found["step8_regression", "cnn_energy", "-", "energy"][4] == "-"


def test_a_folder_without_runs_an_unknown_base_and_mixed_data_are_named(tmp_path):
    with pytest.raises(LabError, match="finished runs were expected"):
        accuracy.main([str(tmp_path)])
    write_run(tmp_path / "step7_cnn" / "mel_seed0", genre_rows(0.5))
    with pytest.raises(LabError, match="--base typo: one of mel was expected"):
        accuracy.main([str(tmp_path), "--base", "typo"])
    write_run(tmp_path / "step7_cnn" / "mel_seed1", genre_rows(0.5), data="there")
    with pytest.raises(LabError, match="mel_seed1: runs of one data set"):
        accuracy.main([str(tmp_path)])
