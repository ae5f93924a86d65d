"""The runs of steps 8, 9 and 10 that the tests of their numbers share, and the checks that hold for each regression."""

import re

import numpy as np
import pytest
import torch
from by_hand import emotion_split, mean_loss, outputs, read_weights
from runs import predictions, read_json, shared_run
from scipy.stats import rankdata, spearmanr
from small_data import AXES
from warm import warm_script

SIZE = 8
SEED, OTHER_SEED = 0, 1
EPOCHS = 6  # so many that the epoch that is logged next after 0, the fifth, is among them
CNN_EPOCHS = 8  # the seventh is the best
FEW, LSTM_EPOCHS = 3, 5
PRETRAIN_EPOCHS = 8  # the sixth is the best: as accurate as those around it, with a smaller loss
PICKED_SEED, PICKED_EPOCHS = 7, 5
WEIGHTS = (0.5, 0.3, 0.1)
STILL = 1e-9  # a learning rate that leaves weights where they were
AXIS, FROZEN_AXES = "energy", ("valence", "danceability")  # of step 9
STEP7 = "runs/step7_cnn/mel_seed0/best.pt"
PLACE = re.compile(r"\{(\w+)\}/(.*)")  # a file in the folder of another run or, {here}, of this one
PRETRAINED = f"--pretrained {{step7}}/{STEP7}"
RUNS = {  # script and flags
    "step5": "step5_lstm.py --features chroma --epochs 2",
    "step5beat": f"step5_lstm.py --features beat --loss squared-error --epochs 1 --seed {OTHER_SEED}",
    "step7": "step7_cnn.py --epochs 1",
    "lstm": f"step8_regression.py --model lstm --epochs {LSTM_EPOCHS} --seeds 2",
    "cnn": f"step8_regression.py --model cnn --axis {AXIS} --epochs {CNN_EPOCHS}",
    "transfer": f"step9_transfer.py --axis {AXIS} --epochs {FEW} --pretrain-epochs {PRETRAIN_EPOCHS}",
    # the genre CNN whose most accurate epoch, the third, has not the smallest loss
    "picked": f"step9_transfer.py --axis {AXIS} --epochs 1 --pretrain-epochs {PICKED_EPOCHS} --seed {PICKED_SEED}",
    "frozen": f"step9_transfer.py --axis {' '.join(FROZEN_AXES)} --epochs 1 --freeze --seeds 2 {PRETRAINED}",
    "still": f"step9_transfer.py --axis {AXIS} --epochs 1 --lr {STILL} {PRETRAINED}",
    "multitask": f"step10_multitask.py --epochs {EPOCHS} --seeds 2",
    "ensemble": f"step10_multitask.py --epochs {FEW} --ensemble 2 --weights {' '.join(map(str, WEIGHTS))} --seed {OTHER_SEED}"
    " --submit {here}/solution.txt",
}
# What the logs say, each form once
LOSSES = re.compile(r"^epoch : (\d+) ,(training|validation) loss = (\S+)$", re.MULTILINE)
COUNTS = re.compile(r"(\d+) to train on, (\d+) to validate with.*, (\d+) to test$", re.MULTILINE)
PARAMETERS = re.compile(r"^parameters : (\d+)$", re.MULTILINE)
CONSTANT = re.compile(r"training mean of (\w+), (\S+): MSE (\S+) in validation, (\S+) in test")
BEST = re.compile(r"^best epoch : (\d+) of 0 to (\d+), .*validation loss (\S+)$", re.MULTILINE)
MSE = re.compile(r"(\w+)(?:, \w+)?: MSE (\S+) on (\d+) test clips, (\S+) for")
NO_BETTER = re.compile(r"MSE.*\n.*no better than .* (\d\S+)\n.*Spearman.* for (\w+) is")
SPEARMAN = re.compile(r"^The Spearman correlation .* for (\w+) is (\S+)$", re.MULTILINE)
MEAN = re.compile(r"^The Mean Spearman correlation .* is (\S+) %(?:, \w+, seed \d+)?$", re.MULTILINE)
INTERVAL = re.compile(r"95 % .*correlation.*: (\S+) to (\S+)$", re.MULTILINE)


def emotion_run(shared_folder, small, key, *changed, name=None):
    """Done of RUNS[key], made once; `changed`: script and flags of another run, called `name`."""

    def filled(word, folder):
        found = PLACE.match(str(word))
        if not found:
            return word
        base = folder if found[1] == "here" else emotion_run(shared_folder, small, found[1]).root.parent
        return base / found[2]

    def make(folder):
        script, *flags = changed or RUNS[key].split()
        flags = ["--batch-size", SIZE, "--no-baselines", *flags, "--data", small.path, "--out", folder / "runs"]
        cache = ["--cache", shared_folder / "emotion-cache"]
        return warm_script(script, *(filled(word, folder) for word in flags), *cache, root=folder / "runs")

    return shared_run(shared_folder, f"emotions-{name or key}", make)


