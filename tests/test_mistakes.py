"""The 32 mistakes that solutions of the lab make, one test each, in the order of docs/mistakes.md.

A check takes an implementation and asserts. Ours has to pass it, and the mistake itself, written out in a few lines, has to fail it with
the words given, so that it fails for its own reason.
"""

import csv
import json
import math
import os
import warnings
from collections import Counter

import numpy as np
import pytest
import torch
from conftest import random_clip, write_tiny_data
from scipy.stats import pearsonr, rankdata
from torch import nn
from torch.utils.data import Dataset

import step5_lstm
import step8_regression
from common.checkpoints import Pretrained, copy_backbone, read_checkpoint
from common.dataset import SpectrogramDataset, clip_ids, clip_labels, emotion_slices, genre_sides, make_loader, torch_train_val_split
from common.labels import AXES, CLASS_MAPPING, LabelTransformer, clip_id, load_class_mapping, read_emotion_labels, read_genre_labels
from common.metrics import accuracy, classification_metrics, spearman, squared_error_loss
from common.models import Classifier, CNNBackbone, LSTMBackbone, MultitaskRegressor, Regressor, bidirectional_lstm, last_frame
from common.plots import new_figure
from common.run import Run
from common.spectrogram_plots import histograms_figure
from common.submission import write_submission
from common.training import BestEpoch, Evaluation, copy_weights, evaluate, overfit_batch, train_epoch
from common.transforms import PaddingTransform

LAB_GENRES = {  # training clips of each genre of the lab's set
    **dict.fromkeys(CLASS_MAPPING, 160), "Metal": 153, "Trip-Hop": 137, "Soundtrack": 124, "Post-Rock": 95,
}  # fmt: skip
LAB_EMOTIONS = {"valence": (0.578, 0.839, 0.587), "energy": (0.973, 0.782, 0.956), "danceability": (0.873, 0.655, 0.204)}  # first rows
LAB_ROWS = [f"{1004 + k},{','.join(map(str, row))}" for k, row in enumerate(zip(*LAB_EMOTIONS.values(), strict=True))]


def tell_apart(check, ours, *mistakes):
    """Ours passes the check; each of the mistakes, (words, implementation), fails it with an AssertionError that says these words."""
    check(ours)
    for words, mistaken in mistakes:
        with pytest.raises(AssertionError, match=words):
            check(mistaken)


class Clips(Dataset):
    """Clips (n, T, F) and their labels (n,), all of them full length."""

    def __init__(self, x, y):
        self.x, self.y = np.asarray(x, dtype=np.float32), np.asarray(y)

    def __len__(self):
        return len(self.x)

    def __getitem__(self, item):
        return self.x[item], self.y[item], len(self.x[item])


class FirstFrame(nn.Module):
    """A backbone whose summary of a clip is its first frame."""

    def __init__(self, n_features):
        super().__init__()
        self.feature_size = n_features

    def forward(self, x, lengths):
        return x[:, 0]


class Constant(nn.Module):
    """A model of one weight that says the same of every clip."""

    def __init__(self):
        super().__init__()
        self.value = nn.Parameter(torch.tensor(1.0))

    def forward(self, x, lengths):
        return self.value + 0 * x[:, 0, 0]


def with_head(model, weight):
    """The model with this weight (outputs, inputs) in its head and a bias of 0."""
    with torch.no_grad():
        model.head.weight.copy_(torch.as_tensor(weight))
        model.head.bias.zero_()
    return model


def numbers_loader(batch_size, values=(0.1, 0.9, 0.4, 0.7, 0.2), **options):
    """Clips of one feature whose label is that feature: whoever repeats it makes no error."""
    values = np.asarray(values, dtype=np.float32)
    return make_loader(Clips(np.repeat(values[:, None, None], 3, axis=1), values), batch_size, **options)


def noise(n_clips, n_frames, n_features, seed=0):
    return torch.randn(n_clips, n_frames, n_features, generator=torch.Generator().manual_seed(seed))


