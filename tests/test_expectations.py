"""What is known of the lab's data set: is it here, where does a result on it fall; and what is said while a network
trains.
"""

import json
import re
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch.utils.data import Dataset

import step0_data
import step5_lstm
import step7_cnn
import step8_regression
import step9_transfer
import step10_multitask
from common.checks import SEVERAL, watch_training
from common.dataset import SpectrogramDataset, clip_labels, torch_train_val_split
from common.labels import AXES, CLASS_MAPPING
from common.report import describe_genres, report_training
from common.training import Evaluation
from extras.own_data.kaggle import known_counts
from extras.own_data.survey import which_set
from extras.writeup.expected import (
    ACCURACIES,
    CAUSES,
    CORRELATIONS,
    EMOTION_CLIPS,
    GENRE_CLIPS,
    LAB_TEST_CLIPS,
    SOURCES,
    expectation,
    is_labs,
)
from extras.writeup.numbers import STEP0_DATA, STEP5_LSTM, STEP7_CNN, STEP8_SPEARMAN, STEP9_SPEARMAN, STEP10_SPEARMAN
from tests.conftest import TINY_GENRES

GENRES, EMOTIONS = "fma_genre_spectrograms", "multitask_dataset"


@pytest.fixture
def flags(tiny_data, tmp_path):
    return [
        "--data",
        str(tiny_data),
        "--cache",
        str(tmp_path / "cache"),
        "--out",
        str(tmp_path / "runs"),
        "--batch-size",
        "8",
    ]


@pytest.fixture
def tiny_is_the_labs(monkeypatch):
    """Makes the tiny data pass as the lab's."""
    monkeypatch.setattr("extras.writeup.expected.CLASS_MAPPING", TINY_GENRES)
    monkeypatch.setattr("extras.writeup.expected.LAB_TEST_CLIPS", 12)
    monkeypatch.setattr("extras.writeup.expected.EMOTION_CLIPS", (24, 6))


def test_the_labs_counts_agree_with_the_write_ups_sums():
    train, test = (sum(counts) for counts in zip(*GENRE_CLIPS.values(), strict=True))
    assert (train, test, LAB_TEST_CLIPS, *EMOTION_CLIPS) == (3069, 765, 575, 1122, 375)
    assert sum(GENRE_CLIPS[genre][0] for genre, name in CLASS_MAPPING.items() if name) == 2305
    assert {
        "genre_clips": train + test,
        "genres": len(GENRE_CLIPS),
        "multitask_clips": sum(EMOTION_CLIPS),
    } == STEP0_DATA


def test_the_write_ups_own_results_are_plausible_and_every_source_is_named():
    theirs = {(("step5_lstm", name), None): row["test_acc"] for name, row in STEP5_LSTM.items()}
    theirs[("step7_cnn", None), None] = STEP7_CNN["test_acc"]
    for key, scores in (
        (("step8_regression", "lstm"), STEP8_SPEARMAN["lstm"]),
        (("step8_regression", "cnn"), STEP8_SPEARMAN["cnn"]),
        (("step9_transfer", "transfer"), STEP9_SPEARMAN),
        (("step10_multitask", None), STEP10_SPEARMAN),
    ):
        theirs |= {(key, axis): scores[axis] for axis in AXES if axis in scores}
    assert len(theirs) == 5 + 10
    for (key, axis), score in theirs.items():
        (line,) = expectation(*key, score, axis)
        assert line.endswith(f"; {score:.4f} is within"), line
    ranges = [*ACCURACIES.values(), *(found for by_axis in CORRELATIONS.values() for found in by_axis.values())]
    assert all(0 <= low < high < 1 for low, high, _ in ranges)
    owners = {owner for *_, text in ranges for owner in re.findall(r"(?:^|[,;] )(?!and)([\w' -]+?) \.\d", text)}
    assert {owner for owner in owners if not owner.startswith("write-up")} <= set(SOURCES), owners
    assert set(SOURCES) <= owners | {"staff"}


@pytest.mark.parametrize(
    ("score", "axis", "where"),
    [
        (0.1, None, "below"),
        (0.6, None, "above"),
        (-0.2, "energy", "below"),
        (None, "energy", "below"),
        (0.99, "energy", "above"),
    ],
)
def test_outside_the_range_the_causes_follow_in_order(score, axis, where):
    line, *causes = expectation(*(("step8_regression", "cnn") if axis else ("step7_cnn", None)), score, axis)
    assert line.endswith(
        f"{'undefined' if score is None else f'{score:.4f}'} is {where}; likely causes, in this order:"
    )
    assert [cause.strip() for cause in causes] == [
        f"{number}. {cause}"
        for number, cause in enumerate(CAUSES[f"{'correlation' if axis else 'accuracy'} {where}"], start=1)
    ]