def axis_values(small, dataset, axes):
    """{id: value}, or {id: row} of several axes, in the label file's order."""
    columns = [AXES.index(axis) for axis in axes]
    return {
        i: row[columns[0]] if len(axes) == 1 else [row[k] for k in columns]
        for i, row in small.emotions[dataset].items()
    }


def check_regression(folder, models, small, dataset, axes, seed, loss, seen=()):
    """All numbers of a run's log, metrics.json and predictions.csv that follow from data and saved weights.

    models: {checkpoint: model by hand}, each of which gets its weights; the last is the history's; seen: ids that
    it knows from a training before this. Returns {axis: Spearman's}.
    """
    values, frames = axis_values(small, dataset, axes), small.frames[dataset, "train"]
    train_ids, val_ids, test_ids = emotion_split(list(values), seed)
    log, metrics, history = (
        (folder / "log.txt").read_text(encoding="utf-8"),
        read_json(folder / "metrics.json"),
        read_json(folder / "history.json"),
    )
    assert [list(map(int, found)) for found in COUNTS.findall(log)] == [
        [len(train_ids), len(val_ids), len(test_ids)]
    ] * len(models)
    assert PARAMETERS.findall(log) == [
        str(sum(weight.numel() for weight in next(iter(models.values())).parameters()))
    ] * len(models)
    test_outputs = []
    for name, model in models.items():
        weights, metadata = read_weights(folder / name)
        model.load_state_dict(weights)
        val_loss = mean_loss(outputs(model, frames, val_ids), values, loss)
        assert metadata["epoch"] == int(BEST.findall(log)[len(test_outputs)][0]) and metadata["seed"] == seed
        assert float(BEST.findall(log)[len(test_outputs)][2]) == pytest.approx(val_loss, abs=6e-5)
        assert sorted(metadata["train_ids"]) == sorted([*train_ids, *val_ids, *seen])
        test_outputs.append(outputs(model, frames, test_ids))
    losses = [row["val_loss"] for row in history]
    assert metadata["epoch"] == losses.index(min(losses)) and [row["epoch"] for row in history] == list(
        range(len(history))
    )
    assert BEST.findall(log)[-1][1] == str(len(history) - 1)
    assert losses[metadata["epoch"]] == pytest.approx(val_loss, rel=1e-4)
    assert history[metadata["epoch"]]["spread"] == pytest.approx(
        spread(outputs(model, frames, val_ids), values), rel=1e-3
    )
    predicted = {ident: np.mean([found[ident] for found in test_outputs], axis=0) for ident in test_ids}
    found = {}
    for number, axis in enumerate(axes):
        column = {i: np.float32(row if len(axes) == 1 else row[number]) for i, row in values.items()}
        mean = np.mean([column[i] for i in train_ids])
        errors = [np.mean([(column[i] - mean) ** 2 for i in ids]) for ids in (val_ids, test_ids)]
        printed = {(float(a), float(b), float(c)) for name, a, b, c in CONSTANT.findall(log) if name == axis}
        assert len(printed) == 1 and next(iter(printed)) == pytest.approx((mean, *errors), abs=6e-4)
        assert next(iter(printed))[1:] == pytest.approx(errors, abs=6e-5)
        rows = predictions(folder, axis=axis)
        assert [row["id"] for row in rows] == test_ids
        true, answers = (np.array([float(row[key]) for row in rows]) for key in ("true", "predicted"))
        assert true == pytest.approx([column[i] for i in test_ids], abs=1e-6)
        assert answers == pytest.approx([np.atleast_1d(predicted[i])[number] for i in test_ids], abs=2e-5)
        saved = metrics["metrics"][axis] if len(axes) > 1 else metrics["metrics"]
        check_axis(log, saved, axis, true, answers, mean)
        found[axis] = saved["spearman"]
    result = metrics["result"]
    assert (result if len(axes) > 1 else {axes[0]: result}) == {
        axis: {**(result if len(axes) == 1 else {}), "spearman": rho} for axis, rho in found.items()
    }
    return found


def check_axis(log, saved, axis, true, answers, mean):
    """One axis's numbers in metrics.json and in the log."""
    error, constant = np.mean((true - answers) ** 2), np.mean((true - mean) ** 2)
    assert saved["spearman"] == pytest.approx(spearmanr(true, answers).statistic, abs=1e-9)
    assert saved["mse"] == pytest.approx(error, rel=1e-5) and saved["mse_constant"] == pytest.approx(constant, rel=1e-5)
    (number,) = [k for k, (name, _) in enumerate(SPEARMAN.findall(log)) if name == axis]
    assert float(SPEARMAN.findall(log)[number][1]) == pytest.approx(saved["spearman"], abs=1e-9)
    words = MSE.findall(log)[number]
    assert [float(words[1]), float(words[3])] == pytest.approx([error, constant], abs=6e-5) and int(words[2]) == len(
        true
    )
    no_better = [float(value) for value, name in NO_BETTER.findall(log) if name == axis]
    assert no_better == ([pytest.approx(mean, abs=6e-4)] if error >= constant else [])
    if len(true) < 10:
        assert saved["interval"] == [None, None] and f"it takes 10 test clips, and here are {len(true)}" in log
        return
    assert list(map(float, INTERVAL.findall(log)[number])) == pytest.approx(saved["interval"], abs=6e-4)
    draws = resampled(true, answers)
    for end, (low, high) in zip(
        saved["interval"], ((0.7, 4.7), (95.3, 99.3)), strict=True
    ):  # a bootstrap of 1000 rounds hits 2.5 and 97.5 so
        assert np.percentile(draws, low) - 5e-3 <= end <= np.percentile(draws, high) + 5e-3


