"""Step 8's numbers, recomputed from labels, spectrogram files and saved weights: each axis by an LSTM and by a CNN."""

import numpy as np
import pytest
from by_hand import CNN, LSTM, Headed, emotion_split, read_weights, train
from emotion_runs import (
    AXIS,
    CNN_EPOCHS,
    CNN_REL,
    LSTM_EPOCHS,
    MEAN,
    OTHER_SEED,
    SEED,
    SIZE,
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
from small_data import AXES, EMOTIONS
from torch import nn

STEP = "step8_regression"
DATASETS = {"lstm": f"{EMOTIONS}_beat", "cnn": EMOTIONS}
RATES, DECAY = {"lstm": 1e-4, "cnn": 1e-3}, {"lstm": 1e-3, "cnn": 0.0}
LOG_EVERY, EPOCHS_OF = {"lstm": 1, "cnn": 5}, {"lstm": LSTM_EPOCHS, "cnn": CNN_EPOCHS}


def make(name):
    return Headed(LSTM(128) if name == "lstm" else CNN(), 1, squeezed=True)


def by_hand(small, name, axis, seed):
    values = axis_values(small, DATASETS[name], [axis])
    train_ids, val_ids, _ = emotion_split(list(values), seed)
    frames = small.frames[DATASETS[name], "train"]
    model = fresh(seed, lambda: make(name))
    return train(
        model, frames, train_ids, values, nn.MSELoss(), EPOCHS_OF[name], SIZE, seed, val_ids, RATES[name], DECAY[name]
    ), values


@pytest.mark.parametrize(("name", "seeds", "axes"), [("lstm", (SEED, OTHER_SEED), AXES), ("cnn", (SEED,), (AXIS,))])
def test_all_that_follows_from_the_saved_weights(name, seeds, axes, shared_folder, small):
    done = emotion_run(shared_folder, small, name)
    by_seed, kept, means = [], [], []
    for seed in seeds:
        found = {}
        for axis in axes:
            folder = done.folder(STEP, f"{name}_{axis}_seed{seed}")
            found |= check_regression(
                folder, {"best.pt": make(name)}, small, DATASETS[name], [axis], seed, nn.MSELoss()
            )
            check_lines(folder, LOG_EVERY[name])
            kept.append(read_weights(folder / "best.pt")[1]["epoch"])
        if len(axes) == 3:
            found["mean"] = float(np.mean(list(found.values())))
            means.append(pytest.approx(100 * found["mean"], abs=1e-9))
        by_seed.append({(("model", name), ("axis", axis)): {"spearman": rho} for axis, rho in found.items()})
    assert list(map(float, MEAN.findall(done.out))) == means
    check_results(done, STEP, by_seed)
    assert min(kept) < EPOCHS_OF[name] - 1 and max(kept) > 0
    assert all(-0.99 < rho["spearman"] < 0.99 for rho in by_seed[0].values())


@pytest.mark.parametrize(("axis", "seed"), [("danceability", SEED), ("energy", OTHER_SEED)])
def test_the_lstms_losses_of_each_epoch(axis, seed, shared_folder, small):
    folder = emotion_run(shared_folder, small, "lstm").folder(STEP, f"lstm_{axis}_seed{seed}")
    trained, values = by_hand(small, "lstm", axis, seed)
    check_training(read_json(folder / "history.json"), trained, values)


def test_the_cnns_losses_of_each_epoch(shared_folder, small):
    folder = emotion_run(shared_folder, small, "cnn").folder(STEP, f"cnn_{AXIS}_seed{SEED}")
    trained, values = by_hand(small, "cnn", AXIS, SEED)
    check_training(read_json(folder / "history.json"), trained, values, **CNN_REL)
    assert_no_decay(read_weights(folder / "best.pt")[0], fresh(SEED, lambda: make("cnn")).state_dict())


def test_two_seeds_hold_out_other_clips(shared_folder, small):
    done = emotion_run(shared_folder, small, "lstm")
    held_out = [
        {row["id"] for row in predictions(done.folder(STEP, f"lstm_{AXIS}_seed{seed}"))} for seed in (SEED, OTHER_SEED)
    ]
    assert len(held_out[0]) == len(held_out[1]) > 0 and held_out[0] != held_out[1]


def test_the_lstm_and_the_cnn_hold_out_the_same_clips(shared_folder, small):
    done = emotion_run(shared_folder, small, "lstm"), emotion_run(shared_folder, small, "cnn")
    names = f"lstm_{AXIS}_seed{SEED}", f"cnn_{AXIS}_seed{SEED}"
    lstm, cnn = (
        [row["id"] for row in predictions(run.folder(STEP, name))] for run, name in zip(done, names, strict=True)
    )
    assert lstm == cnn and list(small.emotions[EMOTIONS]) != list(small.emotions[f"{EMOTIONS}_beat"])