@pytest.mark.parametrize(
    ("score", "interval", "said"),
    [
        (0.40, (0.36, 0.44), "not significantly below, its 95 % interval is 0.360 to 0.440"),
        (0.49, (0.45, 0.53), "not significantly above, its 95 % interval is 0.450 to 0.530"),
        (0.37, (0.33, 0.41), "below; likely causes, in this order:"),
        (0.52, (0.48, 0.56), "above; likely causes, in this order:"),
        (0.45, (0.41, 0.49), "within"),
    ],
)
def test_outside_the_range_is_said_where_the_whole_interval_is(score, interval, said):
    line, *causes = expectation("step7_cnn", None, score, None, interval)
    assert line.endswith(f"; {score:.4f} is {said}") and bool(causes) == ("causes" in said)


def test_without_a_range_nothing_is_printed():
    assert expectation("step9_transfer", "scratch", 0.4, "valence") == [] == expectation("step7_cnn", "beat", 0.4)


def test_results_are_the_labs_by_its_table_and_number_of_clips_alone():
    assert is_labs(None, CLASS_MAPPING, "full", 575, 575) and is_labs(None, dict(CLASS_MAPPING), "score", 575, 575)
    for other in (({"seed": 0}, CLASS_MAPPING, "full", 575), (None, TINY_GENRES, "full", 575), (None, CLASS_MAPPING, "quick", 575),
                  (None, CLASS_MAPPING, "full", 574)):  # fmt: skip
        assert not is_labs(*other, 575)


@pytest.mark.usefixtures("tiny_is_the_labs")
def test_on_the_labs_data_every_score_is_followed_by_its_range(flags, capsys):
    flags = [*flags, "--no-baselines", "--epochs", "1"]
    step5_lstm.main([*flags, "--features", "beat"])
    step7_cnn.main(flags)
    text = capsys.readouterr().out
    assert "to expect  : 0.27 to 0.39 on the lab's data set (" in text and "to expect  : 0.42 to 0.47" in text
    assert text.count("on the same 12 test clips") == 2
    step8_regression.main([*flags, "--model", "lstm", "--axis", "energy"])
    assert "to expect  : 0.15 to 0.66" in capsys.readouterr().out
    step10_multitask.main(flags)
    assert capsys.readouterr().out.count("to expect  : ") == 3


def test_on_other_sets_steps_8_to_10_share_their_models_without_a_network_and_no_range_is_named(
    flags, tiny_data, capsys, monkeypatch
):
    fitted = []

    def scores(known, unknown, classify):
        fitted.append((known.dataset.labels, len(known), len(unknown)))
        return {"linear": clip_labels(unknown).tolist(), "svm": None}

    monkeypatch.setattr("common.baselines.baseline_predictions", scores)
    flags = [*flags, "--epochs", "1"]
    step10_multitask.main(flags)
    for axis, (labels, *sizes) in zip(AXES, fitted, strict=True):  # of its three columns each model gets its own
        np.testing.assert_array_equal(labels, SpectrogramDataset(tiny_data / EMOTIONS, axis=axis).labels)
        assert sizes == [20, 4]
    step8_regression.main([*flags, "--model", "cnn", "--axis", "valence"])
    step9_transfer.main([*flags, "--pretrain-epochs", "1"])
    assert len(fitted) == 3  # the same clips and axes: kept
    text = capsys.readouterr().out
    assert (
        text.count(
            "without a network: the linear model 1.0000, the SVM (RBF) undefined; this network is compared with "
        )
        == 3 + 1 + 2
    )
    assert text.count(": it takes 10 test clips, and here are 4") == 3 + 1 + 2
    assert text.count("the labelled clips in three splits") == 1 + 1 + 2 and "to expect" not in text
    step10_multitask.main([*flags, "--quick", "--out", flags[5] + "/dry"])
    text = capsys.readouterr().out
    assert "without a network" not in text and text.count("dry run    : runs, every loss is finite") == 1


def test_the_log_says_the_labs_split_in_words(capsys):
    class Clips(Dataset):
        def __init__(self, count):
            self.ids, self.labels = [str(number) for number in range(count)], np.arange(count) % 10
            self.lengths = np.full(count, 1292)

        def __len__(self):
            return len(self.ids)

    train, val = torch_train_val_split(Clips(2305), 32, 32, 0.33, seed=0)
    test = Clips(575)
    test.ids = [f"t{ident}" for ident in test.ids]
    run = SimpleNamespace(metadata={})
    describe_genres(run, torch.nn.Linear(2, 1), (train.dataset, val.dataset, test), list("abcdefghij"))
    assert (
        "clips      : 1545 to train on, 760 to validate with (they pick the epoch), 575 to test"
        in capsys.readouterr().out
    )
    assert len(set(run.metadata["train_ids"])) == 2305


