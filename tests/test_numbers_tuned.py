"""Every number of compete.py, recomputed: networks, their ensemble, kernel ridge and extra trees, the submission."""

import csv
import re
import shutil
from typing import NamedTuple

import numpy as np
import pytest
import torch
from by_hand import emotion_split, read_weights
from by_hand_tuned import (
    TunedCNN,
    TunedLSTM,
    axis_values,
    class_probabilities,
    cut,
    emotion_loss,
    emotion_network,
    long_clips,
    long_genre_clips,
    longest,
    mean_and_std_of,
    restored,
    saved_value,
    smoothed_cross_entropy,
    train_tuned,
    tuned_network,
)
from runs import REPOSITORY, numbers, predictions, read_json, shared_run
from scipy.special import log_softmax, softmax
from scipy.stats import spearmanr
from sklearn import metrics as sk
from small_data import AXES, CLASSES, EMOTIONS, GENRES, write_clips
from warm import warm_script

BATCH, SEED, EPOCHS, LEFT = 16, 1, 3, 35  # LEFT: frames of the longest training clip after averaging, about
LONG_LEFT, OTHERS, CORRELATION = 21, 0.3, 0.7
# (flags, other numbers in the recipe: for smaller networks, and so that a number that is not used is noticed)
CNN_RUN = (["genres", "--epochs", EPOCHS], {"frames": LONG_LEFT})
LSTM_CHANGES = {"weight_decay": 200.0, "dropout": 0.3, "label_smoothing": 0.05, "subtract_mean": 0.5, "networks": 1}
LSTM_RUN = (["genres", "--network", "lstm"], {**LSTM_CHANGES, "lstm_frames": LEFT})
AXES_CHANGES = {"kernel_and_trees": OTHERS, "correlation_weight": CORRELATION, "frames": LONG_LEFT}
AXES_RUN = (["emotions", "--epochs", 2, "--lr", 2e-3, "--members", "networks"], AXES_CHANGES)
WITH_CHANGES = """import runpy, sys
sys.path.insert(0, {repository!r})
from extras.tuned.train import RECIPE
RECIPE.update({changes!r})
runpy.run_path({repository!r} + "/compete.py", run_name="__main__")
"""
EPOCH = re.compile(r"epoch : (\d+) ,training loss = (\S+)")
BY_NETWORKS = "predictions_networks.csv"  # predictions.csv is of networks, kernel ridge and trees together
SUFFIX = ".fused.full.npy.gz"  # of an id in a submission
# Relative, epoch by epoch: the CPU's fast stage adds in another order, and Adam amplifies that
LOSSES = (2e-3, 1e-2, 2e-2)
LSTM_LOSSES = (1e-3, 2e-3, 4e-3, 5e-3, 5e-3, 5e-3)


@pytest.fixture(scope="session")
def run(shared_folder, small):
    """run((flags, changes), {(folder, split): clips that replace the small data's}, submit) -> Done, run once."""

    def run(command, other_clips=None, submit=False):
        def make(folder):
            data = shutil.copytree(small.path, folder / "data")
            for path, clips in (other_clips or {}).items():
                shutil.rmtree(data.joinpath(*path))
                write_clips(data.joinpath(*path), clips)
            flags = [
                "--data",
                data,
                "--cache",
                folder / "cache",
                "--out",
                folder / "runs",
                "--no-baselines",
                *command[0],
            ]
            flags += ["--seed", SEED, "--batch-size", BATCH]
            flags += ["--submit", folder / "submission.csv"] if submit else []
            script = folder / "compete_with_changes.py"
            script.write_text(WITH_CHANGES.format(repository=str(REPOSITORY), changes=command[1]), encoding="utf-8")
            return warm_script(script, *flags, root=folder / "runs")

        return shared_run(shared_folder, "tuned_" + "_".join(map(str, command[0][:3])), make)

    return run


def folder_of(done):
    (folder,) = done.root.glob("compete/*/")
    return folder


def losses(done):
    """[training loss of each epoch] of each network, in order, as the log has them."""
    found = []
    for epoch, loss in EPOCH.findall(done.out):
        found += [[]] if epoch == "0" else []
        assert len(found[-1]) == int(epoch)
        found[-1].append(float(loss))
    return found


def check_training(
    printed, model, seed, frames, ids, targets, loss_function, epochs, features="mel", tolerances=LOSSES, **choices
):
    """The losses of the first epochs, by a network trained here from the same seed."""
    found = train_tuned(model, frames, ids, targets, loss_function, epochs, BATCH, seed, features, **choices)
    for tolerance, loss, expected in zip(tolerances, printed, found, strict=False):  # found last: each costs an epoch
        assert loss == pytest.approx(expected, rel=tolerance)


# Genres


