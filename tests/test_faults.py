"""Odd clips, odd sets, odd places: training goes through them or says in one sentence what it expected."""

import json
import math
import os
import sys
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from conftest import random_clip, write_tiny_data

import evaluate as evaluate_script
import step5_lstm
import step7_cnn
import step8_regression
import step9_transfer
import step10_multitask
from common import baselines
from common.comparison import read_runs
from common.dataset import SpectrogramDataset, make_loader
from common.errors import LabError
from common.files import write_atomically
from common.labels import load_class_mapping
from common.locations import find_data
from common.models import Classifier, CNNBackbone, LSTMBackbone
from common.progress import Tee
from common.run import open_run
from common.submission import write_submission
from common.training import evaluate, train_epoch

DRAWN = pytest.mark.usefixtures("drawn")  # where a picture could fail


@pytest.fixture
def flags(tiny_data, tmp_path):
    places = ["--data", str(tiny_data), "--cache", str(tmp_path / "cache"), "--out", str(tmp_path / "runs")]
    return [*places, "--no-baselines", "--batch-size", "8", "--epochs", "1"]


def put(data, number, clip):
    """Puts a clip in place of one of the genre training split's."""
    for tail in ("", "_beat"):
        np.save(data / f"fma_genre_spectrograms{tail}" / "train" / f"{number}.fused.full.npy", clip)


def silent(frames):
    return np.vstack([np.full((128, frames), -80.0), np.zeros((12, frames))])


@DRAWN
def test_odd_clips_are_trained_on_and_scored(flags, tiny_data):
    odd = [np.full((140, 30), -7.25), silent(30), silent(1), random_clip(np.random.default_rng(1), 5)]
    for number, clip in enumerate(odd):
        put(tiny_data, 1000 + number, clip)
        put(tiny_data, 2000 + number, clip)
    (cnn,) = step7_cnn.main(flags)
    (lstm,) = step5_lstm.main([*flags, "--features", "beat"])
    assert 0 <= cnn["test_acc"] <= 1 and 0 <= lstm["test_acc"] <= 1


@pytest.mark.parametrize("network", [CNNBackbone(128, (2, 2, 2, 2)), LSTMBackbone(128, 3, 2)])
def test_a_clip_of_10000_frames_beside_one_of_one(tmp_path, network):
    data = write_tiny_data(tmp_path / "data", train=1, test=1)
    put(data, 1000, random_clip(np.random.default_rng(2), 10_000))
    put(data, 2000, silent(1))
    dataset = SpectrogramDataset(data / "fma_genre_spectrograms", load_class_mapping(data), features="mel")
    model, loader = Classifier(network, 2), make_loader(dataset, 2)
    loss = train_epoch(model, loader, torch.nn.CrossEntropyLoss(), torch.optim.Adam(model.parameters()))
    together = evaluate(model, loader, torch.nn.CrossEntropyLoss()).outputs
    alone = evaluate(model, make_loader(dataset, 1), torch.nn.CrossEntropyLoss()).outputs
    assert math.isfinite(loss) and dataset.max_length == 10_000
    torch.testing.assert_close(together, alone, rtol=1e-4, atol=1e-4)


@DRAWN
def test_a_set_of_nothing_but_single_frames(flags, tiny_data):
    for path in tiny_data.rglob("*.npy"):
        np.save(path, random_clip(np.random.default_rng(len(path.name)), 1))
    step7_cnn.main(flags)
    step8_regression.main([*flags, "--model", "lstm", "--axis", "valence"])


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_a_clip_that_is_not_finite_is_named(flags, tiny_data, value):
    clip = silent(9)
    clip[77, 3] = value
    put(tiny_data, 1003, clip)
    with pytest.raises(LabError, match=r"1003\.fused\.full\.npy: finite values were expected"):
        step7_cnn.main(flags)