def resampled(true, answers, rounds=4000):
    """Spearman's of clips drawn with replacement, where it is defined."""
    drawn = np.random.default_rng(1).integers(0, len(true), (rounds, len(true)))
    one, other = (rankdata(values[drawn], axis=1) for values in (true, answers))
    one, other = (ranks - ranks.mean(axis=1, keepdims=True) for ranks in (one, other))
    squares = (one**2).sum(axis=1) * (other**2).sum(axis=1)
    return (one * other).sum(axis=1)[squares > 0] / np.sqrt(squares[squares > 0])


def spread(found, values):
    """Std of the outputs as a share of the labels', the smallest of all axes."""
    shares = np.std(np.stack(list(found.values())), axis=0) / np.std(np.float32([values[i] for i in found]), axis=0)
    return float(np.min(shares))


def check_training(history, trained, values=None, rel=(1e-4, 0.0), val_rel=(1e-4, 0.0)):
    """The losses of each epoch, and the spread, as training by hand finds them; tolerances: in epoch 0, and more for
    every later one.

    A CNN's pooling windows that are all but equal decide by the last digit, and Adam makes much of it: see CNN_REL.
    """
    for row, (train_loss, found, val_loss) in zip(history, trained, strict=True):
        near, val_near = (first + row["epoch"] * more for first, more in (rel, val_rel))
        assert row["train_loss"] == pytest.approx(train_loss, rel=near), row
        assert row["val_loss"] == pytest.approx(val_loss, rel=val_near), row
        if values:
            assert row["spread"] == pytest.approx(spread(found, values), rel=2 * val_near), row


CNN_REL = {"rel": (5e-3, 1e-2), "val_rel": (0.05, 0.05)}


def assert_no_decay(weights, initial):
    """Batch norm leaves the biases before it without a gradient: only weight decay would draw all of them towards 0."""
    names = [name for name in weights if re.fullmatch(r"backbone\.stages\.\d\.0\.bias", name)]
    moved, first = (torch.cat([each[name] for name in names]) for each in (weights, initial))
    assert len(names) == 4 and ((moved - first) * first < 0).float().mean() < 0.9


def check_lines(folder, every=1):
    """The log's pairs of losses are those of history.json, each `every` epochs."""
    wanted = [
        (row["epoch"], name, row[key])
        for row in read_json(folder / "history.json")[::every]
        for name, key in (("training", "train_loss"), ("validation", "val_loss"))
    ]
    assert [
        (int(epoch), name, float(loss))
        for epoch, name, loss in LOSSES.findall((folder / "log.txt").read_text(encoding="utf-8"))
    ] == wanted


def check_results(done, step, by_seed, first_seed=0):
    """The RESULT lines, from [{row's words: {key: number or word}}] of each seed: 4 decimals, of several seeds means
    and std too.
    """
    rows = [dict(row) for row in done.results]
    wanted = []
    for number, found in enumerate(by_seed):
        for words, numbers in found.items():
            wanted.append(
                {
                    "step": step,
                    **dict(words),
                    **shown(numbers),
                    **({"seed": str(first_seed + number)} if len(by_seed) > 1 else {}),
                }
            )
    if len(by_seed) > 1:
        for words, numbers in by_seed[0].items():
            row = {"step": step, **dict(words), "seeds": str(len(by_seed))}
            for key, value in numbers.items():
                values = [found[words][key] for found in by_seed]
                if isinstance(value, float):
                    row |= shown({key: float(np.mean(values)), f"{key}_sd": float(np.std(values, ddof=1))})
                else:
                    row[key] = "/".join(dict.fromkeys(map(str, values)))
            wanted.append(row)
    assert len(rows) == len(wanted)
    for row, expected in zip(rows, wanted, strict=True):
        assert row.keys() == expected.keys(), row
        for key, text in expected.items():
            assert row[key] == text or ("." in text and float(row[key]) == pytest.approx(float(text), abs=1.01e-4)), (
                row,
                expected,
            )


def shown(numbers):
    return {key: f"{value:.4f}" if isinstance(value, float) else str(value) for key, value in numbers.items()}


def fresh(seed, make):
    """make() right after the seed is set."""
    torch.manual_seed(seed)
    return make()
