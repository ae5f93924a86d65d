"""Step 10's numbers, recomputed from labels, spectrogram files and saved weights: one CNN or two for three axes, and
the submission.
"""

import re

import numpy as np
import pytest
from by_hand import CNN, Headed, emotion_split, outputs, read_weights, train, weighted_axes
from emotion_runs import (
    AXIS,
    CNN_REL,
    EPOCHS,
    FEW,
    MEAN,
    OTHER_SEED,
    SEED,
    SIZE,
    WEIGHTS,
    assert_no_decay,
    axis_values,
    check_regression,
    check_results,
    check_training,
    emotion_run,
    fresh,
)
from runs import predictions, read_json
from small_data import AXES, EMOTIONS

STEP = "step10_multitask"
DEFAULT_WEIGHTS = (0.33, 0.33, 0.33)
LOG_EVERY = 5
RATE = 1e-3
MEMBER_SEEDS = (OTHER_SEED, OTHER_SEED + 1000)  # initial weights and batch orders of the ensemble's
MEMBERS = ("best-0.pt", "best-1.pt")
ENSEMBLE = "cnn_weights0.5-0.3-0.1_ensemble2_seed1"
HEADER, SUFFIX = "Id.fused.full.npy.gz", ".fused.full.npy.gz"
BLOCK = re.compile(
    r"^Epoch: (\d+)\nTraining\n(.*)\nTotal training loss = (\S+)\nValidation\n(.*)\nTotal validation loss = (\S+)$",
    re.MULTILINE,
)
PART = re.compile(r"(\w+)_loss: ([^\s,]+)")


def make():
    return Headed(CNN(), 3)


def by_hand(small, weights, epochs, initial_seed, split_seed):
    """(epochs of training, {id: three values})."""
    values = axis_values(small, EMOTIONS, AXES)
    train_ids, val_ids, _ = emotion_split(list(values), split_seed)
    frames, model = small.frames[EMOTIONS, "train"], fresh(initial_seed, make)
    return train(
        model, frames, train_ids, values, weighted_axes(weights), epochs, SIZE, initial_seed, val_ids, RATE
    ), values


def blocks(folder):
    """[(epoch, {axis: training loss}, total, {axis: validation loss}, total)] of the log."""
    found = BLOCK.findall((folder / "log.txt").read_text(encoding="utf-8"))
    rows = [(int(epoch), named(one), float(a), named(other), float(b)) for epoch, one, a, other, b in found]
    assert all(tuple(losses) == AXES for row in rows for losses in (row[1], row[3]))
    return rows


def named(text):
    return {axis: float(loss) for axis, loss in PART.findall(text)}


def weighted(losses, weights):
    return sum(weight * losses[axis] for axis, weight in zip(AXES, weights, strict=True))


def check_blocks(rows, history, weights):
    """Totals are the weighted sums of the axes and stand in history.json, each fifth epoch from 0 on."""
    assert [row[0] for row in rows] == list(range(0, len(history), LOG_EVERY))
    for epoch, train_parts, train_total, val_parts, val_total in rows:
        assert [train_total, val_total] == pytest.approx(
            [weighted(train_parts, weights), weighted(val_parts, weights)], rel=1e-5
        )
        assert (history[epoch]["train_loss"], history[epoch]["val_loss"]) == (train_total, val_total)


def test_all_that_follows_from_the_saved_weights(shared_folder, small):
    done = emotion_run(shared_folder, small, "multitask")
    by_seed, kept = [], []
    for seed in (SEED, OTHER_SEED):
        folder = done.folder(STEP, f"cnn_seed{seed}")
        found = check_regression(
            folder, {"best.pt": make()}, small, EMOTIONS, AXES, seed, weighted_axes(DEFAULT_WEIGHTS)
        )
        check_blocks(blocks(folder), read_json(folder / "history.json"), DEFAULT_WEIGHTS)
        found["mean"] = float(np.mean(list(found.values())))
        assert float(MEAN.findall((folder / "log.txt").read_text(encoding="utf-8"))[0]) == pytest.approx(
            100 * found["mean"], abs=1e-9
        )
        by_seed.append({(("axis", axis),): {"spearman": rho} for axis, rho in found.items()})
        kept.append(read_weights(folder / "best.pt")[1]["epoch"])
    check_results(done, STEP, by_seed)
    assert min(kept) > 0 and min(kept) < EPOCHS - 1  # of one seed at least it is not the last


