"""Mistakes in what is counted and said of the clips: losses, correlations, the report's rows and the submission."""

import math
import os
import warnings
from collections import Counter

import numpy as np
import pytest
import torch
from mistakes import Clips, Constant, FirstFrame, noise, numbers_loader, tell_apart
from scipy.stats import pearsonr, rankdata
from torch import nn

import step5_lstm
from common.dataset import SpectrogramDataset, make_loader
from common.labels import AXES, CLASS_MAPPING, LabelTransformer, clip_id
from common.metrics import accuracy, classification_metrics, spearman, squared_error_loss
from common.models import Classifier, CNNBackbone, LSTMBackbone, MultitaskRegressor, Regressor
from common.submission import write_submission
from common.training import evaluate, train_epoch

pytestmark = pytest.mark.usefixtures("same_weights_in_every_run")


def with_head(model, weight):
    """The model with this weight (outputs, inputs) in its head and a bias of 0."""
    with torch.no_grad():
        model.head.weight.copy_(torch.as_tensor(weight))
        model.head.bias.zero_()
    return model


def test_01_regressor_output_broadcasts_against_targets():
    class Column(Regressor):
        def forward(self, x, lengths):
            return self.head(self.backbone(x, lengths))  # (B, 1)

    def check(regressor):
        model = with_head(regressor(FirstFrame(1)), [[1.0]])
        with warnings.catch_warnings(record=True) as said:
            warnings.simplefilter("always")
            found = evaluate(model, numbers_loader(3), nn.MSELoss())
        assert found.loss == 0, "a perfect prediction has a loss"
        assert found.outputs.shape == found.targets.shape and not said

    tell_apart(check, Regressor, ("a perfect prediction has a loss", Column))


def test_02_squared_error_or_a_second_softmax_in_place_of_cross_entropy():
    class Softmaxed(Classifier):
        def forward(self, x, lengths):
            return super().forward(x, lengths).softmax(dim=1)

    def check(implementation):
        classifier, loss_function = implementation
        guess = evaluate(
            classifier(LSTMBackbone(12, 16), 10),
            make_loader(Clips(noise(20, 5, 12), np.arange(20) % 10), 8),
            loss_function,
        )
        assert guess.loss == pytest.approx(math.log(10), abs=0.2), "a new network does not lose ln 10"
        certain = with_head(classifier(FirstFrame(10), 10), 20 * torch.eye(10))
        right = evaluate(certain, make_loader(Clips(np.eye(10)[:, None], np.arange(10)), 4), loss_function)
        assert right.loss < 0.01, "being right with certainty still costs"

    ours = step5_lstm.LOSSES["cross-entropy"]
    tell_apart(
        check,
        (Classifier, ours),
        ("does not lose ln 10", (Classifier, squared_error_loss)),
        ("still costs", (Softmaxed, nn.CrossEntropyLoss())),
    )


def test_15_class_names_in_the_order_of_a_set():
    labels = [name for k, name in enumerate(sorted(set(CLASS_MAPPING.values()) - {None})) for _ in range(k + 1)]

    def check(names_of):
        transformer = LabelTransformer().fit(labels)
        numbers, names = transformer.transform(labels), names_of(labels, transformer)
        metrics = classification_metrics(numbers, numbers, names)
        support = {name: row["support"] for name, row in metrics["classes"].items()}
        assert support == Counter(labels), "names stand at other classes' rows"

    tell_apart(
        check,
        lambda labels, transformer: transformer.classes_,
        ("other classes' rows", lambda labels, _: list(set(labels))),
    )


def test_16_true_and_predicted_swapped_in_the_report():
    def swapped(true, predicted, classes):
        return classification_metrics(predicted, true, classes)

    def check(metrics_of):
        true, predicted = [0, 0, 0, 1, 1, 2], [0, 0, 1, 1, 0, 0]
        metrics = metrics_of(true, predicted, ["a", "b", "c"])
        assert [row["support"] for row in metrics["classes"].values()] == [3, 2, 1], (
            "support does not count the true labels"
        )
        assert [sum(row) for row in metrics["confusion"]] == [3, 2, 1]

    tell_apart(check, classification_metrics, ("does not count the true labels", swapped))