class Genres(NamedTuple):
    """Clips by (folder, split), {id: class number} of both splits, training ids, test clips as the networks get them."""

    clips: dict
    numbers: dict
    ids: list
    hidden: dict


def genres_of(small, clips):
    train, test = (small.genres[GENRES, split] for split in ("train", "test"))
    hidden = cut({i: clips[GENRES, "test"][i] for i in test}, longest(clips[GENRES, "train"], train))
    return Genres(clips, {i: CLASSES.index(name) for i, name in (train | test).items()}, list(train), hidden)


@pytest.fixture(scope="session")
def genres(small):
    limits = {"train": 400, "test": 450}
    return genres_of(
        small, {(GENRES, split): long_genre_clips(small.genres[GENRES, split], limits[split]) for split in limits}
    )


def cnn(genres, number):
    frames = genres.clips[GENRES, "train"]
    torch.manual_seed(SEED + 1000 * number)
    every = round(longest(frames, genres.ids) / LONG_LEFT)
    return tuned_network(TunedCNN, frames, genres.ids, "mel", 3, every, subtract_mean=1.0 - number)


def test_each_network_is_trained_from_its_own_seed(run, genres):
    done = run(CNN_RUN, genres.clips)
    folder, frames, ids = folder_of(done), genres.clips[GENRES, "train"], genres.ids
    printed = losses(done)
    assert [len(each) for each in printed] == [EPOCHS, EPOCHS]
    for number, each in enumerate(printed):
        model, seed = cnn(genres, number), SEED + 1000 * number
        check_training(each, model, seed, frames, ids, genres.numbers, smoothed_cross_entropy(0.1), EPOCHS)
        for name, factor in (("", 0), (".before", 0.5)):  # of the peak lr: the cosine's end and its middle
            path = folder / f"state-{number}{name}.pt"
            assert saved_value(path, "lr") == pytest.approx(1e-3 * factor, abs=1e-9)
            assert saved_value(path, "weight_decay") == 0.01
    history = read_json(folder / "history.json")
    assert [row["train_loss"] for row in history] == printed[-1] and [row["epoch"] for row in history] == list(
        range(EPOCHS)
    )


def test_input_is_standardised_by_the_training_clips(run, genres):
    folder, frames, ids = folder_of(run(CNN_RUN, genres.clips)), genres.clips[GENRES, "train"], genres.ids
    mean, std = mean_and_std_of(frames, ids, "mel")
    for number, subtract_mean in enumerate((1.0, 0.0)):
        weights, metadata = read_weights(folder / f"best-{number}.pt")
        buffers = [weights[f"backbone.front_end.{name}"].numpy() for name in ("mean", "deviation", "centred")]
        for found, expected in zip(buffers, (mean, std, subtract_mean), strict=True):
            assert found == pytest.approx(expected, rel=1e-5)
        assert metadata["train_ids"] == ids and metadata["epoch"] == EPOCHS - 1


def by_networks(folder, genres):
    """{id: probabilities}: the mean of both networks' softmax."""
    hidden = genres.hidden
    found = [restored(folder / f"best-{number}.pt", cnn(genres, number), hidden, hidden) for number in (0, 1)]
    assert not all(np.argmax(found[0][i]) == np.argmax(found[1][i]) for i in hidden)
    return {i: np.mean([softmax(each[i].astype(float)) for each in found], axis=0) for i in hidden}


def check_genre_rows(rows, expected, targets, tolerance):
    """Rows of predictions.csv against {id: probabilities} in the test split's order."""
    assert [row["id"] for row in rows] == list(expected)
    for row in rows:
        probabilities = expected[row["id"]]
        assert [float(row[f"p({name})"]) for name in CLASSES] == pytest.approx(probabilities, abs=tolerance)
        assert row["true"] == CLASSES[targets[row["id"]]] and row["predicted"] == CLASSES[int(np.argmax(probabilities))]


def check_genre_scores(metrics, result, rows):
    true, predicted = ([row[key] for row in rows] for key in ("true", "predicted"))
    expected = sk.accuracy_score(true, predicted), sk.f1_score(true, predicted, average="macro")
    assert 0 < expected[0] < 1
    assert (metrics["accuracy"], metrics["macro"]["f1"]) == pytest.approx(expected)
    assert metrics["confusion"] == sk.confusion_matrix(true, predicted, labels=CLASSES).tolist()
    probabilities = [[float(row[f"p({name})"]) for name in CLASSES] for row in rows]
    assert metrics["test_cross_entropy"] == pytest.approx(sk.log_loss(true, probabilities, labels=CLASSES), rel=1e-4)
    assert (result["test_acc"], result["test_f1_macro"]) == tuple(f"{score:.4f}" for score in expected)


def test_networks_alone_are_the_mean_of_their_probabilities(run, genres):
    folder = folder_of(run(CNN_RUN, genres.clips))
    check_genre_rows(predictions(folder, name=BY_NETWORKS), by_networks(folder, genres), genres.numbers, 1e-5)


