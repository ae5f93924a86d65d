"""The numbers of steps 5 and 7, recomputed from labels, spectrogram files and saved weights: the genre LSTMs and the
genre CNN.
"""

import math
import re

import numpy as np
import pytest
import torch
from by_hand import CNN, LSTM, Headed, accuracy, mean_loss, outputs, read_weights, split, squared_softmax, train
from emotion_runs import CNN_REL, check_results, check_training, fresh
from runs import numbers, predictions, read_json, shared_run
from scipy.stats import binom
from sklearn import metrics as sk
from small_data import CLASSES, GENRES
from torch import nn
from warm import warm_script

SIZE, VAL_SIZE, DECAY = 8, 0.33, 1e-3
SETS = {
    "mel": ("mel", GENRES),
    "beat": ("mel", f"{GENRES}_beat"),
    "chroma": ("chroma", GENRES),
    "fused": ("fused", GENRES),
}
WIDTHS = {"mel": 128, "chroma": 12, "fused": 140}
LOSSES = {"cross-entropy": nn.CrossEntropyLoss(), "squared-error": squared_softmax}
SEEDS, TIED, FIRST, RATE, STILL = (3, 4), 1, 0, 1e-3, 1e-30
STEP7, STEP5 = "step7_cnn", "step5_lstm"
RUNS = {
    "cnn": (STEP7, "--epochs", 4, "--seed", SEEDS[0], "--seeds", len(SEEDS)),
    "tied": (STEP7, "--epochs", 4, "--seed", TIED, "--lr", 1e-6),
    "lstm": (STEP5, "--epochs", 3, "--features", "beat", "fused", "--lr", RATE, "--seeds", 2),
    "squared": (STEP5, "--epochs", 3, "--features", "mel", "chroma", "--lr", RATE, "--loss", "squared-error"),
    "still": (STEP5, "--epochs", 5, "--features", "chroma", "--lr", STILL, "--loss", "squared-error", "--seeds", 2),
}
COMPARISONS = (
    ("lstm", "cross-entropy", ("beat", "fused"), (0, 1)),
    ("squared", "squared-error", ("mel", "chroma"), (0,)),
)
# What the logs say, each form once
LINES = re.compile(r"^epoch : (\d+) ,training loss = (\S+)\nAccuracy in validation set = (\S+) %$", re.MULTILINE)
VAL_LINES = re.compile(r"^epoch : (\d+) ,validation loss = (\S+)$", re.MULTILINE)
COUNTS = re.compile(r"(\d+) to train on, (\d+) to validate with.*, (\d+) to test$", re.MULTILINE)
MAJORITY = re.compile(
    r"majority class '(\w+)': accuracy (\S+) % on training clips,\s+(\S+) % on test clips; ln (\d) = (\S+)"
)
PARAMETERS = re.compile(r"^parameters +: (\d+)$", re.MULTILINE)
REFERENCE = r"^ *{} +cross entropy (\S+), squared error of the softmax (\S+)$"
BEST = re.compile(r"^best epoch : (\d+) of 0 to (\d+),.* (\S+) %, validation loss (\S+)$", re.MULTILINE)
TEST_LOSSES = re.compile(r"^cross entropy (\S+), squared error of the softmax (\S+)$", re.MULTILINE)
INTERVAL = re.compile(r"95 % .*accuracy.*: (\S+) to (\S+)$", re.MULTILINE)
TABLE_END, MATRIX = "weighted avg", re.compile(r"\(array\(.*?\]\]\),\s+\S+\)", re.DOTALL)
COUNTED = re.compile(rf"^ *({'|'.join(CLASSES)}) ((?: +\d+){{3}})$", re.MULTILINE)
COMPARED = re.compile(r"^(mel|beat|chroma|fused) +(\d\.\d+) +(\d\.\d+)$", re.MULTILINE)
AT_PRIOR = re.compile(r"for 5 epochs the validation loss .*\(class priors, (\S+)\)")
COLLAPSED = "every validation clip gets the same class"
GIVEN = re.compile(r"^checkpoint : .*best\.pt, epoch (\d+) of (\w+)/(\S+), trained on the same data$", re.MULTILINE)


