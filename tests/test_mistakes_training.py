"""Mistakes in training: which epoch is kept, what still learns or never does, and which clips it is tried on."""

import csv
import json

import numpy as np
import pytest
import torch
from mistakes import Clips, Constant, noise, numbers_loader, tell_apart
from torch import nn

import step8_regression
from common.checkpoints import read_checkpoint
from common.checks import overfit_batch
from common.dataset import clip_ids, emotion_slices, make_loader
from common.models import Classifier, CNNBackbone, LSTMBackbone, Regressor
from common.run import Run
from common.training import BestEpoch, Evaluation, copy_weights, evaluate, train_epoch

pytestmark = pytest.mark.usefixtures("same_weights_in_every_run")


def run_step8(data, out, *mode, **replaced):
    """Step 8's LSTM on energy with other functions in the place of the step's own; its run folder and its predictions."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Run, "save_figure", lambda *ignored: None)
        for name, value in replaced.items():
            patch.setattr(step8_regression, name, value)
        flags = [
            "--data",
            str(data),
            "--no-cache",
            "--out",
            str(out),
            "--no-baselines",
            "--model",
            "lstm",
            "--axis",
            "energy",
        ]
        step8_regression.main([*flags, *(mode or ("--epochs", "6"))])
    folder = out / "step8_regression" / "lstm_energy_seed0"
    if mode:
        return folder, []
    with open(folder / "predictions.csv", encoding="utf-8", newline="") as file:
        return folder, list(csv.DictReader(file))


# a scripted training for step 8: epoch k leaves a network that says k / 10 of every clip, and these losses
TRAINING = (0.9, 0.8, 0.7, 0.6, 0.5, 0.4)
VALIDATION = (0.9, 0.5, 0.3, 0.6, 0.4, 0.8)


def scripted():
    epochs = iter(range(len(TRAINING)))

    def scripted_epoch(model, *ignored):
        epoch = next(epochs)
        with torch.no_grad():
            model.head.weight.zero_()
            model.head.bias.fill_(epoch / 10)
        return TRAINING[epoch]

    def scripted_evaluate(model, *others):
        return evaluate(model, *others)._replace(loss=VALIDATION[round(10 * model.head.bias.item())])

    return {"train_epoch": scripted_epoch, "evaluate": scripted_evaluate}


def test_03_best_weights_kept_by_reference():
    class Reference(BestEpoch):
        def update(self, epoch, score, model):
            better = super().update(epoch, score, model)
            if better:
                self.weights = model.state_dict()
            return better

    def check(keeper):
        model = Constant()
        best = keeper(model)
        best.update(0, 0.5, model)
        train_epoch(model, numbers_loader(2), nn.MSELoss(), torch.optim.SGD(model.parameters(), lr=0.1))
        assert model.value.item() != 1
        best.update(1, 0.4, model)
        best.restore(model)
        assert model.value.item() == 1, "the best weights have moved on"

    tell_apart(check, BestEpoch, ("have moved on", Reference))


def test_04_checkpoint_holds_another_epoch_than_the_best_in_validation(data, tmp_path):
    class LastOverwrites(BestEpoch):
        def update(self, epoch, score, model):
            super().update(epoch, score, model)
            self.epoch, self.weights = epoch, copy_weights(model)
            return True

    class BestNeverUpdated(BestEpoch):
        def update(self, epoch, score, model):
            found = super().update(epoch, score, model)
            self.first = getattr(self, "first", self.score)
            self.score = self.first
            return found

    class OnTrainingLoss(BestEpoch):
        def update(self, epoch, score, model):
            return super().update(epoch, -TRAINING[epoch], model)

    def check(keeper):
        folder, _ = run_step8(data, tmp_path, BestEpoch=keeper, **scripted())
        weights, metadata = read_checkpoint(folder / "best.pt")
        kept = round(10 * weights["head.bias"].item())
        assert kept == metadata["epoch"]
        assert kept == int(np.argmin(VALIDATION)), f"epoch {kept} was kept"

    lasting = len(VALIDATION) - 1
    wrong = [(f"epoch {lasting} was kept", mistake) for mistake in (LastOverwrites, BestNeverUpdated, OnTrainingLoss)]
    tell_apart(check, BestEpoch, *wrong)


def test_05_epochs_compared_with_the_one_before_in_place_of_the_best():
    class WithPrevious(BestEpoch):
        def update(self, epoch, score, model):
            better = super().update(epoch, score, model)
            self.score = (score,)
            return better

    def check(keeper):
        model = Constant()
        best = keeper(model)
        for epoch, loss in enumerate(
            [1.0, 0.5, 0.9, 0.6, 0.8, 0.55]
        ):  # zigzag: every second epoch beats the one before it
            best.update(epoch, -loss, model)
        assert best.epoch == 1, f"epoch {best.epoch} counts as the best"

    tell_apart(check, BestEpoch, ("epoch 5 counts as the best", WithPrevious))


def test_06_validation_in_training_mode():
    def without_eval(model, loader, loss_function):
        with torch.no_grad():
            outputs = [model(x, lengths) for x, _, lengths in loader]
        return Evaluation(0.0, torch.cat(outputs), None)

    def check_norm(evaluate):
        model = Classifier(CNNBackbone(channels=(2, 2)), 3).train()
        before = copy_weights(model)
        evaluate(model, make_loader(Clips(noise(7, 8, 128), np.zeros(7, dtype=int)), 3), nn.CrossEntropyLoss())
        moved = [name for name, tensor in copy_weights(model).items() if not torch.equal(tensor, before[name])]
        assert not moved, f"validation has moved {moved}"

    def check_dropout(evaluate):
        model = Classifier(LSTMBackbone(12, 8, 2, dropout=0.5), 3).train()
        loader = make_loader(Clips(noise(7, 8, 12), np.zeros(7, dtype=int)), 3)
        one, other = (evaluate(model, loader, nn.CrossEntropyLoss()).outputs for _ in range(2))
        assert torch.equal(one, other), "two evaluations differ"

    tell_apart(check_norm, evaluate, ("validation has moved .*running_mean", without_eval))
    tell_apart(check_dropout, evaluate, ("two evaluations differ", without_eval))


def test_08_frozen_backbone_whose_batch_norm_still_learns():
    def all_in_train_mode(model, loader, loss_function, optimizer):
        model.train()
        for x, y, lengths in loader:
            optimizer.zero_grad()
            loss_function(model(x, lengths), y).backward()
            optimizer.step()

    def check(train_epoch):
        model = Regressor(CNNBackbone(channels=(2, 2)))
        model.backbone.requires_grad_(False)
        before = copy_weights(model)
        loader = make_loader(Clips(noise(6, 8, 128), np.ones(6, dtype=np.float32)), 3)
        train_epoch(model, loader, nn.MSELoss(), torch.optim.SGD([model.head.weight], lr=0.1))
        changed = {name for name, tensor in copy_weights(model).items() if not torch.equal(tensor, before[name])}
        assert "head.weight" in changed
        assert changed == {"head.weight"}, f"the frozen part has changed: {sorted(changed)}"

    tell_apart(check, train_epoch, ("the frozen part has changed: .*running_mean", all_in_train_mode))


def test_09_transfer_that_transfers_nothing():
    def backbone_keys_into_a_bare_backbone(weights, model):
        model.backbone.load_state_dict(weights, strict=False)  # every key begins with "backbone.", so none fits

    def below_the_head(weights, model):  # as step 9 does it
        given = {name: tensor for name, tensor in weights.items() if name.startswith("backbone.")}
        model.backbone.load_state_dict({name.removeprefix("backbone."): tensor for name, tensor in given.items()})

    def into_a_model_of_its_own(weights, model):
        below_the_head(weights, Regressor(CNNBackbone(channels=(2, 2))))

    def check(transfer):
        classifier, model = Classifier(CNNBackbone(channels=(2, 2)), 5), Regressor(CNNBackbone(channels=(2, 2)))
        head = model.head.weight.clone()
        transfer(copy_weights(classifier), model)
        for name, tensor in classifier.backbone.state_dict().items():
            assert torch.equal(model.backbone.state_dict()[name], tensor), f"{name} is not the pretrained one"
        assert torch.equal(model.head.weight, head)

    words = "stages.0.0.weight is not the pretrained one"
    tell_apart(check, below_the_head, (words, backbone_keys_into_a_bare_backbone), (words, into_a_model_of_its_own))


def test_13_clips_that_picked_the_epoch_reported_as_test(data, tmp_path):
    def validation_twice(*options, **more):
        train, val, _ = emotion_slices(*options, **more)
        return train, val, val

    def check(slices):
        folder, rows = run_step8(data, tmp_path, emotion_slices=slices)
        seen = read_checkpoint(folder / "best.pt")[1]["train_ids"]
        assert len(seen) == len(set(seen)) > len(rows) > 0
        assert not set(seen) & {row["id"] for row in rows}, "reported clips have picked the epoch"

    tell_apart(check, emotion_slices, ("have picked the epoch", validation_twice))


def test_14_overfit_check_on_a_new_batch_each_step_or_on_test_clips(data, tmp_path, emotions):
    class Noting(nn.Module):
        def __init__(self):
            super().__init__()
            self.weight, self.batches = nn.Parameter(torch.zeros(1)), set()

        def forward(self, x, lengths):
            self.batches.add(tuple(sorted(x[:, 0, 0].tolist())))
            return self.weight * x[:, 0, 0]

    def another_batch_each_step(model, loader, loss_function, optimizer):
        for _ in range(50):
            x, y, lengths = next(iter(loader))
            loss = loss_function(model(x, lengths), y)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        return {"loss": loss.item()}

    def check(overfit):
        model = Noting()
        loader = numbers_loader(2, shuffle=True, seed=0)
        found = overfit(model, loader, nn.MSELoss(), torch.optim.SGD(model.parameters(), lr=0.5))
        assert found["loss"] < 0.02
        assert len(model.batches) == 1, "more than one batch was trained on"

    def test_first(*options, **more):
        train, val, test = emotion_slices(*options, **more)
        return test, val, train

    def check_side(slices):
        used = []

        def noting(model, loader, *others):
            used.extend(clip_ids(loader.dataset))
            return {"overfit": "learns", "loss": 0.0}

        run_step8(data, tmp_path, "--overfit-batch", emotion_slices=slices, overfit_batch=noting)
        test_ids = clip_ids(emotion_slices(emotions, 32, seed=0)[2].dataset)
        assert used
        assert not set(used) & set(test_ids), "the batch is of the test slice"

    tell_apart(check, overfit_batch, ("more than one batch", another_batch_each_step))
    tell_apart(check_side, emotion_slices, ("of the test slice", test_first))


def test_32_scores_of_the_last_epoch_reported(data, tmp_path):
    class NotRestored(BestEpoch):
        def restore(self, model):
            pass

    def check(keeper):
        folder, rows = run_step8(data, tmp_path, BestEpoch=keeper, **scripted())
        said = {round(float(row["predicted"]), 6) for row in rows}
        assert said == {np.argmin(VALIDATION) / 10}, f"the predictions are those of another epoch: {said}"
        expected = np.mean([(float(row["true"]) - float(row["predicted"])) ** 2 for row in rows])
        reported = json.loads((folder / "metrics.json").read_text(encoding="utf-8"))["metrics"]["mse"]
        assert reported == pytest.approx(expected, rel=1e-4)

    tell_apart(check, BestEpoch, ("those of another epoch: {0.5}", NotRestored))