def test_networks_kernel_ridge_and_trees_together(run, genres):
    """Their geometric mean; kernel ridge and extra trees get the test clips uncut."""
    folder, ids, hidden = folder_of(run(CNN_RUN, genres.clips)), genres.ids, list(genres.hidden)
    numbers = [genres.numbers[i] for i in ids]
    others = class_probabilities(genres.clips[GENRES, "train"], ids, numbers, genres.clips[GENRES, "test"], hidden)
    networks = by_networks(folder, genres)
    logs = {i: (np.log(networks[i]) + np.log(other)) / 2 for i, other in zip(hidden, others, strict=True)}
    expected = {i: np.exp(log_softmax(each)) for i, each in logs.items()}
    check_genre_rows(predictions(folder), expected, genres.numbers, 1e-5)


def test_genre_results(run, genres):
    done = run(CNN_RUN, genres.clips)
    folder, saved = folder_of(done), read_json(folder_of(done) / "metrics.json")
    network, together = done.results
    assert (network["members"], together["members"], network["task"]) == ("networks", "all", "genres")
    check_genre_scores(saved["metrics"]["members"]["networks"], network, predictions(folder, name=BY_NETWORKS))
    check_genre_scores(saved["metrics"]["members"]["all"], together, predictions(folder))
    assert f"{saved['result']['test_acc']:.4f}" == together["test_acc"] != network["test_acc"]


def test_lstm_with_other_choices(run, small):
    """20 epochs and a peak lr of 1e-3 are the default; strong weight decay, one network alone."""
    done = run(LSTM_RUN)
    folder, (clips, targets, ids, hidden) = folder_of(done), genres_of(small, small.frames)
    frames = clips[GENRES, "train"]
    torch.manual_seed(SEED)
    model = tuned_network(
        TunedLSTM, frames, ids, "mel", 3, max(1, round(longest(frames, ids) / LEFT)), 0.5, dropout=0.3
    )
    (printed,) = losses(done)
    assert len(printed) == 20
    loss = smoothed_cross_entropy(0.05)
    check_training(printed, model, SEED, frames, ids, targets, loss, 20, tolerances=LSTM_LOSSES, decay=200)
    assert saved_value(folder / "state-0.pt", "lr") == pytest.approx(0, abs=1e-9)
    assert read_weights(folder / "best-0.pt")[1]["train_ids"] == ids
    found = restored(folder / "best-0.pt", model, hidden, hidden)
    rows = predictions(folder, name=BY_NETWORKS)
    check_genre_rows(rows, {i: softmax(each.astype(float)) for i, each in found.items()}, targets, 1e-5)
    (result,) = done.results
    assert result["network"] == "lstm"
    check_genre_scores(read_json(folder / "metrics.json")["metrics"]["members"]["networks"], result, rows)


# Emotions


class Emotions(NamedTuple):
    """Clips by (folder, split), {id: values}, the labelled ids to train on and to test, and all of them."""

    clips: dict
    values: dict
    train: list
    test: list
    every: list


@pytest.fixture(scope="session")
def emotions(small):
    values = small.emotions[EMOTIONS]
    test = emotion_split(list(values), SEED)[2]
    train = [i for i in values if i not in test]
    clips = {(EMOTIONS, split): clips for split, clips in long_clips(values, small.hidden).items()}
    return Emotions(clips, values, train, test, list(values))


def labels_of(emotions, ids):
    return torch.tensor(np.array([emotions.values[i] for i in ids], dtype=np.float32))


def axes_network(emotions, ids, number):
    torch.manual_seed(SEED + 1000 * number)
    frames = emotions.clips[EMOTIONS, "train"]
    every = round(longest(frames, emotions.values) / LONG_LEFT)
    return emotion_network(labels_of(emotions, ids), TunedCNN, frames, ids, "mel", 3, every, 1.0 - number)


def mean_values(folder, name, emotions, ids, frames, clips):
    """(clips, 3): the mean of both networks' values, the clips cut to the longest labelled one."""
    frames = cut({i: frames[i] for i in clips}, longest(emotions.clips[EMOTIONS, "train"], emotions.values))
    found = [restored(folder / f"best-{name}{k}.pt", axes_network(emotions, ids, k), frames, clips) for k in (0, 1)]
    return np.array([np.mean([each[i] for each in found], axis=0) for i in clips])


def rows_to_array(folder, emotions, name):
    """(test clips, 3): predicted values in a file, in the order of the test split; the true ones are checked."""
    columns = []
    for number, axis in enumerate(AXES):
        rows = predictions(folder, axis=axis, name=name)
        assert [row["id"] for row in rows] == emotions.test
        assert [float(row["true"]) for row in rows] == pytest.approx(
            [emotions.values[i][number] for i in emotions.test], abs=1e-6
        )
        columns.append([float(row["predicted"]) for row in rows])
    return np.array(columns).T