def genre_run(shared_folder, small, key, *changed):
    """Done of RUNS[key], or of other words called `key`, made once."""

    def make(folder):
        step, *flags = changed or RUNS[key]
        common = ["--data", small.path, "--cache", shared_folder / "genre-cache", "--out", folder / "runs"]
        given = [*common, "--no-baselines", "--batch-size", SIZE, *flags]
        return warm_script(f"{step}.py", *given, root=folder / "runs")

    return shared_run(shared_folder, f"genres-{key}", make)


def make(step, features):
    return Headed(CNN() if step == STEP7 else LSTM(WIDTHS[SETS[features][0]]), len(CLASSES))


def genre_data(small, features, seed):
    """(columns, frames, {id: class number}, train ids, val ids, test ids in the label files' order)."""
    columns, dataset = SETS[features]
    frames = small.frames[dataset, "train"] | small.frames[dataset, "test"]
    numbered = {i: CLASSES.index(c) for s in ("train", "test") for i, c in small.genres[dataset, s].items()}
    val_ids, train_ids = split(list(small.genres[dataset, "train"]), VAL_SIZE, seed)
    return columns, frames, numbered, train_ids, val_ids, list(small.genres[dataset, "test"])


def check_run(folder, small, step, features, seed, loss="cross-entropy"):
    """All numbers of a run that follow from data and saved weights; returns its (history, kept epoch, {key: number} of
    its RESULT line).
    """
    columns, frames, numbered, train_ids, val_ids, test_ids = genre_data(small, features, seed)
    log = (folder / "log.txt").read_text(encoding="utf-8")
    weights, metadata = read_weights(folder / "best.pt")
    history, saved = read_json(folder / "history.json"), read_json(folder / "metrics.json")
    model = make(step, features)
    model.load_state_dict(weights)
    parameters = sum(weight.numel() for weight in model.parameters())
    check_facts(log, numbered, train_ids, val_ids, test_ids, parameters)

    # Epochs: the log's lines, the best one, and what its weights give
    assert [row["epoch"] for row in history] == list(range(len(history)))
    assert [tuple(map(float, line)) for line in LINES.findall(log)] == [
        (row["epoch"], row["train_loss"], pytest.approx(100 * row["val_acc"])) for row in history
    ]
    lines = [(int(epoch), float(value)) for epoch, value in VAL_LINES.findall(log)]
    assert lines == ([(row["epoch"], row["val_loss"]) for row in history] if step == STEP5 else [])
    kept = max(range(len(history)), key=lambda k: (history[k]["val_acc"], -history[k]["val_loss"], -k))
    assert (
        metadata["epoch"] == kept
        and metadata["seed"] == seed
        and sorted(metadata["train_ids"]) == sorted(train_ids + val_ids)
    )
    val, test = (outputs(model, frames, ids, SIZE, columns) for ids in (val_ids, test_ids))
    assert history[kept]["val_acc"] == pytest.approx(accuracy(val, numbered), abs=1e-9)
    assert history[kept]["val_loss"] == pytest.approx(mean_loss(val, numbered, LOSSES[loss]), rel=1e-4)
    assert history[kept]["spread"] == len({int(row.argmax()) for row in val.values()})
    metrics = saved["metrics"]
    assert metrics["val_loss"] == pytest.approx(history[kept]["val_loss"], rel=1e-6)
    assert metrics["val_accuracy"] == pytest.approx(history[kept]["val_acc"], abs=1e-9)
    (words,) = BEST.findall(log)
    assert [int(words[0]), int(words[1])] == [kept, len(history) - 1]
    assert float(words[2]) == pytest.approx(100 * history[kept]["val_acc"], abs=6e-3)
    assert float(words[3]) == pytest.approx(history[kept]["val_loss"], abs=6e-5)

    # predictions.csv, and what follows from it
    for name, found in (("val", val), ("test", test)):
        check_predictions(predictions(folder, name), found, numbered)
    assert len(predictions(folder, "train")) == 0
    check_metrics(metrics, log, predictions(folder), test, numbered, is_printed=step == STEP7)
    return history, kept, check_result(saved)


