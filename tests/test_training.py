import math
from functools import partial

import numpy as np
import pytest
import torch
from torch import nn

from common.checks import constant_loss, overfit_batch
from common.dataset import genre_splits, make_loader
from common.errors import LabError
from common.labels import load_class_mapping
from common.metrics import squared_error_loss
from common.models import Classifier, CNNBackbone
from common.training import BestEpoch, evaluate, train_epoch


class Items(torch.utils.data.Dataset):
    """Five clips of two frames whose single feature is their number."""

    def __len__(self):
        return 5

    def __getitem__(self, item):
        return np.full((2, 1), item, dtype=np.float32), np.float32(item % 2), 2


class Constant(nn.Module):
    def __init__(self):
        super().__init__()
        self.value = nn.Parameter(torch.tensor(0.25))

    def forward(self, x, lengths):
        return self.value + 0 * x[:, 0, 0]


@pytest.mark.parametrize("batch_size", [1, 2, 3, 5, 9])
def test_mean_losses_count_every_clip_once(batch_size):
    expected = np.mean([(0.25 - item % 2) ** 2 for item in range(5)])
    loader, model = make_loader(Items(), batch_size), Constant()
    assert evaluate(model, loader, nn.MSELoss()).loss == pytest.approx(expected)
    assert train_epoch(model, loader, nn.MSELoss(), torch.optim.SGD(model.parameters(), lr=0.0)) == pytest.approx(
        expected
    )


class Classes(Items):
    def __getitem__(self, item):
        return np.full((2, 3), item, dtype=np.float32), item % 3, 2


class Linear(nn.Linear):
    def forward(self, x, lengths):
        return super().forward(x[:, 0])


def losses(loss_function, batch_size, model, items):
    """Of one pass: (train_epoch's, evaluate's)."""
    loader, optimizer = make_loader(items(), batch_size), torch.optim.SGD(model.parameters(), lr=0.0)
    return train_epoch(model, loader, loss_function, optimizer), evaluate(model, loader, loss_function).loss


@pytest.mark.parametrize("batch_size", [1, 2, 4, 5])
def test_a_weighted_cross_entropy_is_averaged_by_the_clips_weights(batch_size):
    torch.manual_seed(0)
    model, weight = Linear(3, 3), torch.tensor([0.2, 1.0, 5.0])
    with torch.no_grad():
        chances = torch.stack([model(torch.full((1, 1, 3), float(k)), None)[0].log_softmax(0)[k % 3] for k in range(5)])
    weights = weight[[k % 3 for k in range(5)]]
    expected = -(chances * weights).sum().item() / weights.sum().item()
    assert losses(nn.CrossEntropyLoss(weight), batch_size, model, Classes) == pytest.approx((expected, expected))
    log_softmax = nn.Sequential(model)
    log_softmax.forward = lambda x, lengths: model(x, lengths).log_softmax(1)
    assert losses(nn.NLLLoss(weight), batch_size, log_softmax, Classes) == pytest.approx((expected, expected))


@pytest.mark.parametrize(
    ("loss_function", "words"),
    [
        (nn.CrossEntropyLoss(reduction="sum"), "a sum"),
        (nn.CrossEntropyLoss(reduction="none"), "a number for each clip"),
        (partial(nn.functional.cross_entropy, reduction="sum"), "a sum"),
        (lambda outputs, y: nn.functional.cross_entropy(outputs, y, reduction="none"), "a number for each clip"),
        (lambda outputs, y: torch.stack([outputs.logsumexp(1).mean(), outputs.abs().sum()]), "a sum"),
        (nn.CrossEntropyLoss(torch.tensor([1.0, 2.0, 3.0]), reduction="sum"), "a sum"),
    ],
)
def test_a_loss_that_is_no_mean_is_refused_before_it_trains(loss_function, words):
    model = Linear(3, 3)
    before, optimizer = model.weight.clone(), torch.optim.Adam(model.parameters())
    for batch_size in (1, 5):
        loader = make_loader(Classes(), batch_size)
        for use in (train_epoch, overfit_batch):
            with pytest.raises(LabError, match=f"mean over the clips was expected, this one returns {words}"):
                use(model, loader, loss_function, optimizer)
        with pytest.raises(LabError, match=words):
            evaluate(model, loader, loss_function)
    assert torch.equal(model.weight, before)


@pytest.mark.parametrize(
    "loss_function",
    [
        nn.CrossEntropyLoss(label_smoothing=0.1),
        nn.CrossEntropyLoss(torch.tensor([0.0, 2.0, 3.0])),
        nn.MultiMarginLoss(),
        squared_error_loss,
        lambda outputs, y: torch.stack([nn.functional.cross_entropy(outputs, y), outputs.mean(), outputs.mean() * 0]),
    ],
)
def test_losses_that_are_means_are_taken(loss_function):
    for found in losses(loss_function, 5, Linear(3, 3), Classes):
        assert np.isfinite(found).all()


