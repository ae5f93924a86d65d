"""Step 9's numbers, recomputed from labels, spectrogram files and saved weights: the genre CNN and the two regressors."""

import re

import numpy as np
import pytest
from by_hand import CNN, Headed, accuracy, emotion_split, mean_loss, outputs, read_weights, split, train
from emotion_runs import (
    AXIS,
    CNN_REL,
    FEW,
    FROZEN_AXES,
    OTHER_SEED,
    PICKED_EPOCHS,
    PICKED_SEED,
    PRETRAIN_EPOCHS,
    SEED,
    SIZE,
    STEP7,
    STILL,
    assert_no_decay,
    axis_values,
    check_lines,
    check_regression,
    check_results,
    check_training,
    emotion_run,
    fresh,
)
from runs import predictions, read_json
from scipy.special import softmax
from sklearn import metrics as sk
from small_data import CLASSES, EMOTIONS, GENRES
from torch import nn

STEP = "step9_transfer"
RATE, STARTS = 1e-3, ("transfer", "scratch")
LEFT_OUT = re.compile(r"^left out +: (\d+) ", re.MULTILINE)
SEEN = re.compile(r"whose ids the genre CNN was trained with: (\d+)$", re.MULTILINE)
GENRE_COUNTS = re.compile(r": (\d+) to train on, (\d+) to validate with.*, (\d+) to test$", re.MULTILINE)
GENRE_LINES = re.compile(r"^epoch : (\d+) ,training loss = (\S+)\nAccuracy in validation set = (\S+) %$", re.MULTILINE)
SCRATCH = re.compile(r"^from scratch.*: (\S+)$", re.MULTILINE)


def make():
    return Headed(CNN(), 1, squeezed=True)


def held_out(small, seed):
    """Ids that validate or test the emotions."""
    _, val_ids, test_ids = emotion_split(list(small.emotions[EMOTIONS]), seed)
    return val_ids + test_ids


def genre_ids(small, seed):
    """(train, val) ids of the genre CNN, and the number of training clips that are left out."""
    ids = list(small.genres[GENRES, "train"])
    kept = [ident for ident in ids if ident not in held_out(small, seed)]
    val_ids, train_ids = split(kept, 0.33, seed)
    return train_ids, val_ids, len(ids) - len(kept)


def begun(weights, seed):
    """A regressor whose head is new and whose backbone is that of the weights; all of it new without any."""
    model = fresh(seed, make)
    return transferred(model, weights) if weights else model


def transferred(model, weights):
    model.load_state_dict(
        {**model.state_dict(), **{name: tensor for name, tensor in weights.items() if name.startswith("backbone.")}}
    )
    return model


def parts(weights, name):
    return {key: tensor for key, tensor in weights.items() if key.startswith(f"{name}.")}


def same(one, other, tolerance=0.0):
    return one.keys() == other.keys() and all(
        (one[key].double() - other[key].double()).abs().max() <= tolerance for key in one
    )


def by_hand(small, model, axis, epochs, seed):
    values = axis_values(small, EMOTIONS, [axis])
    train_ids, val_ids, _ = emotion_split(list(values), seed)
    return train(
        model, small.frames[EMOTIONS, "train"], train_ids, values, nn.MSELoss(), epochs, SIZE, seed, val_ids, RATE
    ), values


def checked(folder, small, axis, seed, seen):
    """Spearman's of a regressor whose numbers are all right."""
    return check_regression(folder, {"best.pt": make()}, small, EMOTIONS, [axis], seed, nn.MSELoss(), seen)[axis]


@pytest.fixture
def genres(shared_folder, small):
    return emotion_run(shared_folder, small, "transfer").folder(STEP, f"genres_seed{SEED}")


@pytest.fixture
def step7(shared_folder, small):
    """(weights, metadata) of step 7's checkpoint."""
    return read_weights(emotion_run(shared_folder, small, "step7").root.parent / STEP7)


@pytest.mark.parametrize(
    ("run", "seed", "epochs"), [("transfer", SEED, PRETRAIN_EPOCHS), ("picked", PICKED_SEED, PICKED_EPOCHS)]
)
def test_the_genre_cnn(run, seed, epochs, shared_folder, small):
    genres = emotion_run(shared_folder, small, run).folder(STEP, f"genres_seed{seed}")
    log, history, metrics = (
        (genres / "log.txt").read_text(encoding="utf-8"),
        read_json(genres / "history.json"),
        read_json(genres / "metrics.json"),
    )
    numbered = {i: CLASSES.index(c) for split in ("train", "test") for i, c in small.genres[GENRES, split].items()}
    train_ids, val_ids, left_out = genre_ids(small, seed)
    test_ids = list(small.genres[GENRES, "test"])
    assert LEFT_OUT.findall(log) == [str(left_out)] and left_out > 0
    assert GENRE_COUNTS.findall(log) == [(str(len(train_ids)), str(len(val_ids)), str(len(test_ids)))]
    loss, model = nn.CrossEntropyLoss(), fresh(seed, lambda: Headed(CNN(), len(CLASSES)))
    frames = small.frames[GENRES, "train"]
    check_training(
        history, train(model, frames, train_ids, numbered, loss, epochs, SIZE, seed, val_ids, RATE), **CNN_REL
    )
    assert [(int(a), float(b), float(c)) for a, b, c in GENRE_LINES.findall(log)] == [
        (row["epoch"], row["train_loss"], 100 * row["val_acc"]) for row in history
    ]
    weights, metadata = read_weights(genres / "best.pt")
    ranks = [(row["val_acc"], -row["val_loss"]) for row in history]
    assert metadata["epoch"] == ranks.index(max(ranks)) and 0 < metadata["epoch"] < epochs - 1
    if run == "picked":
        assert metadata["epoch"] != min(range(epochs), key=lambda epoch: history[epoch]["val_loss"])
    assert sorted(metadata["train_ids"]) == sorted(train_ids + val_ids)
    model.load_state_dict(weights)
    found = outputs(model, frames, val_ids)
    best = history[metadata["epoch"]]
    assert (best["val_acc"], best["val_loss"]) == pytest.approx(
        (accuracy(found, numbered), mean_loss(found, numbered, loss)), rel=1e-4
    )
    found = outputs(model, small.frames[GENRES, "test"], test_ids)
    rows = predictions(genres)
    assert [row["id"] for row in rows] == test_ids
    true, answers = [row["true"] for row in rows], [row["predicted"] for row in rows]
    assert answers == [CLASSES[int(np.argmax(found[ident]))] for ident in test_ids]
    chances = np.array([[float(row[f"p({name})"]) for name in CLASSES] for row in rows])
    np.testing.assert_allclose(chances, softmax(np.array([found[ident] for ident in test_ids]), axis=1), atol=1e-4)
    assert true == [small.genres[GENRES, "test"][ident] for ident in test_ids]
    assert metrics["result"] == pytest.approx(
        {"test_acc": sk.accuracy_score(true, answers), "test_f1_macro": sk.f1_score(true, answers, average="macro")}
    )
    assert metrics["metrics"]["confusion"] == sk.confusion_matrix(true, answers, labels=CLASSES).tolist()