def check_facts(log, numbered, train_ids, val_ids, test_ids, parameters):
    """The numbers that are printed before the first epoch."""
    labels = [numbered[i] for i in train_ids]
    counts = np.bincount(labels, minlength=len(CLASSES))
    shares, largest = counts / counts.sum(), int(counts.argmax())
    test_share = np.mean([numbered[i] == largest for i in test_ids])
    assert [list(map(int, found)) for found in COUNTS.findall(log)] == [[len(train_ids), len(val_ids), len(test_ids)]]
    ((name, train_part, test_part, number, log_number),) = MAJORITY.findall(log)
    assert name == CLASSES[largest] and int(number) == len(CLASSES)
    assert [float(train_part), float(test_part)] == pytest.approx([100 * shares[largest], 100 * test_share], abs=6e-3)
    assert float(log_number) == pytest.approx(math.log(3), abs=6e-5) and PARAMETERS.findall(log) == [str(parameters)]
    for model, guess in (("uniform guess", np.full(3, 1 / 3)), ("class priors", shares)):
        (found,) = re.findall(REFERENCE.format(model), log, re.MULTILINE)
        wanted = [np.mean([-math.log(guess[k]) for k in labels]), np.mean((guess - np.eye(3)[labels]) ** 2)]
        assert list(map(float, found)) == pytest.approx(wanted, abs=6e-5), model


def check_predictions(rows, found, numbered):
    """Rows of predictions.csv against {id: logits}: ids in order, both classes, the softmax."""
    assert [row["id"] for row in rows] == list(found)
    for row in rows:
        shares = torch.tensor(found[row["id"]]).double().softmax(0).tolist()
        assert [float(row[f"p({name})"]) for name in CLASSES] == pytest.approx(shares, abs=3e-5)
        assert row["true"] == CLASSES[numbered[row["id"]]] and row["predicted"] == CLASSES[int(np.argmax(shares))]


def check_metrics(metrics, log, rows, test, numbered, is_printed):
    """metrics.json and the printed report against predictions.csv by scikit-learn; is_printed: the write-up's matrix is
    in the log.
    """
    true, predicted = ([row[key] for row in rows] for key in ("true", "predicted"))
    share, table = sk.accuracy_score(true, predicted), log[: log.index("\n", log.index(TABLE_END))].splitlines()
    printed = {line[: line.rindex(name) + len(name)].strip(): numbers(line.replace(name, "")) for line in table[-9:] for name in
               [*CLASSES, "accuracy", "micro avg", "macro avg", TABLE_END] if line.strip().startswith(name)}  # fmt: skip
    assert metrics["accuracy"] == pytest.approx(share, abs=1e-12)
    assert printed["accuracy"] == [pytest.approx(share, abs=6e-3), len(rows)]
    found = sk.precision_recall_fscore_support(true, predicted, labels=CLASSES, zero_division=0)
    assert list(metrics["classes"]) == CLASSES
    for name, *wanted in zip(CLASSES, *found, strict=True):
        row = metrics["classes"][name]
        assert [row[key] for key in ("precision", "recall", "f1", "support")] == pytest.approx(wanted)
        assert printed[name] == [*(pytest.approx(value, abs=6e-3) for value in wanted[:3]), wanted[3]]
    for average in ("micro", "macro", "weighted"):
        wanted = sk.precision_recall_fscore_support(true, predicted, labels=CLASSES, average=average, zero_division=0)[
            :3
        ]
        assert [metrics[average][key] for key in ("precision", "recall", "f1")] == pytest.approx(wanted)
        assert printed[f"{average} avg"] == [*(pytest.approx(value, abs=6e-3) for value in wanted), len(rows)]
    counts = sk.confusion_matrix(true, predicted, labels=CLASSES).tolist()
    assert metrics["confusion"] == counts
    assert [[name, *map(int, line.split())] for name, line in COUNTED.findall(log)] == [
        [name, *row] for name, row in zip(CLASSES, counts, strict=True)
    ]
    if is_printed:
        (text,) = MATRIX.findall(log)
        assert numbers(text) == [*(float(count) for row in counts for count in row), pytest.approx(share, abs=1e-12)]
    wanted = [mean_loss(test, numbered, loss) for loss in (LOSSES["cross-entropy"], squared_softmax)]
    assert [metrics["test_cross_entropy"], metrics["test_squared_error"]] == pytest.approx(wanted, rel=1e-4)
    assert list(map(float, TEST_LOSSES.findall(log)[0])) == pytest.approx(wanted, abs=1e-4)
    for end, low, high in zip(
        metrics["interval"], (0.012, 0.958), (0.042, 0.988), strict=True
    ):  # 1000 draws of 2.5 and 97.5 %
        assert binom.ppf(low, len(rows), share) - 1e-9 <= len(rows) * end <= binom.ppf(high, len(rows), share) + 1e-9
    assert list(map(float, INTERVAL.findall(log)[0])) == pytest.approx(metrics["interval"], abs=6e-4)