def submitted(done, hidden):
    with open(done.root.parent / "submission.csv", encoding="utf-8", newline="") as file:
        rows = list(csv.reader(file))
    assert rows[0][1:] == list(AXES) and sorted(row[0] for row in rows[1:]) == sorted(i + SUFFIX for i in hidden)
    return np.array([[float(each) for each in dict((row[0], row[1:]) for row in rows[1:])[i + SUFFIX]] for i in hidden])


def test_axes_networks_are_trained_in_the_units_of_each_axis(run, emotions):
    printed = losses(run(AXES_RUN, emotions.clips, submit=True))
    assert [len(each) for each in printed] == [2] * 4  # two networks for the test, two for the submission
    for position, each in enumerate(printed):
        ids, number = (emotions.train, emotions.every)[position // 2], position % 2
        loss, seed = emotion_loss(labels_of(emotions, ids), CORRELATION), SEED + 1000 * number
        model = axes_network(emotions, ids, number)
        check_training(
            each, model, seed, emotions.clips[EMOTIONS, "train"], ids, emotions.values, loss, 2, features="mel", lr=2e-3
        )


def test_axes_of_the_networks_and_of_all_together(run, emotions):
    folder, frames = folder_of(run(AXES_RUN, emotions.clips, submit=True)), emotions.clips[EMOTIONS, "train"]
    networks = mean_values(folder, "", emotions, emotions.train, frames, emotions.test)
    assert rows_to_array(folder, emotions, BY_NETWORKS) == pytest.approx(networks, abs=1e-5)
    others = axis_values(frames, emotions.train, labels_of(emotions, emotions.train).numpy(), frames, emotions.test)
    expected = (1 - OTHERS) * networks + OTHERS * others
    assert rows_to_array(folder, emotions, "predictions.csv") == pytest.approx(expected, abs=1e-5)


def test_submission_of_the_networks(run, emotions):
    """Fitted on every labelled clip, the test clips included."""
    done = run(AXES_RUN, emotions.clips, submit=True)
    hidden, ids = emotions.clips[EMOTIONS, "test"], emotions.every
    expected = mean_values(folder_of(done), "submit", emotions, ids, hidden, list(hidden))
    assert submitted(done, hidden) == pytest.approx(expected, abs=2e-6)
    assert len({tuple(row) for row in expected.round(4)}) == len(hidden)
    for number in (0, 1):
        weights, metadata = read_weights(folder_of(done) / f"best-submit{number}.pt")
        assert metadata["train_ids"] == ids and set(ids) & set(emotions.test)
        mean = mean_and_std_of(emotions.clips[EMOTIONS, "train"], ids, "mel")[0]
        assert weights["backbone.front_end.mean"].numpy() == pytest.approx(mean, rel=1e-5)


def test_axes_results(run, emotions):
    done = run(AXES_RUN, emotions.clips, submit=True)
    folder, saved = folder_of(done), read_json(folder_of(done) / "metrics.json")
    true, train_labels = labels_of(emotions, emotions.test).numpy(), labels_of(emotions, emotions.train).numpy()
    mse_lines = [numbers(line.partition("MSE")[2]) for line in done.lines if "MSE" in line and "test clips" in line]
    means = [numbers(line)[-1] for line in done.lines if line.startswith("The Mean Spearman")]
    for part, (members, name) in enumerate((("networks", BY_NETWORKS), ("all", "predictions.csv"))):
        predicted, rhos = rows_to_array(folder, emotions, name), []
        results = {row["axis"]: row["spearman"] for row in done.results if row["members"] == members}
        for k, axis in enumerate(AXES):
            rhos.append(spearmanr(true[:, k], predicted[:, k]).statistic)
            errors = [np.mean((true[:, k] - guess) ** 2) for guess in (predicted[:, k], train_labels[:, k].mean())]
            metrics = saved["metrics"]["members"][members][axis]
            assert [metrics[key] for key in ("spearman", "mse", "mse_constant")] == pytest.approx(
                [rhos[-1], *errors], rel=1e-4
            )
            assert results[axis] == f"{rhos[-1]:.4f}"
            printed = mse_lines[3 * part + k]
            assert printed[0] == pytest.approx(errors[0], abs=6e-5) and printed[2] == pytest.approx(errors[1], abs=6e-5)
        assert results["mean"] == f"{np.mean(rhos):.4f}" and means[part] == pytest.approx(100 * np.mean(rhos))
        assert len(set(results.values())) > 2
    assert {axis: f"{each['spearman']:.4f}" for axis, each in saved["result"].items()} == {
        axis: results[axis] for axis in AXES
    }