def test_all_that_follows_from_the_saved_weights(shared_folder, small):
    pretrained_ids = [ident for ids in genre_ids(small, SEED)[:2] for ident in ids]
    done, found, kept = emotion_run(shared_folder, small, "transfer"), {}, []
    for start in STARTS:
        folder = done.folder(STEP, f"{AXIS}_{start}_seed{SEED}")
        found[start] = checked(folder, small, AXIS, SEED, pretrained_ids * (start == "transfer"))
        check_lines(folder)
        kept.append(read_weights(folder / "best.pt")[1]["epoch"])
    check_results(
        done, STEP, [{(("axis", AXIS),): {"spearman": found["transfer"], "scratch": found["scratch"], "seen": 0}}]
    )
    assert SEEN.findall(done.out) == ["0"] and list(map(float, SCRATCH.findall(done.out))) == [
        pytest.approx(found["scratch"])
    ]
    assert found["transfer"] != found["scratch"] and min(kept) < FEW - 1


@pytest.mark.parametrize("start", STARTS)
def test_the_losses_of_each_epoch(start, genres, small):
    folder = genres.parent / f"{AXIS}_{start}_seed{SEED}"
    pretrained = read_weights(genres / "best.pt")[0]
    model = begun(pretrained if start == "transfer" else None, SEED)
    initial = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    trained, values = by_hand(small, model, AXIS, FEW, SEED)
    check_training(read_json(folder / "history.json"), trained, values, **CNN_REL)
    assert_no_decay(read_weights(folder / "best.pt")[0], initial)


def test_fine_tuning_begins_with_the_backbone_that_is_given(shared_folder, small, step7):
    done = emotion_run(shared_folder, small, "still")
    initial, batches = fresh(SEED, make).state_dict(), 3
    for start in STARTS:
        weights = read_weights(done.folder(STEP, f"{AXIS}_{start}_seed{SEED}") / "best.pt")[0]
        wanted = {**initial, **parts(step7[0], "backbone")} if start == "transfer" else initial
        learnt = {name for name, _ in make().named_parameters()}
        assert same(
            {name: weights[name] for name in learnt}, {name: wanted[name] for name in learnt}, 10 * STILL * batches
        )
        counted = "backbone.stages.0.1.num_batches_tracked"
        assert weights[counted] == wanted[counted] + batches
    assert not same(parts(initial, "backbone"), parts(step7[0], "backbone"), 1e-3)


def test_frozen_backbones_stay_and_heads_move(shared_folder, small, step7):
    done, by_seed = emotion_run(shared_folder, small, "frozen"), []
    for seed in (SEED, OTHER_SEED):
        rows, seen = {}, len(set(held_out(small, seed)) & set(small.genres[GENRES, "train"]))
        for axis in FROZEN_AXES:
            found = {}
            for start in STARTS:
                folder = done.folder(STEP, f"{axis}_{start}_frozen_seed{seed}")
                found[start] = checked(folder, small, axis, seed, step7[1]["train_ids"] * (start == "transfer"))
                weights, initial = read_weights(folder / "best.pt")[0], fresh(seed, make).state_dict()
                assert same(parts(weights, "backbone"), parts(step7[0] if start == "transfer" else initial, "backbone"))
                assert not same(parts(weights, "head"), parts(initial, "head"), 1e-4)
            rows[("axis", axis),] = {"spearman": found["transfer"], "scratch": found["scratch"], "seen": seen}
            assert SEEN.findall(
                (done.folder(STEP, f"{axis}_transfer_frozen_seed{seed}") / "log.txt").read_text(encoding="utf-8")
            ) == [str(seen)]
        by_seed.append(rows)
    check_results(done, STEP, by_seed)
    assert sorted(step7[1]["train_ids"]) == sorted(small.genres[GENRES, "train"])
    assert min(row["seen"] for rows in by_seed for row in rows.values()) > 0


def test_the_losses_of_a_frozen_network(shared_folder, small, step7):
    axis = FROZEN_AXES[1]
    model = begun(step7[0], OTHER_SEED)
    model.backbone.requires_grad_(False)
    trained, values = by_hand(small, model, axis, 1, OTHER_SEED)
    folder = emotion_run(shared_folder, small, "frozen").folder(STEP, f"{axis}_transfer_frozen_seed{OTHER_SEED}")
    check_training(read_json(folder / "history.json"), trained, values)