def check_result(saved):
    wanted = {"test_acc": saved["metrics"]["accuracy"], "test_f1_macro": saved["metrics"]["macro"]["f1"]}
    assert saved["result"] == wanted
    return wanted


def trained_by_hand(small, step, features, seed, epochs, loss="cross-entropy", lr=RATE):
    """({val id: class number}, an iterator over epochs as by_hand.train gives them, the weights before the first)."""
    columns, frames, numbered, train_ids, val_ids, _ = genre_data(small, features, seed)
    model = fresh(seed, lambda: make(step, features))
    first = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    decay = DECAY if step == STEP5 else 0.0
    options = {"val_ids": val_ids, "lr": lr, "weight_decay": decay, "features": columns}
    return numbered, train(model, frames, train_ids, numbered, LOSSES[loss], epochs, SIZE, seed, **options), first


def check_epochs(history, numbered, trained, rel, val_rel):
    """Each epoch's losses as training by hand finds them, and its accuracy but for clips that two classes share."""
    trained = list(trained)
    check_training(history[: len(trained)], trained, rel=rel, val_rel=val_rel)
    for row, (_, found, _) in zip(history, trained, strict=False):
        gaps = [np.diff(np.sort(logits)[-2:])[0] for logits in found.values()]
        assert abs(row["val_acc"] - accuracy(found, numbered)) * len(found) <= sum(gap < 0.1 for gap in gaps) + 1e-9


@pytest.mark.parametrize("seed", SEEDS)
def test_the_cnn_of_step_7(seed, shared_folder, small):
    done = genre_run(shared_folder, small, "cnn")
    history, _, _ = check_run(done.folder(STEP7, f"mel_seed{seed}"), small, STEP7, "mel", seed)
    numbered, trained, _ = trained_by_hand(small, STEP7, "mel", seed, 2)
    check_epochs(history, numbered, trained, **CNN_REL)


def test_step_7_keeps_an_epoch_that_is_not_the_last_and_gives_means_over_seeds(shared_folder, small):
    done, kept, by_seed = genre_run(shared_folder, small, "cnn"), [], []
    for seed in SEEDS:
        history, best, result = check_run(done.folder(STEP7, f"mel_seed{seed}"), small, STEP7, "mel", seed)
        kept.append(len(history) - 1 - best)
        by_seed.append({(): result})
    assert max(kept) > 0 and all(0 < row[()]["test_acc"] < 1 for row in by_seed) and by_seed[0] != by_seed[1]
    check_results(done, STEP7, by_seed, SEEDS[0])


def test_of_equally_accurate_epochs_step_7_keeps_the_one_of_least_loss(shared_folder, small):
    folder = genre_run(shared_folder, small, "tied").folder(STEP7, f"mel_seed{TIED}")
    history, kept, _ = check_run(folder, small, STEP7, "mel", TIED)
    assert len({row["val_acc"] for row in history}) == 1 and 0 < kept < len(history) - 1