def labs_counts():
    """files, labelled and gaps of the lab's set, whole, as which_set takes them."""
    labelled = {f"{EMOTIONS}{tail}/train": 1122 for tail in ("", "_beat")}
    for number, split in enumerate(("train", "test")):
        labelled |= {
            f"{GENRES}{tail}/{split}": {genre: counts[number] for genre, counts in GENRE_CLIPS.items()}
            for tail in ("", "_beat")
        }
    return known_counts(), labelled, {key: [] for key in known_counts()}


def test_the_labs_set_is_recognised_by_its_counts():
    files, labelled, gaps = labs_counts()
    assert which_set(files, labelled, gaps) == "the lab's set"
    files[f"{GENRES}/train"] -= 2
    gaps[f"{GENRES}/train"] = ["one.npy", "two.npy"]
    assert which_set(files, labelled, gaps) == "the lab's set, with these files missing: one.npy, two.npy"
    files[f"{GENRES}/test"] -= 10
    gaps[f"{GENRES}/test"] = [f"{number}.npy" for number in range(10)]
    found = which_set(files, labelled, gaps)
    assert found == "the lab's set, with these files missing: one.npy, two.npy, 0.npy, 1.npy, 2.npy and 7 more"


def test_of_the_labs_set_folders_and_label_files_may_be_missing():
    files, labelled, gaps = labs_counts()
    files[f"{EMOTIONS}/test"] = files[f"{EMOTIONS}_beat/test"] = 0  # no label file or twin folder has their names
    assert which_set(files, labelled, gaps) == "the lab's set, with these files missing: 750 files"
    files, labelled, gaps = labs_counts()
    del labelled[f"{GENRES}/test"]
    assert which_set(files, labelled, gaps) == f"the lab's set, with these files missing: {GENRES}/test_labels.txt"


def test_another_set_is_named_with_the_reason():
    files, labelled, gaps = labs_counts()
    other = labelled[f"{GENRES}/train"]
    labelled[f"{GENRES}/train"] = {**other, "Rock": 159}
    assert (
        which_set(files, labelled, gaps) == f"another set: {GENRES}/train has labels for 3068 clips, the lab's for 3069"
    )
    labelled[f"{GENRES}/train"] = {**other, "Rock": 159, "Pop": 161}
    assert which_set(files, labelled, gaps).endswith("has labels for 3069 clips, the lab's for 3069, of other genres")
    labelled[f"{GENRES}/train"] = other
    files[f"{GENRES}/test"] += 1
    assert which_set(files, labelled, gaps) == f"another set: {GENRES}/test has 766 files, the lab's has 765"
    assert which_set({}, {}, gaps) == "another set: no label file can be read"


def test_step_0_names_another_set_and_the_labs_with_a_gap(tiny_data, tmp_path, capsys, monkeypatch):
    command = ["--data", str(tiny_data), "--headers", "--out", str(tmp_path / "runs")]
    step0_data.main(command)
    assert (
        f"which set     : another set: {GENRES}/train has labels for 36 clips, the lab's for 3069"
        in capsys.readouterr().out
    )
    monkeypatch.setattr("extras.own_data.survey.GENRE_CLIPS", dict.fromkeys(TINY_GENRES, (12, 6)))
    monkeypatch.setattr("extras.own_data.survey.EMOTION_CLIPS", (24, 6))
    counts = {f"{name}{tail}/{split}": count for name, splits in ((GENRES, (36, 18)), (EMOTIONS, (24, 6))) for tail in ("", "_beat")
              for split, count in zip(("train", "test"), splits, strict=True)}  # fmt: skip
    monkeypatch.setattr("extras.own_data.survey.known_counts", lambda: counts)
    step0_data.main(command)
    assert "which set     : the lab's set\n" in capsys.readouterr().out
    (tiny_data / EMOTIONS / "test" / "9502.fused.full.npy").unlink()  # no label names it, but the beat-synced twin does
    step0_data.main(command)
    assert (
        f"which set     : the lab's set, with these files missing: {EMOTIONS}/test/9502.fused.full.npy\n"
        in capsys.readouterr().out
    )