@pytest.mark.parametrize("size", ["1", "1000", "3"])
def test_batches_of_one_of_all_and_with_one_left_over(flags, size):
    (row,) = step7_cnn.main([*flags, "--batch-size", size])  # 17 clips train: 3 leave 2, 8 leave 1
    assert 0 <= row["test_acc"] <= 1


@pytest.mark.parametrize("network", [CNNBackbone(128, (2, 2, 2, 2)), LSTMBackbone(128, 3, 2)])
@pytest.mark.parametrize("frames", [1, 5, 40])
def test_a_batch_of_one_clip_trains_and_a_batch_of_one_is_the_clip_alone(network, frames):
    torch.manual_seed(0)
    model, x = Classifier(network, 2), torch.rand(1, frames, 128)
    model.train()
    model(x, torch.tensor([frames])).sum().backward()
    model.eval()
    both = model(torch.cat([x, x]), torch.tensor([frames, frames]))
    torch.testing.assert_close(both[:1], model(x, torch.tensor([frames])), rtol=1e-5, atol=1e-5)


def relabel(data, split, keep):
    """Leaves those lines of a genre label file that `keep` (number of the clip among its genre's, genre) wants."""
    for tail in ("", "_beat"):
        path = data / f"fma_genre_spectrograms{tail}" / f"{split}_labels.txt"
        rows = [line.split("\t") for line in path.read_text(encoding="utf-8").split() if "\t" in line] or [
            line.rstrip("\r").split("\t") for line in path.read_text(encoding="utf-8").split("\n")[1:] if line.strip()
        ]
        kept = [f"{name}\t{genre}" for name, genre in rows if keep(int(name.split(".")[0]) % 500, genre)]
        path.write_bytes("\r\n".join(["Id\tGenre", *kept]).encode())


@DRAWN
def test_a_class_with_one_clip_and_a_class_that_the_test_side_lacks(flags, tiny_data, capsys):
    relabel(
        tiny_data, "train", lambda number, genre: genre == "Rock" or number == 0
    )  # one Greek clip: it trains or it validates
    relabel(tiny_data, "test", lambda number, genre: genre == "Rock")
    for seed in ("0", "1"):
        (row,) = step7_cnn.main([*flags, "--seed", seed])
        assert 0 <= row["test_acc"] <= 1
    assert "Ελληνικά" in capsys.readouterr().out


def test_a_test_side_with_a_class_that_was_never_trained_is_named(flags, tiny_data):
    relabel(tiny_data, "train", lambda number, genre: genre == "Rock")
    with pytest.raises(LabError, match=r"test_labels\.txt, line \d+: .*Ελληνικά"):
        step7_cnn.main(flags)


def test_too_few_clips_to_split_are_said(flags, tiny_data):
    relabel(tiny_data, "train", lambda number, genre: number == 0 and genre != "Chiptune")
    with pytest.raises(LabError, match="leaves training or validation empty"):
        step7_cnn.main(flags)


@DRAWN
def test_an_axis_that_is_constant_has_no_rank_correlation_and_says_so(flags, tiny_data, capsys):
    path = tiny_data / "multitask_dataset" / "train_labels.txt"
    lines = path.read_text().splitlines()
    path.write_text(
        "\r\n".join([lines[0], *(",".join([line.split(",")[0], "0.5", *line.split(",")[2:]]) for line in lines[1:])])
    )
    rows = step8_regression.main([*flags, "--model", "cnn"])
    assert [row["spearman"] is None for row in rows] == [
        True,
        False,
        False,
        True,
    ]  # the mean of an undefined one is undefined
    step10_multitask.main(flags)
    text = capsys.readouterr().out
    assert "axis=valence spearman=undefined" in text and "axis=energy spearman=undefined" not in text