@pytest.mark.parametrize(("features", "seed"), [(name, seed) for name in ("beat", "fused") for seed in (0, 1)])
def test_an_lstm_of_step_5_by_the_cross_entropy(features, seed, shared_folder, small):
    done = genre_run(shared_folder, small, "lstm")
    folder = done.folder(STEP5, f"{features}_cross-entropy_seed{seed}")
    history, _, _ = check_run(folder, small, STEP5, features, seed)
    numbered, trained, _ = trained_by_hand(small, STEP5, features, seed, len(history) if seed else 1)
    check_epochs(history, numbered, trained, rel=(1e-4, 1e-3), val_rel=(1e-4, 1e-3))


@pytest.mark.parametrize("features", ["mel", "chroma"])
def test_an_lstm_of_step_5_by_the_squared_error(features, shared_folder, small):
    done = genre_run(shared_folder, small, "squared")
    folder = done.folder(STEP5, f"{features}_squared-error_seed{FIRST}")
    history, _, _ = check_run(folder, small, STEP5, features, FIRST, "squared-error")
    numbered, trained, _ = trained_by_hand(small, STEP5, features, FIRST, len(history), "squared-error")
    check_epochs(history, numbered, trained, rel=(1e-4, 1e-3), val_rel=(1e-4, 1e-3))


def test_results_and_comparison_of_step_5(shared_folder, small):
    tied = []
    for key, loss, sets, seeds in COMPARISONS:
        done, by_seed = genre_run(shared_folder, small, key), []
        words = [("loss", loss)] * (loss != "cross-entropy")
        for seed in seeds:
            rows = {}
            for features in sets:
                history, kept, found = check_run(
                    done.folder(STEP5, f"{features}_{loss}_seed{seed}"), small, STEP5, features, seed, loss
                )
                rows[(("features", features), *words)] = found
                others = [
                    row for k, row in enumerate(history) if k != kept and row["val_acc"] == history[kept]["val_acc"]
                ]
                tied += [(kept < len(history) - 1, row["epoch"] < kept) for row in others]
            by_seed.append(rows)
        check_results(done, STEP5, by_seed)
        wanted = []
        for features in sets:
            found = [row for rows in by_seed for name, row in rows.items() if name[0] == ("features", features)]
            means = [np.mean([row[key] for row in found]) for key in ("test_acc", "test_f1_macro")]
            wanted.append([features, *(pytest.approx(value, abs=6e-5) for value in means)])
        assert [[name, *map(float, values)] for name, *values in COMPARED.findall(done.out)] == wanted
        assert len({tuple(row.values()) for rows in by_seed for row in rows.values()}) > 1
    assert (True, False) in tied and any(
        earlier for _, earlier in tied
    )  # losses decide, for an earlier epoch and for a later one


@pytest.mark.parametrize("seed", [0, 1])
def test_where_nothing_changes_step_5_keeps_the_first_epoch_of_the_seeds_own_weights(seed, shared_folder, small):
    folder = genre_run(shared_folder, small, "still").folder(STEP5, f"chroma_squared-error_seed{seed}")
    history, kept, _ = check_run(folder, small, STEP5, "chroma", seed, "squared-error")
    assert kept == 0 and len({(row["val_acc"], row["val_loss"]) for row in history}) == 1
    first, saved = trained_by_hand(small, STEP5, "chroma", seed, 0)[2], read_weights(folder / "best.pt")[0]
    assert saved.keys() == first.keys() and all(torch.equal(saved[name], first[name]) for name in first)
    log = (folder / "log.txt").read_text(encoding="utf-8")
    (prior,) = re.findall(REFERENCE.format("class priors"), log, re.MULTILINE)
    assert AT_PRIOR.findall(log) == [prior[1]] and (COLLAPSED in log) == (history[0]["spread"] == 1)