@pytest.fixture(autouse=True)
def same_weights_in_every_run():
    torch.manual_seed(0)


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return write_tiny_data(tmp_path_factory.mktemp("mistakes") / "data")


@pytest.fixture(scope="module")
def emotions(data):
    return SpectrogramDataset(data / "multitask_dataset_beat", axis="energy")


def write_genres(folder, sides):
    """A genre folder of the lab's form from {side: [(genre, frames)]}."""
    rng = np.random.default_rng(0)
    for number, (side, clips) in enumerate(sides.items()):
        (folder / side).mkdir(parents=True)
        lines = ["Id\tGenre"]
        for k, (genre, frames) in enumerate(clips):
            ident = 1000 * (number + 1) + k
            np.save(folder / side / f"{ident}.fused.full.npy", random_clip(rng, frames))
            lines.append(f"{ident}.fused.full.npy.gz\t{genre}")
        (folder / f"{side}_labels.txt").write_text("\n".join(lines) + "\n")
    return folder


@pytest.fixture
def lab_emotions(tmp_path):
    """A folder with the first rows of the lab's emotion labels."""
    (tmp_path / "multitask_dataset" / "train").mkdir(parents=True)
    for row in LAB_ROWS:
        np.save(tmp_path / "multitask_dataset" / "train" / f"{row.split(',')[0]}.fused.full.npy", np.zeros((140, 3)))
    (tmp_path / "multitask_dataset" / "train_labels.txt").write_text("\n".join(["Id,valence,energy,danceability", *LAB_ROWS]) + "\n")
    return tmp_path / "multitask_dataset"