@DRAWN
def test_greek_places_and_names_that_are_no_text(tiny_data, tmp_path, capsys):
    root = tmp_path / "Μουσική για εργασία"
    data = root / "δεδομένα"
    root.mkdir()
    tiny_data.rename(data)
    flags = ["--no-baselines", "--epochs", "1", "--out", str(root / "τρεξίματα"), "--cache", str(root / "κρυφή")]
    step7_cnn.main(["--data", str(data), *flags])
    best = root / "τρεξίματα" / "step7_cnn" / "mel_seed0" / "best.pt"
    evaluate_script.main([str(best), "--data", str(data), *flags[3:]])
    assert f"Scoring {best}" in capsys.readouterr().out


@pytest.mark.skipif(sys.platform != "linux", reason="other systems take no such names")
def test_a_folder_whose_name_is_no_text(tiny_data, tmp_path):
    data = os.fsdecode(os.fsencode(tmp_path) + b"/\xff\xfe")
    tiny_data.rename(data)
    flags = ["--data", data, "--no-baselines", "--epochs", "1", "--out", data + "/runs", "--cache", data + "/cache"]
    rows = step7_cnn.main(flags)
    assert step7_cnn.main([*flags, "--resume"]) == rows
    assert (
        json.loads((tmp_path / data / "runs" / "step7_cnn" / "mel_seed0" / "metrics.json").read_text("utf-8"))[
            "data_path"
        ]
        == data
    )


@pytest.mark.parametrize(
    "below", ["", "fma_genre_spectrograms", "multitask_dataset_beat/train", "fma_genre_spectrograms/train_labels.txt"]
)
def test_the_parent_and_the_children_of_the_data_folder_are_recognised(tiny_data, below):
    assert find_data(tiny_data / below).path == tiny_data == find_data(tiny_data.parent).path


@pytest.mark.parametrize("place", ["empty", "file", "absent", "file/below"])
def test_a_place_that_holds_no_data_is_refused_by_its_flag(tiny_data, tmp_path, place):
    (tmp_path / "file").touch()
    (tmp_path / "empty").mkdir()
    with pytest.raises(LabError, match=r"--data .*: the lab's data folder was expected"):
        find_data(tmp_path / place)


def test_a_data_folder_that_may_not_be_read_is_refused_by_its_flag(tiny_data, monkeypatch):
    def stat(path, *arguments, really=os.stat, **more):
        if str(path).startswith(f"{tiny_data}/"):
            raise PermissionError(13, "Permission denied", str(path))
        return really(path, *arguments, **more)

    monkeypatch.setattr("os.stat", stat)
    with pytest.raises(LabError, match=f"--data {tiny_data}: the lab's data folder was expected"):
        find_data(tiny_data)


@pytest.mark.parametrize("text", ["[]", "3", "null", '"x"', "[" * 100_000, "{"])
def test_metrics_that_are_none_are_named(tmp_path, text):
    path = tmp_path / "step" / "variant" / "metrics.json"
    path.parent.mkdir(parents=True)
    path.write_text(text)
    with pytest.raises(LabError, match=rf"{path}: the metrics of a finished run"):
        read_runs(tmp_path, "step", SimpleNamespace())


class FullAfter:
    """An unbuffered file on a disk that has room for so many bytes; it takes a part of what it is given, as files may."""

    name = "runs/log.txt"

    def __init__(self, room):
        self.room, self.content = room, b""

    def write(self, text):
        part = text[: min(3, self.room)]
        if not part:
            raise OSError(28, "No space left on device")
        self.content, self.room = self.content + part, self.room - len(part)
        return len(part)


def test_a_log_on_a_full_disk_is_one_sentence(capsys):
    log = FullAfter(20)
    tee = Tee(sys.stdout, log)
    tee.write("γραμμή")
    assert log.content == "γραμμή".encode() and tee.written == ["γραμμή"]
    with pytest.raises(LabError, match=r"runs/log\.txt: the log cannot be written .*No space left"):
        tee.write("a longer line")