def watched(capsys, losses, outputs, targets, prior=1.0):
    """What watch_training prints, [lines of each epoch], for [(training loss, validation loss)] and the outputs of
    every epoch.
    """
    history, said = [], []
    for (train_loss, val_loss), output in zip(losses, outputs, strict=True):
        history.append({"train_loss": train_loss, "val_loss": val_loss})
        watch_training(
            history, Evaluation(val_loss, output, targets), {"uniform guess": 2 * prior, "the constant": prior}
        )
        said.append(capsys.readouterr().out.splitlines())
    return said


def test_a_loss_at_the_prior_is_said_once_and_while_it_runs(capsys):
    varied, targets = torch.eye(4), torch.arange(4)
    for losses, expected in (
        ([(1.0, 1.01)] * 8, SEVERAL - 1),
        ([(3.0, 2.0)] * 2 + [(1.0, 1.0)] * 8, SEVERAL + 1),  # comes down to it
        ([(1.0, 1.0)] * (SEVERAL - 1) + [(0.9, 0.9)] + [(1.0, 1.0)] * 3, None),  # leaves it in time
        ([(0.3, 1.0)] * 8, None),  # overfitted: only validation is there
        ([(3.0 - 0.2 * epoch, 2.0) for epoch in range(8)], None),  # far above, and falling
    ):
        said = watched(capsys, losses, [varied] * len(losses), targets)
        assert [epoch for epoch, lines in enumerate(said) if lines] == ([] if expected is None else [expected]), losses
        assert expected is None or (
            len(said[expected]) == 1 and "(the constant, 1.0000): it learns little" in said[expected][0]
        )


def test_predictions_that_collapse_are_said_once(capsys):
    targets, learnt = torch.arange(4), [(0.5, 0.5)] * 7
    one_class = torch.tensor([[0.0, 1, 0, 0]]).expand(4, 4)
    said = watched(capsys, learnt, [torch.eye(4), *[one_class] * 6], targets)
    assert [epoch for epoch, lines in enumerate(said) if lines] == [SEVERAL] and "the same class" in said[SEVERAL][0]

    values = torch.tensor([0.1, 0.4, 0.9])
    said = watched(capsys, learnt, [values, *[0.5 + 0.01 * values] * 6], values)
    assert [epoch for epoch, lines in enumerate(said) if lines] == [SEVERAL] and "hardly differ" in said[SEVERAL][0]
    three = torch.stack([values] * 3, dim=1)
    flat = three.clone()
    flat[:, 1] = 0.4
    assert any("on one axis at least" in line for lines in watched(capsys, learnt, [flat] * 7, three) for line in lines)
    assert not any(watched(capsys, learnt, [0.2 * three] * 7, three))


def test_warnings_are_the_same_where_a_run_goes_on(capsys):
    """A history that has lain on disk in between tells as much as one that has not."""
    targets = torch.arange(4)
    history = []
    for _ in range(SEVERAL + 2):
        history = json.loads(json.dumps([*history, {"train_loss": 1.0, "val_loss": 1.0}]))
        watch_training(history, Evaluation(1.0, torch.zeros(4, 4), targets), {"the constant": 1.0})
    assert len(capsys.readouterr().out.splitlines()) == 2


def test_a_dry_run_says_whether_every_loss_is_finite(capsys):
    run = SimpleNamespace(metadata={"mode": "quick"}, save_figure=lambda name, figure: None)
    best = SimpleNamespace(epoch=0, score=(-1.0,))
    for loss, word in ((1.0, "runs"), (float("nan"), "non-finite"), (float("inf"), "non-finite")):
        history = [{"epoch": 0, "train_loss": 1.0, "val_loss": 1.0}, {"epoch": 1, "train_loss": 1.0, "val_loss": loss}]
        report_training(run, "title", history, best, "loss", {})
        assert f"dry run    : {word}, " in capsys.readouterr().out


def test_findings_of_step_5_say_what_the_loss_changed(flags, capsys):
    command = [*flags, "--no-baselines", "--features", "beat", "--epochs", "1"]
    step5_lstm.main(command)
    assert "squared error of the softmax?" not in capsys.readouterr().out  # nothing to compare with
    step5_lstm.main([*command, "--loss", "squared-error"])
    lines = capsys.readouterr().out.splitlines()
    (place,) = [
        number for number, line in enumerate(lines) if "does the cross entropy make a better LSTM on beat" in line
    ]
    assert [line.split(":")[0].strip() for line in lines[place + 1 : place + 3]] == [
        "by cross-entropy",
        "by squared-error",
    ]
    assert "accuracy +" in lines[place] or "accuracy -" in lines[place]