def test_19_correlation_by_batches_or_pearson_called_spearman():
    def over_all(model, loader):
        found = evaluate(model, loader, nn.MSELoss())
        return spearman(found.targets.numpy(), found.outputs.numpy())

    def batches(model, loader):
        return [spearman(y.numpy(), model(x, lengths).detach().numpy()) for x, y, lengths in loader]

    def pearson(model, loader):
        found = evaluate(model, loader, nn.MSELoss())
        return pearsonr(found.targets.numpy(), found.outputs.numpy()).statistic

    rng = np.random.default_rng(0)
    y = rng.uniform(size=24)
    x = (y + rng.normal(0, 0.3, 24))[:, None, None]
    expected = np.corrcoef(rankdata(x.ravel()), rankdata(y))[0, 1]

    def check(correlation):
        model = with_head(Regressor(FirstFrame(1)), [[1.0]])
        by_size = [correlation(model, make_loader(Clips(x, y.astype(np.float32)), size)) for size in (24, 8, 7)]
        assert by_size == pytest.approx([by_size[0]] * 3), "it depends on the batch size"
        stretched = correlation(model, make_loader(Clips(x, np.exp(4 * y).astype(np.float32)), 8))
        assert stretched == pytest.approx(by_size[0]), "it depends on more than the order"
        assert by_size[0] == pytest.approx(expected, abs=1e-6)

    tell_apart(
        check,
        over_all,
        ("depends on the batch size", lambda *given: np.mean(batches(*given))),
        ("depends on the batch size", lambda *given: batches(*given)[-1]),
        ("depends on more than the order", pearson),
    )


def test_20_means_divided_by_the_wrong_count():
    def batch_losses(model, loader):
        return [nn.functional.mse_loss(model(x, lengths), y).item() for x, y, lengths in loader]

    def by_last_index(model, loader):
        losses = dict(enumerate(batch_losses(model, loader)))
        return sum(losses.values()) / max(losses)

    def assigned(model, loader):
        total = 0
        for loss in batch_losses(model, loader):
            total =+ loss  # fmt: skip
        return total / len(loader)

    def check_loss(mean_loss):
        expected = np.mean([(1 - value) ** 2 for value in (0.1, 0.9, 0.4, 0.7, 0.2)])
        assert mean_loss(Constant(), numbers_loader(2)) == pytest.approx(expected), "not the mean over the five clips"

    def check_accuracy(share):
        model = with_head(Classifier(FirstFrame(2), 2), torch.eye(2))
        loader = make_loader(Clips(np.eye(2)[[0, 1, 0, 1, 1]][:, None], np.array([0, 1, 0, 1, 0])), 2)
        assert share(model, loader) == pytest.approx(4 / 5), "not four of five"

    def right(model, loader):
        return sum((model(x, lengths).argmax(dim=1) == y).sum().item() for x, y, lengths in loader)

    def frozen_epoch(model, loader):
        return train_epoch(model, loader, nn.MSELoss(), torch.optim.SGD(model.parameters(), lr=0.0))

    mistakes = (
        by_last_index,
        assigned,
        lambda *given: batch_losses(*given)[-1],  # the last batch's
        lambda *given: np.mean(batch_losses(*given)),  # the small last batch counted as much as the others
    )
    for ours in (frozen_epoch, lambda model, loader: evaluate(model, loader, nn.MSELoss()).loss):
        tell_apart(check_loss, ours, *[("not the mean over the five clips", mistaken) for mistaken in mistakes])
    tell_apart(
        check_accuracy,
        lambda model, loader: accuracy(*evaluate(model, loader, nn.CrossEntropyLoss())[1:]),
        ("not four of five", lambda model, loader: right(model, loader) / (2 * len(loader))),
    )


def test_29_predictions_joined_to_ids_by_position(data, tmp_path):
    hidden = SpectrogramDataset(data / "multitask_dataset_beat", train=False, features="mel", axis=AXES)
    model = MultitaskRegressor(CNNBackbone(channels=(2, 2))).eval()
    alone = {}
    for number, ident in enumerate(hidden.ids):
        features, _, length = hidden[number]
        alone[ident] = model(torch.from_numpy(features[None, :length]), torch.tensor([length]))[0].tolist()

    def predictions(**options):
        return evaluate(model, make_loader(hidden, 4, **options), nn.MSELoss()).outputs.tolist()

    def listed_again():
        names = sorted(
            os.listdir(data / "multitask_dataset_beat" / "test"), reverse=True
        )  # os.listdir promises no order
        return [clip_id(name) for name in names]

    def check(ids_and_values):
        write_submission(tmp_path / "solution.txt", *ids_and_values())
        lines = [line.split(",") for line in (tmp_path / "solution.txt").read_text().splitlines()[1:]]
        found = {clip_id(name): [float(value) for value in values] for name, *values in lines}
        assert len(lines) == len(found) == len(hidden)
        for ident, values in alone.items():
            assert found[ident] == pytest.approx(values, abs=1e-3), f"{ident} has another clip's prediction"

    tell_apart(
        check,
        lambda: (hidden.ids, predictions()),
        ("another clip's prediction", lambda: (hidden.ids, predictions(shuffle=True, seed=0))),
        ("another clip's prediction", lambda: (listed_again(), predictions())),
    )