def test_what_cannot_be_written_is_named_and_leaves_the_old_file(tmp_path, monkeypatch):
    path = tmp_path / "report.html"
    write_atomically(path, "old")

    def full(number):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(LabError, match=r"report\.html: it cannot be written .*No space left"):
        write_atomically(path, "new")
    assert path.read_text() == "old" and list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize(("ids", "header"), [(["1,2", "3"], "Id"), (["1\n2", "3"], "Id"), (["1", "2"], "Id\r")])
def test_a_submission_whose_rows_would_break_is_refused(tmp_path, ids, header):
    with pytest.raises(LabError, match=r"solution\.txt: names without comma and line break"):
        write_submission(tmp_path / "solution.txt", ids, [(0.1, 0.2, 0.3), (0.3, 0.1, 0.2)], header=header)
    assert not (tmp_path / "solution.txt").exists()


@pytest.mark.parametrize(
    ("step", "arguments", "said"),
    [
        (step8_regression, ["--axis", "arousal"], "--axis"),
        (step10_multitask, ["--weights", "1", "2"], "--weights"),
        (step10_multitask, ["--weights", "1", "2", "nan"], "--weights"),
        (step10_multitask, ["--weights", "0", "0", "0"], "--weights"),
        (step10_multitask, ["--ensemble", "0"], "--ensemble"),
        (step5_lstm, ["--features", "mfcc"], "--features"),
        (step5_lstm, ["--loss", "hinge"], "--loss"),
        (step7_cnn, ["--resume", "--quick"], "--resume"),
        (evaluate_script, ["x.pt", "--data", ""], "--data"),
        (step9_transfer, ["--pretrained", ""], "--pretrained"),
        (step10_multitask, ["--submit", ""], "--submit"),
        (step5_lstm, ["--data", ""], "--data"),
        (step7_cnn, ["--device", "tpu"], "--device"),
    ],
)
def test_impossible_choices_are_refused_before_any_work(step, arguments, said, capsys, monkeypatch):
    monkeypatch.setattr(step, "find_data", lambda path, demo=None: pytest.fail("work had begun"))
    with pytest.raises(SystemExit) as ended:
        step.main(arguments)
    text = capsys.readouterr().err
    assert ended.value.code == 2 and text.count("\n") == 1 and said in text


def test_a_run_that_fails_gives_its_folder_free(tiny_data, tmp_path):
    metadata = {"mode": "full", **find_data(tiny_data).metadata()}
    for _ in range(2):
        with pytest.raises(RuntimeError, match="broken"), open_run(tmp_path / "s" / "v", metadata, {}):
            raise RuntimeError("broken")
    assert not (tmp_path / "s" / "v").exists()


def test_a_set_of_one_validation_clip_and_two_test_clips(tmp_path):
    data = write_tiny_data(tmp_path / "small", train=2, test=1)
    flags = ["--data", str(data), "--no-cache", "--out", str(tmp_path / "runs"), "--no-baselines", "--epochs", "1"]
    (row,) = step7_cnn.main(flags)
    assert row["test_acc"] in (0, 0.5, 1)


@pytest.mark.parametrize("text", ["[]", "3", "{}", '{"linear": "x", "svm": 0.5}', '{"linear": 0.5}', "{"])
def test_damaged_predictions_of_the_models_without_a_network_are_made_anew(tmp_path, monkeypatch, text):
    right = {"linear": None, "svm": [0.25]}
    monkeypatch.setattr(baselines, "baseline_predictions", lambda *arguments: right)
    monkeypatch.setattr(baselines, "clip_ids", lambda dataset: dataset)
    assert baselines.kept_predictions(tmp_path / "b", "key", ["1"], ["2"], True) == right
    (path,) = (tmp_path / "b").iterdir()
    path.write_text(text)
    assert (
        baselines.kept_predictions(tmp_path / "b", "key", ["1"], ["2"], True) == right == json.loads(path.read_text())
    )
    path.write_text('{"linear": [0.5], "svm": null}')
    assert baselines.kept_predictions(tmp_path / "b", "key", ["1"], ["2"], True) == {"linear": [0.5], "svm": None}
