"""What is said of two models on the same clips: above, below or neither, a caution, and nothing on a handful of clips."""

import csv
import re
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from common.baselines import claim
from common.comparison import Difference, print_comparison, print_interval, rank_correlation
from common.report import report_training
from common.training import BestEpoch
from extras.page.blocks import Table

CLIPS = 40
BETTER, WORSE, UNSURE, FEW = (
    Difference(0.1, 0.05, 0.15), Difference(-0.1, -0.15, -0.05), Difference(0.1, -0.05, 0.25), Difference(0.1, None, None),
)  # fmt: skip


@pytest.mark.parametrize(
    ("first", "second", "said"),
    [
        (BETTER, BETTER, "above both"),
        (WORSE, WORSE, "below both"),
        (UNSURE, UNSURE, "significantly different from neither A nor B"),
        (FEW, FEW, "compared with neither A nor B"),
        (None, None, "compared with neither A nor B"),
        (BETTER, WORSE, "above A, below B"),
        (WORSE, UNSURE, "below A, not significantly different from B"),
        (BETTER, None, "above A, not compared with B"),
    ],
)
def test_a_claim_is_what_the_intervals_say(first, second, said):
    assert claim({"A": first, "B": second}) == said


def run_of(folder, true, predicted, axis=None, **metrics):
    """{seed: run} with these test predictions."""
    folder.mkdir()
    with open(folder / "predictions.csv", "w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, ["id", "split", "true", "predicted", *["axis"] * bool(axis)])
        writer.writeheader()
        for number, (one, other) in enumerate(zip(true, predicted, strict=True)):
            row = {"id": number, "split": "test", "true": one, "predicted": other}
            writer.writerow(row | ({"axis": axis} if axis else {}))
    return {0: {"folder": folder, "metrics": metrics}}


def compared(tmp_path, capsys, true, mine, theirs, axis=None, **metrics):
    runs = [run_of(tmp_path / name, true, each, axis, **metrics) for name, each in (("a", mine), ("b", theirs))]
    print_comparison("is a better?", (*runs, axis))
    return capsys.readouterr().out.removeprefix("comparison : is a better? ").strip()


@pytest.mark.parametrize(
    ("scale", "nested", "caution"),
    [(1.0, False, ""), (50.0, False, "caution"), (50.0, True, "caution")],
    ids=["one is good", "both fail", "both fail, metrics by axis"],
)
def test_a_caution_where_both_fail_against_the_constant_predictor(tmp_path, capsys, scale, nested, caution):
    true = np.random.default_rng(0).uniform(size=CLIPS)
    constant = {"mse_constant": float(true.var())}
    metrics = {"energy": constant} if nested else constant
    said = compared(tmp_path, capsys, true, scale * true, -scale * true, "energy", **metrics)
    assert re.match(r"yes, rank correlation \+2\.000 \(95 % interval \+2\.000 to \+2\.000\)", said)
    expected = "; caution: neither of them is better than a constant predictor in squared error"
    assert said.partition(")")[2] == (expected if caution else "")


@pytest.mark.parametrize(("right", "caution"), [(10, True), (30, False)])
def test_a_caution_in_accuracy_where_one_genre_for_all_is_as_good(tmp_path, capsys, right, caution):
    true = ["Rock"] * 20 + ["Folk"] * 10 + ["Jazz"] * 10
    mine = (
        true[: 20 - right // 2] + ["Pop"] * 20 + true[40 - right // 2 :] if right < 20 else true[:right] + ["Pop"] * 10
    )
    said = compared(tmp_path, capsys, true, mine, ["Pop"] * CLIPS)
    assert said.startswith("yes, accuracy +") and said.endswith("a constant predictor") == caution


@pytest.mark.parametrize("clips", [9, 10])
def test_an_interval_takes_ten_clips_and_the_line_says_so(tmp_path, capsys, clips):
    true, mine = ["Rock", "Folk"] * 5, ["Rock"] * 10
    said = compared(tmp_path, capsys, true[:clips], mine[:clips], ["Jazz"] * clips)
    if clips < 10:
        assert said == f"no answer, accuracy {np.ceil(clips / 2) / clips:+.3f} (no interval on fewer than 10 clips)"
    else:
        assert said.startswith("yes, accuracy +0.500 (95 % interval +0.")
    values = np.arange(clips, dtype=float)
    found = print_interval("correlation", values, values, rank_correlation)
    line = capsys.readouterr().out.strip()
    if clips < 10:
        assert (
            found == [None, None]
            and line == "no 95 % interval of the correlation: it takes 10 test clips, and here are 9"
        )
    else:
        assert found == [1, 1] and line.endswith("1.000 to 1.000")


@pytest.mark.parametrize(
    ("score", "epoch", "rule"),
    [
        (lambda row: (row["val_acc"], -row["val_loss"]), 2, "highest validation accuracy, then lowest validation loss"),
        (lambda row: -row["val_loss"], 1, "lowest validation loss"),
        (lambda row: row["val_acc"], 0, "highest validation accuracy"),
        (lambda row: row["train_loss"], 0, "score"),
    ],
)
def test_the_rule_that_picked_the_epoch_is_the_steps_own(score, epoch, rule, capsys):
    rows = [(3.0, 0.7, 0.5), (2.0, 0.3, 0.4), (1.0, 0.6, 0.5)]
    history = [
        {"epoch": k, "train_loss": train, "val_loss": loss, "val_acc": acc} for k, (train, loss, acc) in enumerate(rows)
    ]
    best, figures = BestEpoch(torch.nn.Linear(1, 1)), []
    for row in history:
        best.update(row["epoch"], score(row), torch.nn.Linear(1, 1))

    run = SimpleNamespace(metadata={"mode": "full"}, save_figure=lambda name, figure: figures.append(figure))
    report_training(run, "title", history, best, "cross entropy", {})
    assert f"best epoch : {epoch} of 0 to 2, picked by {rule}: validation accuracy" in capsys.readouterr().out
    legends = [text.get_text() for ax in figures[0].axes for text in ax.get_legend().get_texts()]
    assert legends.count(f"best epoch, {epoch}: {rule}") == 2


def test_a_table_of_the_page_without_rows_has_no_column_of_numbers():
    """As when step 9 was stopped after the pretraining."""
    assert Table("losses", ("", "this run"), []).right == [False, False]