def test_evaluation_keeps_the_order_and_leaves_the_model_alone(tiny_data):
    train, _ = genre_splits(tiny_data / "fma_genre_spectrograms", load_class_mapping(tiny_data), "mel")
    model = Classifier(CNNBackbone(channels=(2, 2, 2, 2)), 2)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    one, other = (evaluate(model, make_loader(train, size), nn.CrossEntropyLoss()) for size in (5, 24))
    assert one.targets.tolist() == train.labels.tolist() == other.targets.tolist()
    torch.testing.assert_close(one.outputs, other.outputs)
    assert one.loss == pytest.approx(other.loss)
    torch.testing.assert_close(dict(model.state_dict()), before, rtol=0, atol=0)
    assert not one.outputs.requires_grad


def test_training_sets_train_mode_again_after_evaluation():
    model, loader = nn.ModuleDict({"drop": nn.Dropout()}), make_loader(Items(), 2)
    model.forward = lambda x, lengths: x[:, 0, 0]
    evaluate(model, loader, nn.MSELoss())
    assert not model["drop"].training
    parameter = nn.Parameter(torch.zeros(1))
    model.forward = lambda x, lengths: x[:, 0, 0] + parameter
    train_epoch(model, loader, nn.MSELoss(), torch.optim.SGD([parameter], lr=0.1))
    assert model["drop"].training


def test_the_best_epoch_is_kept_by_value_and_nan_never_wins():
    model = Constant()
    best = BestEpoch(model)
    for epoch, (value, score) in enumerate(
        [(1.0, math.nan), (2.0, 0.5), (3.0, 0.4), (4.0, 0.5), (5.0, math.nan), (6.0, 0.45)]
    ):
        with torch.no_grad():
            model.value.fill_(value)
        assert best.update(epoch, score, model) == (epoch == 1)
    assert best.epoch == 1
    best.restore(model)
    assert model.value.item() == 2.0


def test_a_second_number_decides_between_equal_scores():
    best, model = BestEpoch(Constant()), Constant()
    assert [best.update(epoch, score, model) for epoch, score in enumerate([(0.5, -2.0), (0.5, -1.0), (0.4, 0.0), (0.5, math.nan)])] == [
        True, True, False, False,
    ]  # fmt: skip


def test_without_a_single_epoch_the_weights_stay_as_they_came():
    model = Constant()
    BestEpoch(model).restore(model)
    assert model.value.item() == 0.25


@pytest.mark.parametrize(("rate", "answer"), [(1.0, "learns"), (1e-3, "stuck"), (0.25, "slow"), (300.0, "diverges")])
def test_the_sanity_check_on_one_batch(rate, answer, capsys):
    class Line(nn.Module):
        def __init__(self):
            super().__init__()
            self.weight = nn.Parameter(torch.zeros(1))

        def forward(self, x, lengths):
            return self.weight * x[:, 0, 0]

    class Doubles(Items):
        def __getitem__(self, item):
            return np.full((2, 1), 1, dtype=np.float32), np.float32(2), 2

    model = Line()
    found = overfit_batch(
        model, make_loader(Doubles(), 5), nn.MSELoss(), torch.optim.SGD(model.parameters(), lr=rate), steps=40
    )
    assert found["overfit"] == answer
    left = found["loss"] / 4 if math.isfinite(found["loss"] or math.nan) else math.inf  # 4: the loss of the first step
    assert answer == ("learns" if left < 1 / 30 else "slow" if left <= 0.8 else "stuck" if left < 2 else "diverges")
    assert f"sanity check: {answer}" in capsys.readouterr().out


@pytest.mark.parametrize("loss_function", [nn.CrossEntropyLoss(), squared_error_loss, nn.MSELoss()])
def test_no_constant_answer_loses_less_than_the_constant(loss_function):
    values, names = torch.tensor([0.1, 0.2, 0.7, 0.4, 0.1]), torch.tensor([0, 0, 1, 0, 2])
    y = values if isinstance(loss_function, nn.MSELoss) else names
    shape = (5,) if y.is_floating_point() else (5, 4)
    least = constant_loss(loss_function, torch.zeros(shape), y)
    for seed in range(50):
        other = torch.randn(shape[1:], generator=torch.Generator().manual_seed(seed))
        assert loss_function(other.expand(shape), y) >= least


def test_the_check_of_one_batch_leaves_weight_decay_and_tiny_rates_out():
    model = Constant()
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-6, weight_decay=0.1)
    overfit_batch(model, make_loader(Items(), 5), nn.MSELoss(), optimizer, steps=1)
    (group,) = optimizer.param_groups
    assert (group["lr"], group["weight_decay"]) == (1e-3, 0.0)


def test_a_loss_that_is_not_finite_stops_with_its_clips_named(tiny_data):
    train, _ = genre_splits(tiny_data / "fma_genre_spectrograms", load_class_mapping(tiny_data), "mel")
    model = Classifier(CNNBackbone(channels=(2, 2)), 2)
    with torch.no_grad():
        model.head.bias[0] = math.nan
    with pytest.raises(
        LabError, match=f"nan at step 0 of the epoch, with the clips {train.ids[0]}, {train.ids[1]}; a lower --lr"
    ):
        train_epoch(model, make_loader(train, 2), nn.CrossEntropyLoss(), torch.optim.Adam(model.parameters()))


def test_epochs_of_which_none_is_finite_in_validation_have_no_best():
    best, model = BestEpoch(Constant()), Constant()
    best.update(0, (0.5, math.nan), model)
    with pytest.raises(LabError, match="none of 1 epochs"):
        best.restore(model)