def run_step8(data, out, *mode, **replaced):
    """Step 8's LSTM on energy with other functions in the place of the step's own; its run folder and its predictions."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Run, "save_figure", lambda *ignored: None)
        for name, value in replaced.items():
            patch.setattr(step8_regression, name, value)
        flags = ["--data", str(data), "--no-cache", "--out", str(out), "--no-baselines", "--model", "lstm", "--axis", "energy"]
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
        guess = evaluate(classifier(LSTMBackbone(12, 16), 10), make_loader(Clips(noise(20, 5, 12), np.arange(20) % 10), 8), loss_function)
        assert guess.loss == pytest.approx(math.log(10), abs=0.2), "a new network does not lose ln 10"
        certain = with_head(classifier(FirstFrame(10), 10), 20 * torch.eye(10))
        right = evaluate(certain, make_loader(Clips(np.eye(10)[:, None], np.arange(10)), 4), loss_function)
        assert right.loss < 0.01, "being right with certainty still costs"

    ours = step5_lstm.LOSSES[step5_lstm.parser().get_default("loss")]
    tell_apart(
        check,
        (Classifier, ours),
        ("does not lose ln 10", (Classifier, squared_error_loss)),
        ("still costs", (Softmaxed, nn.CrossEntropyLoss())),
    )


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
        weights, facts = read_checkpoint(folder / "best.pt")
        kept = round(10 * weights["head.bias"].item())
        assert kept == facts["epoch"]
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
        for epoch, loss in enumerate([1.0, 0.5, 0.9, 0.6, 0.8, 0.55]):  # zigzag: every second epoch beats the one before it
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


def test_07_batch_norm_that_is_made_in_forward_or_keeps_no_statistics():
    class MadeInForward(CNNBackbone):
        def __init__(self, *options, **more):
            super().__init__(*options, **more)
            for stage in self.stages:
                stage[1] = nn.Identity()

        def forward(self, x, lengths):
            x = x.unsqueeze(1)
            for conv, _, pool, relu in self.stages:
                x = conv(x)
                x = relu(pool(nn.BatchNorm2d(x.shape[1])(x)))
            return x.mean(dim=2).flatten(1)

    class Untracked(CNNBackbone):
        def __init__(self, *options, **more):
            super().__init__(*options, **more)
            for number, (conv, norm, pool, relu) in enumerate(self.stages):
                self.stages[number] = nn.Sequential(conv, nn.BatchNorm2d(norm.num_features, track_running_stats=False), pool, relu)

    def check_mates(backbone):
        model = backbone(channels=(2, 2)).eval()
        x, lengths = noise(3, 8, 128), torch.full((3,), 8)
        alone, together = model(x[:1], lengths[:1]), model(x, lengths)[:1]
        assert torch.allclose(alone, together, atol=1e-5), "a clip's result depends on the others of its batch"

    def check_saved(backbone):
        saved = [name for name in backbone(channels=(2, 2)).state_dict() if name.endswith("running_var")]
        assert len(saved) == 2, "its statistics are not in the state dict"

    for check, words in ((check_mates, "depends on the others"), (check_saved, "not in the state dict")):
        tell_apart(check, CNNBackbone, (words, MadeInForward), (words, Untracked))


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
    def backbone_keys_into_a_bare_backbone(pretrained, model):
        model.backbone.load_state_dict(pretrained.weights, strict=False)  # every key begins with "backbone.", so none fits

    def into_a_model_of_its_own(pretrained, model):
        model = Regressor(CNNBackbone(channels=(2, 2)))
        copy_backbone(pretrained, model)

    def check(transfer):
        classifier, model = Classifier(CNNBackbone(channels=(2, 2)), 5), Regressor(CNNBackbone(channels=(2, 2)))
        head = model.head.weight.clone()
        transfer(Pretrained(copy_weights(classifier), []), model)
        for name, tensor in classifier.backbone.state_dict().items():
            assert torch.equal(model.backbone.state_dict()[name], tensor), f"{name} is not the pretrained one"
        assert torch.equal(model.head.weight, head)

    words = "stages.0.0.weight is not the pretrained one"
    tell_apart(check, copy_backbone, (words, backbone_keys_into_a_bare_backbone), (words, into_a_model_of_its_own))


def test_10_ten_class_head_kept_for_regression():
    class Argmax(Classifier):
        def forward(self, x, lengths):
            return super().forward(x, lengths).argmax(dim=1).float()

    class Largest(Classifier):
        def forward(self, x, lengths):
            return super().forward(x, lengths).max(dim=1).values

    def check(regressor):
        model, lengths = regressor(FirstFrame(4)), torch.full((8,), 3)
        one, other = noise(8, 3, 4, seed=1), noise(8, 3, 4, seed=2)
        assert model(one, lengths).shape == (8,), "not one value for each clip"
        between = (model(one, lengths) + model(other, lengths)) / 2
        assert torch.allclose(model((one + other) / 2, lengths), between, atol=1e-5), "the value is picked from several outputs"

    tell_apart(
        check,
        Regressor,
        ("not one value for each clip", lambda backbone: Classifier(backbone, 10)),
        ("picked from several", lambda backbone: Argmax(backbone, 10)),
        ("picked from several", lambda backbone: Largest(backbone, 10)),
    )


def test_11_test_set_opened_with_train_true(data):
    folder, table = data / "fma_genre_spectrograms_beat", load_class_mapping(data)

    def check(open_test_side):
        test = open_test_side()
        classes = test.label_transformer.classes_
        metrics = classification_metrics(clip_labels(test), clip_labels(test), classes)
        support = {name: row["support"] for name, row in metrics["classes"].items()}
        assert support == {"Rock": 6, "Ελληνικά": 6}, "the support is not the test side's"
        assert not set(test.ids) & set(SpectrogramDataset(folder, table, train=True).ids)

    tell_apart(
        check,
        lambda: genre_sides(folder, table, "mel")[1],
        ("support is not the test side's", lambda: SpectrogramDataset(folder, table, train=True, features="mel")),
    )


def test_12_slices_drawn_from_all_clips_overlap(emotions):
    def validation_from_all(dataset):
        _, test = torch_train_val_split(dataset, 4, 4, 0.2, seed=0)
        return *torch_train_val_split(dataset, 4, 4, 0.33, seed=0), test

    def test_on_all(dataset):
        return *torch_train_val_split(dataset, 4, 4, 0.33, seed=0), make_loader(dataset, 4)

    def check(slices):
        counts = Counter(ident for loader in slices(emotions) for ident in clip_ids(loader.dataset))
        assert set(counts) == set(emotions.ids)
        assert set(counts.values()) == {1}, "clips stand in two slices"

    words = "clips stand in two slices"
    tell_apart(check, lambda dataset: emotion_slices(dataset, 4, seed=0), (words, validation_from_all), (words, test_on_all))


def test_13_clips_that_picked_the_epoch_reported_as_test(data, tmp_path):
    def validation_twice(*options, **more):
        train, val, _ = emotion_slices(*options, **more)
        return train, val, val

    def check(slices):
        folder, rows = run_step8(data, tmp_path, emotion_slices=slices)
        seen = read_checkpoint(folder / "best.pt")[1]["seen"]
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


def test_15_class_names_in_the_order_of_a_set():
    labels = [name for k, name in enumerate(sorted(set(CLASS_MAPPING.values()) - {None})) for _ in range(k + 1)]

    def check(names_of):
        transformer = LabelTransformer().fit(labels)
        numbers, names = transformer.transform(labels), names_of(labels, transformer)
        metrics = classification_metrics(numbers, numbers, names)
        support = {name: row["support"] for name, row in metrics["classes"].items()}
        assert support == Counter(labels), "names stand at other classes' rows"

    tell_apart(check, lambda labels, transformer: transformer.classes_, ("other classes' rows", lambda labels, _: list(set(labels))))


def test_16_true_and_predicted_swapped_in_the_report():
    def swapped(true, predicted, classes):
        return classification_metrics(predicted, true, classes)

    def check(metrics_of):
        true, predicted = [0, 0, 0, 1, 1, 2], [0, 0, 1, 1, 0, 0]
        metrics = metrics_of(true, predicted, ["a", "b", "c"])
        assert [row["support"] for row in metrics["classes"].values()] == [3, 2, 1], "support does not count the true labels"
        assert [sum(row) for row in metrics["confusion"]] == [3, 2, 1]

    tell_apart(check, classification_metrics, ("does not count the true labels", swapped))


def test_17_axis_off_by_one(lab_emotions):
    def column(index_of):
        return lambda axis: [float(row.split(",")[index_of(axis)]) for row in LAB_ROWS]  # id, valence, energy, danceability

    def check(labels_of):
        for axis, values in LAB_EMOTIONS.items():
            assert labels_of(axis) == pytest.approx(values), f"{axis} is another column"

    tell_apart(
        check,
        lambda axis: SpectrogramDataset(lab_emotions, axis=axis).labels.tolist(),
        ("valence is another column", column(AXES.index)),
        ("danceability is another column", column({"valence": 1, "energy": 2, "danceability": 2}.get)),
    )


def test_18_one_list_of_labels_shared_by_three_datasets(lab_emotions):
    def shared():
        labels, datasets = [], {}
        for axis, values in LAB_EMOTIONS.items():
            labels[:] = values
            datasets[axis] = labels
        return datasets

    def check(label_vectors):
        found = {tuple(round(float(label), 3) for label in labels) for labels in label_vectors().values()}
        assert len(found) == 3, "axes have the same labels"
        assert found == set(LAB_EMOTIONS.values())

    def ours():
        return {axis: SpectrogramDataset(lab_emotions, axis=axis).labels for axis in AXES}

    tell_apart(check, ours, ("axes have the same labels", shared))


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


def test_21_second_direction_asked_for_but_not_there():
    class FlagForTheHeadAlone(LSTMBackbone):
        def __init__(self, input_dim, rnn_size, num_layers, bidirectional):
            super().__init__(input_dim, rnn_size, num_layers)
            self.feature_size = rnn_size * (2 if bidirectional else 1)

    class LastFrameOfBoth(LSTMBackbone):
        def forward(self, x, lengths):
            return last_frame(bidirectional_lstm(self.lstm, x, lengths), lengths)

    def check(backbone):
        model = backbone(3, 4, 1, bidirectional=True)
        assert "lstm.weight_ih_l0_reverse" in model.state_dict(), "the LSTM has one direction"
        x, lengths = noise(1, 6, 3), torch.tensor([6])
        other_end, other_start = x.clone(), x.clone()
        other_end[:, -1] += 1
        other_start[:, 0] += 1
        result = model(x, lengths)
        assert result.shape == (1, model.feature_size) == (1, 8)
        assert not torch.allclose(result[:, :4], model(other_end, lengths)[:, :4])
        assert not torch.allclose(result[:, 4:], model(other_start, lengths)[:, 4:]), "backwards it has not read the clip"

    tell_apart(check, LSTMBackbone, ("has one direction", FlagForTheHeadAlone), ("has not read the clip", LastFrameOfBoth))


def test_22_batch_first_left_out():
    class TimeFirst(LSTMBackbone):
        def __init__(self, input_dim, rnn_size):
            super().__init__(input_dim, rnn_size)
            self.lstm = nn.LSTM(input_dim, rnn_size)

    def check(backbone):
        model, x, lengths = backbone(3, 4), noise(5, 6, 3), torch.tensor([6, 4, 5, 3, 6])
        order = torch.tensor([3, 0, 4, 1, 2])
        result, permuted = model(x, lengths), model(x[order], lengths[order])
        assert torch.allclose(result[order], permuted, atol=1e-6), "a clip's result depends on its place in the batch"

    tell_apart(check, LSTMBackbone, ("depends on its place", TimeFirst))


def test_23_last_step_read_in_the_padding_or_among_the_logits():
    class PaddedEnd(LSTMBackbone):
        def forward(self, x, lengths):
            return self.lstm(x)[0][:, -1]

    class BackwardStateAtTheLastFrame(LSTMBackbone):
        def forward(self, x, lengths):
            return last_frame(self.lstm(x)[0], lengths)

    class HalvesOfTheLogits(nn.Module):
        def __init__(self, backbone, num_classes):
            super().__init__()
            self.backbone, self.head, self.half = backbone, nn.Linear(backbone.feature_size, num_classes), num_classes // 2

        def forward(self, x, lengths):
            logits = self.head(bidirectional_lstm(self.backbone.lstm, x, lengths))  # (B, T, classes), then the helper meant for states
            return torch.cat([last_frame(logits[:, :, : self.half], lengths), logits[:, 0, self.half :]], dim=1)

    def check_padding(backbone):
        for bidirectional in (False, True):
            model, x, lengths = backbone(3, 4, 1, bidirectional), noise(2, 6, 3), torch.tensor([6, 4])
            x[1, 4:] = 0
            longer = model(nn.functional.pad(x, (0, 0, 0, 20)), lengths)
            assert torch.allclose(model(x, lengths), longer, atol=1e-6), f"padding changes the result, two directions: {bidirectional}"

    def check_numbering(classifier):
        model, x, lengths = classifier(LSTMBackbone(3, 4, bidirectional=True), 10), noise(2, 6, 3), torch.tensor([6, 4])
        backwards = torch.arange(9, -1, -1)
        before = model(x, lengths)
        with torch.no_grad():
            model.head.weight.copy_(model.head.weight[backwards].clone())
            model.head.bias.copy_(model.head.bias[backwards].clone())
        assert torch.allclose(model(x, lengths), before[:, backwards], atol=1e-6), "classes are read at different frames"

    tell_apart(
        check_padding,
        LSTMBackbone,
        ("two directions: False", PaddedEnd),
        ("two directions: True", BackwardStateAtTheLastFrame),
    )
    tell_apart(check_numbering, Classifier, ("read at different frames", HalvesOfTheLogits))


def test_24_clips_cut_short_padded_with_the_loudest_value_or_of_another_length_in_test(tmp_path):
    class ZerosWhateverIsAsked(PaddingTransform):
        def __call__(self, features):
            missing = self.max_length - len(features)
            return np.vstack([features, np.zeros((missing, features.shape[1]), dtype=np.float32)])

    class SeesPadding(CNNBackbone):
        def forward(self, x, lengths):
            return super().forward(x, torch.full_like(lengths, x.shape[1]))

    folder = write_genres(tmp_path / "genres", {"train": [("Rock", 200), ("Blues", 160)], "test": [("Rock", 90), ("Blues", 120)]})

    def open_both(**options):
        train = SpectrogramDataset(folder, CLASS_MAPPING, **options)
        return train, SpectrogramDataset(folder, CLASS_MAPPING, train=False, **options)

    def check_length(sides):
        train, test = sides()
        assert train[0][0].shape[0] == train[0][2] == 200, "frames are cut off"
        assert test[0][0].shape == train[0][0].shape, "the test side has a length of its own"

    def check_value(padding):
        padded = padding(5, -80)(np.full((3, 128), -10, dtype=np.float32))
        assert np.array_equal(padded[3:], np.full((2, 128), -80)), "the padding is not silence"

    def check_network(backbone):
        model, x, lengths = backbone(channels=(2, 2)).eval(), 10 * noise(2, 12, 128) - 45, torch.tensor([12, 12])
        longer = model(nn.functional.pad(x, (0, 0, 0, 20)), lengths)
        assert torch.allclose(model(x, lengths), longer, atol=1e-4), "the network has seen the padding"

    tell_apart(
        check_length,
        lambda: genre_sides(folder, CLASS_MAPPING, "mel"),
        ("frames are cut off", lambda: open_both(max_length=150)),
        ("a length of its own", open_both),
    )
    tell_apart(check_value, PaddingTransform, ("the padding is not silence", ZerosWhateverIsAsked))
    tell_apart(check_network, CNNBackbone, ("has seen the padding", SeesPadding))


def test_25_bare_squeeze_with_a_last_batch_of_one():
    class Squeezed(Regressor):
        def forward(self, x, lengths):
            return self.head(self.backbone(x, lengths)).squeeze()

    class SqueezedLast(LSTMBackbone):
        def forward(self, x, lengths):
            index = (lengths - 1)[:, None, None].expand(-1, 1, self.feature_size)
            return self.lstm(x)[0].gather(1, index).squeeze()

    def check(implementation):
        backbone, regressor = implementation
        summarised = backbone(3, 4)
        for x, _, lengths in make_loader(Clips(noise(5, 6, 3), np.zeros(5, dtype=np.float32)), 2):
            assert summarised(x, lengths).shape == (len(x), 4), f"a batch of {len(x)} has lost its batch axis in the backbone"
            assert regressor(summarised)(x, lengths).shape == (len(x),), f"a batch of {len(x)} has lost its batch axis in the head"

    tell_apart(
        check,
        (LSTMBackbone, Regressor),
        ("a batch of 1 has lost its batch axis in the backbone", (SqueezedLast, Regressor)),
        ("a batch of 1 has lost its batch axis in the head", (LSTMBackbone, Squeezed)),
    )


def test_26_edits_in_place_reach_the_stored_clip(data):
    class Returned(PaddingTransform):
        def __call__(self, features):
            return features if len(features) == self.max_length else super().__call__(features)

    def check(padding):
        dataset = SpectrogramDataset(data / "fma_genre_spectrograms_beat", load_class_mapping(data), features="mel")
        dataset.zero_pad = padding(dataset.max_length)
        longest = int(np.argmax(dataset.lengths))
        features = dataset[longest][0]
        before = features.copy()
        features -= features.mean()
        assert np.array_equal(dataset[longest][0], before), "the second reading differs from the first"

    tell_apart(check, PaddingTransform, ("second reading differs", Returned))


def test_27_as_many_classes_as_the_table_has_genres(tmp_path):
    folder = write_genres(tmp_path / "genres", {"train": [(genre, 3) for genre in CLASS_MAPPING]})
    dataset = SpectrogramDataset(folder, CLASS_MAPPING)

    def check(number_of_classes):
        number = number_of_classes(dataset)
        assert set(range(number)) == set(dataset.labels.tolist()), f"{number} classes, some of them without a clip"
        assert number == 10

    tell_apart(check, lambda dataset: len(dataset.label_transformer.classes_), ("20 classes, some", lambda dataset: len(CLASS_MAPPING)))


def test_28_histogram_with_default_bins():
    numbers = np.repeat(range(20), [LAB_GENRES[genre] for genre in sorted(LAB_GENRES)])

    def ours():
        return [bar.get_width() for bar in histograms_figure(LAB_GENRES, CLASS_MAPPING).axes[0].patches]

    def ten_bins():
        _, ((ax,),) = new_figure(6, 4)
        return ax.hist(numbers)[0].tolist()

    def check(heights):
        assert heights() == [LAB_GENRES[genre] for genre in sorted(LAB_GENRES)], "the bars are not the genres' counts"

    tell_apart(check, ours, ("not the genres' counts", ten_bins))


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
        names = sorted(os.listdir(data / "multitask_dataset_beat" / "test"), reverse=True)  # os.listdir promises no order
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


def test_30_label_files_split_at_the_wrong_sign_or_read_with_their_header(lab_emotions, tmp_path):
    genres = tmp_path / "train_labels.txt"
    genres.write_text("Id\tGenre\n1042.fused.full.npy.gz\tBlues\n14780.beatsync.fused.npy\tElectronic\n123.full.fused.npy.gz\tRock\n")
    emotions = lab_emotions / "train_labels.txt"

    def at_tabs(path):
        return [(line.split("\t")[0], tuple(map(float, line.split("\t")[1:]))) for line in path.read_text().splitlines()[1:]]

    def with_header(path):
        return [(line.split("\t")[0].split(".")[0], line.split("\t")[1]) for line in path.read_text().splitlines()]

    def check_emotions(read):
        expected = [(str(1004 + k), values) for k, values in enumerate(zip(*LAB_EMOTIONS.values(), strict=True))]
        assert read(emotions) == expected, "the emotion rows are others"

    def check_genres(read):
        rows = read(genres)
        assert "Genre" not in {genre for _, genre in rows}, "the header is a genre"
        assert rows == [("1042", "Blues"), ("14780", "Electronic"), ("123", "Rock")]

    def check_id(id_of):
        assert id_of("1042.fused.full.npy.gz") == "1042"
        assert id_of("gaida7.fused.full.npy.gz") == "gaida7", "letters of the id are gone"

    tell_apart(check_emotions, lambda path: [row[:2] for row in read_emotion_labels(path)], ("rows are others", at_tabs))
    tell_apart(check_genres, lambda path: [row[:2] for row in read_genre_labels(path, CLASS_MAPPING)], ("header is a genre", with_header))
    tell_apart(check_id, clip_id, ("letters of the id are gone", lambda name: name.strip(".gz").split(".")[0]))


def test_31_float64_batches_or_a_model_in_double(emotions):
    class AsStored(SpectrogramDataset):
        def __getitem__(self, item):
            clip = np.load(self.files[item]).T
            return np.vstack([clip, np.zeros((self.max_length - len(clip), 140))]), self.labels[item], int(self.lengths[item])

    def check(implementation):
        dataset, model = implementation
        x, y, _ = next(iter(make_loader(dataset, 4)))
        assert x.dtype == y.dtype == torch.float32, f"batches are {x.dtype}"
        types = {parameter.dtype for parameter in model.parameters()}
        assert types == {torch.float32}, f"weights are {types}"

    folder = emotions.files[0].parent.parent
    tell_apart(
        check,
        (emotions, Regressor(LSTMBackbone(140, 4))),
        ("batches are torch.float64", (AsStored(folder, axis="energy"), Regressor(LSTMBackbone(140, 4)))),
        ("weights are .*float64", (emotions, Regressor(LSTMBackbone(140, 4)).double())),
    )


def test_32_figures_of_the_last_epoch_reported(data, tmp_path):
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