def test_the_losses_of_each_epoch_and_axis(shared_folder, small):
    folder = emotion_run(shared_folder, small, "multitask").folder(STEP, f"cnn_seed{SEED}")
    trained, values = by_hand(small, DEFAULT_WEIGHTS, EPOCHS, SEED, SEED)
    trained = list(trained)
    check_training(read_json(folder / "history.json"), trained, values, **CNN_REL)
    assert_no_decay(read_weights(folder / "best.pt")[0], fresh(SEED, make).state_dict())
    check_parts(blocks(folder)[0], trained[0][1], values)


def check_parts(block, found, values):
    """The validation losses of each axis after an epoch."""
    for number, axis in enumerate(AXES):
        by_hand_loss = np.mean([(row[number] - values[ident][number]) ** 2 for ident, row in found.items()])
        assert block[3][axis] == pytest.approx(by_hand_loss, rel=0.1)


def test_the_ensembles_members_and_their_mean(shared_folder, small):
    folder = emotion_run(shared_folder, small, "ensemble").folder(STEP, ENSEMBLE)
    models = {name: make() for name in MEMBERS}
    found = check_regression(folder, models, small, EMOTIONS, AXES, OTHER_SEED, weighted_axes(WEIGHTS))
    check_results(
        emotion_run(shared_folder, small, "ensemble"),
        STEP,
        [
            {
                (("axis", axis),): {"spearman": rho}
                for axis, rho in [*found.items(), ("mean", float(np.mean(list(found.values()))))]
            }
        ],
    )
    assert read_json(folder / "metrics.json")["weights"] == list(WEIGHTS)
    history = read_json(folder / "history.json")
    rows = blocks(folder)
    check_blocks(rows[1:], history, WEIGHTS)
    for row, seed, name in zip(rows, MEMBER_SEEDS, MEMBERS, strict=True):
        trained, values = by_hand(small, WEIGHTS, FEW, seed, OTHER_SEED)
        trained = list(trained)
        first = {"epoch": 0, "train_loss": row[2], "val_loss": row[4]}
        check_training(
            [first] if name == MEMBERS[0] else history, trained[: 1 if name == MEMBERS[0] else FEW], **CNN_REL
        )
        check_parts(row, trained[0][1], values)
        assert row[2] == pytest.approx(weighted(row[1], WEIGHTS), rel=1e-5)


def test_the_submission_is_the_members_mean_on_the_hidden_clips(shared_folder, small):
    done = emotion_run(shared_folder, small, "ensemble")
    header, *rows = (done.root.parent / "solution.txt").read_text(encoding="utf-8").splitlines()
    assert header == ",".join([HEADER, *AXES])
    found = []
    for name in MEMBERS:
        model = make()
        model.load_state_dict(read_weights(done.folder(STEP, ENSEMBLE) / name)[0])
        found.append(outputs(model, small.frames[EMOTIONS, "test"], small.hidden))
    check_rows(rows, {ident: np.mean([each[ident] for each in found], axis=0) for ident in small.hidden}, SUFFIX)
    assert max(abs(found[0][ident] - found[1][ident]).max() for ident in small.hidden) > 1e-2


def check_rows(rows, wanted, suffix):
    """Rows of a submission, sorted by id, against {id: three values}."""
    names, *columns = zip(*(row.split(",") for row in rows), strict=True)
    assert list(names) == [f"{ident}{suffix}" for ident in sorted(wanted)]
    values = np.array(columns, dtype=float).T
    assert values == pytest.approx(np.stack([wanted[ident] for ident in sorted(wanted)]), abs=2e-5)


def test_steps_8_to_10_hold_out_the_same_clips(shared_folder, small):
    folders = [
        emotion_run(shared_folder, small, "cnn").folder("step8_regression", f"cnn_{AXIS}_seed{SEED}"),
        emotion_run(shared_folder, small, "transfer").folder("step9_transfer", f"{AXIS}_scratch_seed{SEED}"),
        emotion_run(shared_folder, small, "multitask").folder(STEP, f"cnn_seed{SEED}"),
        emotion_run(shared_folder, small, "multitask").folder(STEP, f"cnn_seed{OTHER_SEED}"),
    ]
    tested = [[row["id"] for row in predictions(folder, axis=AXIS)] for folder in folders]
    seen = [read_weights(folder / "best.pt")[1]["train_ids"] for folder in folders]
    assert tested[0] == tested[1] == tested[2] != tested[3]
    assert seen[0] == seen[1] == seen[2] and set(seen[2]) != set(seen[3])
