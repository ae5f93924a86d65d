import math

import numpy as np
import pytest
import torch

from common.comparison import fraction_correct, score_interval
from common.metrics import (
    accuracy,
    classification_metrics,
    majority_class,
    prior_losses,
    rank_correlation,
    report_table,
    squared_error_loss,
)


def test_squared_error_of_a_uniform_guess_is_the_write_ups_scale():
    assert squared_error_loss(torch.zeros(7, 10), torch.arange(7)).item() == pytest.approx(0.09)
    certain = torch.full((2, 3), -100.0)
    certain[[0, 1], [2, 0]] = 100
    assert squared_error_loss(certain, torch.tensor([2, 0])).item() == pytest.approx(0)


def test_reference_losses_of_the_labs_training_side():
    counts = [160, 160, 320, 320, 160, 160, 313, 160, 415, 137]  # in the classes' order, Blues to Trip-Hop
    losses = prior_losses(np.repeat(range(10), counts), 10)
    assert losses["uniform guess"] == pytest.approx((2.3026, 0.0900), abs=5e-5)
    assert losses["class priors"] == pytest.approx((2.2217, 0.0883), abs=5e-5)


def test_reference_losses_are_what_such_models_lose():
    labels = np.array([0, 0, 0, 1])
    cross_entropy, squared = prior_losses(labels, 3)["class priors"]
    logits = torch.tensor([0.75, 0.25, 1e-30]).log().repeat(4, 1)
    assert squared == pytest.approx(squared_error_loss(logits, torch.tensor(labels)).item(), abs=1e-6)
    assert cross_entropy == pytest.approx(
        torch.nn.functional.cross_entropy(logits, torch.tensor(labels)).item(), abs=1e-6
    )


def test_majority_class_is_taken_from_the_training_side():
    assert majority_class([2, 2, 0], [0, 0, 2, 1], 3) == (2, pytest.approx(2 / 3), 0.25)


def test_classification_metrics_by_hand():
    true, predicted = [0, 0, 0, 1, 1, 2], [0, 0, 1, 1, 0, 0]
    metrics = classification_metrics(true, predicted, ["a", "b", "c"])
    assert metrics["confusion"] == [[2, 1, 0], [1, 1, 0], [1, 0, 0]]  # rows are the truth
    assert metrics["accuracy"] == metrics["micro"]["precision"] == metrics["micro"]["f1"] == 0.5
    assert metrics["classes"]["a"] == {
        "precision": 0.5,
        "recall": pytest.approx(2 / 3),
        "f1": pytest.approx(4 / 7),
        "support": 3,
    }
    assert metrics["classes"]["c"] == {"precision": 0, "recall": 0, "f1": 0, "support": 1}
    assert metrics["macro"]["recall"] == pytest.approx((2 / 3 + 1 / 2 + 0) / 3)


def test_the_report_reproduces_the_write_ups_third_lstm():
    """Everything called Rock: the write-up's accuracy .18, macro F1 .03 and weighted F1 .05 on the lab's 575 test
    clips.
    """
    names = ["Blues", "Classical", "Electronic", "Folk", "Hip-Hop", "Jazz", "Metal", "Pop", "Rock", "Trip-Hop"]
    true = np.repeat(range(10), [40, 40, 80, 80, 40, 40, 78, 40, 103, 34])
    text = report_table(classification_metrics(true, np.full(575, 8), names))
    assert [line.split()[-4:] for line in text.splitlines() if "Rock" in line] == [["0.18", "1.00", "0.30", "103"]]
    assert text.splitlines()[-1].split()[-4:] == ["0.03", "0.18", "0.05", "575"]
    assert text.splitlines()[-2].split()[-4:] == ["0.02", "0.10", "0.03", "575"]
    assert text.splitlines()[-3].split()[-4:] == ["0.18", "0.18", "0.18", "575"]


def test_accuracy():
    assert accuracy(torch.tensor([[1.0, 2], [3, 1], [0, 1]]), torch.tensor([1, 0, 0])) == pytest.approx(2 / 3)
    assert math.isclose(accuracy(torch.eye(4), torch.arange(4)), 1.0)


def test_an_interval_is_as_wide_as_a_proportions_and_knows_no_rank_of_a_constant(monkeypatch):
    monkeypatch.setattr("common.comparison.ROUNDS", 1000)
    true = np.zeros(400)
    predicted = (np.arange(400) % 4 == 0).astype(float)  # three of four are right
    low, high = score_interval(true, predicted, fraction_correct)
    error = np.sqrt(0.75 * 0.25 / 400)
    assert low == pytest.approx(0.75 - 1.96 * error, abs=0.01) and high == pytest.approx(0.75 + 1.96 * error, abs=0.01)
    assert score_interval(predicted, true, rank_correlation) == (None, None)
