"""The single file of each step, run alone in an empty folder, against the step itself.

Losses, best epoch, clips, scores and weights; with two seeds, as a dry run, and on unusual label files and folders.
"""

import json
import re
import shutil

import numpy as np
import pytest
import torch
from by_hand import CNN, LSTM, Headed, accuracy, outputs, read_weights
from runs import REPOSITORY, Done, read_json, shared_run
from scipy.stats import spearmanr
from small_data import AXES, CLASSES, EMOTIONS, GENRES
from warm import warm_script

MAKE_SINGLE_FILE = ("-m extras.single_file", "{step}", "-o", "{file}")
CLIPS = re.compile(r"^(?:clips|classes|parameters|left out) *: (.*)$", re.MULTILINE)
BEST_EPOCH = re.compile(r"^best epoch : (\d+) of 0 to (\d+)", re.MULTILINE)
SEEN = re.compile(r"ids the genre CNN was trained with: (\d+)$", re.MULTILINE)
CASES = {  # flags with which the best epoch is neither the first nor the last
    "step5_lstm.py": (
        "--features",
        "beat",
        "chroma",
        "--loss",
        "squared-error",
        "--lr",
        0.01,
        "--epochs",
        5,
        "--seed",
        2,
    ),
    "step7_cnn.py": ("--epochs", 4, "--seed", 1, "--lr", 0.003),
    "step8_regression.py": ("--axis", "energy", "--epochs", 4, "--seed", 1, "--lr", 0.003),
    "step9_transfer.py": (
        "--axis",
        "danceability",
        "--pretrain-epochs",
        4,
        "--epochs",
        5,
        "--seed",
        2,
        "--batch-size",
        8,
    ),
    "step10_multitask.py": (
        "--ensemble",
        2,
        "--epochs",
        4,
        "--weights",
        0.5,
        0.1,
        0.3,
        "--seed",
        1,
        "--lr",
        0.003,
    ),
}
BY_STEP = pytest.mark.parametrize("step", CASES)
TO_THE_DIGIT = 1e-6  # of LSTMs, which are the same modules in both
ROUNDED = 5e-3  # of a CNN's first training loss: the step's first stage adds in another order,
GROWN = {"train_loss": 0.12, "val_loss": 0.3}  # and Adam and batch norm make more of it in later epochs


def single_file(step, folder, *flags, expect=0, made=None):
    """Makes the single file of a step in an empty folder, or copies one that was made, and runs it there."""
    folder.mkdir(parents=True)
    file = folder / step.replace(".py", "_single.py")
    if made:
        shutil.copy(made.root.parent / file.name, file)
    else:
        warm_script(
            *(word.format(step=step, file=file) for word in MAKE_SINGLE_FILE), root=folder / "runs", cwd=REPOSITORY
        )
    return warm_script(str(file), *flags, root=folder / "runs", cwd=folder, expect=expect)


def the_step(step, folder, *flags, expect=0):
    """Runs the step itself, without a cache and without the baselines, which single files do not have."""
    folder.mkdir(parents=True)
    given = ["--no-cache", "--no-baselines", "--out", folder / "runs"]
    return warm_script(step, *flags, *given, root=folder / "runs", cwd=folder, expect=expect)


@pytest.fixture(scope="session")
def both(shared_folder, small):
    """both(step) -> (Done of the step, Done of its single file), each run once."""

    def run(step):
        flags = ["--data", small.path, "--batch-size", 16, *CASES[step]]
        kinds = {"step": the_step, "single": single_file}
        made = [
            shared_run(shared_folder, f"{step} {name}", lambda folder, k=k: k(step, folder / "empty", *flags))
            for name, k in kinds.items()
        ]
        return [Done(done.out, done.err, done.root) for done in made]

    return run


def runs_of(done):
    """{"<step>/<variant>": folder} of the runs of a command."""
    return {str(path.parent.relative_to(done.root)): path.parent for path in sorted(done.root.rglob("metrics.json"))}


def history_of(folder):
    """[{epoch, train_loss, ...}] of a run."""
    return read_json(folder / "history.json")


@BY_STEP
def test_every_epoch_has_the_steps_losses(both, step):
    step_runs, single_runs = map(runs_of, both(step))
    assert step_runs.keys() == single_runs.keys() and step_runs
    for name, folder in step_runs.items():
        ours, theirs = history_of(single_runs[name]), history_of(folder)
        exact = name.startswith(("step5_lstm", "step8_regression/lstm"))
        assert len(ours) == len(theirs) > 3
        for one, other in zip(ours, theirs, strict=True):
            assert one["epoch"] == other["epoch"]
            for key in ("train_loss", "val_loss"):
                near = TO_THE_DIGIT if exact else ROUNDED if key == "train_loss" and not one["epoch"] else GROWN[key]
                floor = 0 if exact else 0.02 * (key == "val_loss")
                assert one[key] == pytest.approx(other[key], rel=near, abs=floor), (name, one["epoch"], key)
            assert not exact or one.get("val_acc") == other.get("val_acc")


@BY_STEP
def test_the_log_names_the_same_clips_and_best_epochs_and_has_the_losses_of_the_history(both, step):
    done, single = both(step)
    assert CLIPS.findall(single.out) == CLIPS.findall(done.out) and SEEN.findall(single.out) == SEEN.findall(done.out)
    best, checkpoints = BEST_EPOCH.findall(single.out), single.root.rglob("best*.pt")
    assert sorted(int(epoch) for epoch, _ in best) == sorted(read_weights(path)[1]["epoch"] for path in checkpoints)
    assert any(0 < int(epoch) < int(last) for epoch, last in best) and len(best) == len(BEST_EPOCH.findall(done.out))
    for name, folder in runs_of(done).items():
        for path in folder.glob("best*.pt"):
            ours, theirs = (read_weights(each)[1] for each in (runs_of(single)[name] / path.name, path))
            assert ours["train_ids"] == theirs["train_ids"] and ours["classes"] == theirs["classes"]
            assert step != "step5_lstm.py" or ours["epoch"] == theirs["epoch"]
    for folder in runs_of(single).values():
        for row in history_of(folder):
            printed = row["epoch"] % (5 if "cnn" in folder.name and "step7" not in str(folder) else 1) == 0
            for key in ("train_loss", "val_loss"):
                shown = key == "train_loss" or ("step7_cnn" not in str(folder) and not folder.name.startswith("genres"))
                if printed and shown and "ensemble" not in folder.name:
                    assert f" = {row[key]}\n" in single.out, (folder.name, row["epoch"], key)


@BY_STEP
def test_the_result_lines_are_the_steps(both, step):
    done, single = both(step)
    for ours, theirs in zip(single.results, done.results, strict=True):
        assert ours.keys() == theirs.keys()
        for key, text in theirs.items():
            if (
                key not in ("spearman", "scratch") or ours.get("model") == "lstm"
            ):  # of a CNN, pairs of clips may change their order
                assert ours[key] == text, key


def numbered(small, folder, split):
    return {ident: CLASSES.index(name) for ident, name in small.genres[folder, split].items()}


@pytest.mark.parametrize(
    ("step", "features"),
    [("step5_lstm.py", "beat"), ("step5_lstm.py", "chroma"), ("step7_cnn.py", "mel"), ("step9_transfer.py", "genres")],
)
def test_a_genre_score_is_that_of_the_best_epochs_weights(both, small, step, features):
    single = both(step)[1]
    (folder,) = [path for name, path in runs_of(single).items() if f"/{features}_" in name]
    weights, metadata = read_weights(folder / "best.pt")
    columns = features if features == "chroma" else "mel"
    model = Headed(LSTM(12 if features == "chroma" else 128) if step == "step5_lstm.py" else CNN(), len(CLASSES))
    model.load_state_dict(weights)
    where = GENRES + "_beat" * (features == "beat")
    answers = outputs(model, small.frames[where, "test"], small.genres[where, "test"], features=columns)
    expected = accuracy(answers, numbered(small, where, "test"))
    found, history = read_json(folder / "metrics.json"), history_of(folder)
    assert metadata["epoch"] == max(range(len(history)), key=lambda k: (history[k]["val_acc"], -history[k]["val_loss"]))
    assert found["result"]["test_acc"] == pytest.approx(expected)
    assert found["metrics"]["accuracy"] == pytest.approx(expected)


def emotion_test_ids(small, beat, seed):
    ids = sorted(small.emotions[EMOTIONS + "_beat" * beat])
    return [ids[k] for k in np.random.default_rng(seed).permutation(len(ids))[: len(ids) // 5]]


@pytest.mark.parametrize(
    ("step", "run", "axis"),
    [
        ("step8_regression.py", "lstm_energy", "energy"),
        ("step8_regression.py", "cnn_energy", "energy"),
        ("step9_transfer.py", "danceability_transfer", "danceability"),
        ("step9_transfer.py", "danceability_scratch", "danceability"),
    ],
)
def test_a_correlation_is_that_of_the_best_epochs_weights(both, small, step, run, axis):
    single, seed = both(step)[1], CASES[step][CASES[step].index("--seed") + 1]
    folder = runs_of(single)[f"{step[:-3]}/{run}_seed{seed}"]
    weights, metadata = read_weights(folder / "best.pt")
    beat = run.startswith("lstm")
    model = Headed(LSTM(128) if beat else CNN(), 1, squeezed=True)
    model.load_state_dict(weights)
    ids = emotion_test_ids(small, beat, seed)
    where = EMOTIONS + "_beat" * beat
    found = outputs(model, small.frames[where, "train"], ids)
    true = [small.emotions[where][ident][AXES.index(axis)] for ident in ids]
    history = history_of(folder)
    assert metadata["epoch"] == min(range(len(history)), key=lambda k: history[k]["val_loss"])
    expected = spearmanr(true, [found[ident] for ident in ids]).statistic
    assert read_json(folder / "metrics.json")["result"]["spearman"] == pytest.approx(expected, abs=1e-6)


def test_transfer_begins_with_the_genre_network(both):
    single = both("step9_transfer.py")[1]
    first = {name.split("_")[2]: history_of(path)[0] for name, path in runs_of(single).items() if "genres" not in name}
    gap = abs(first["transfer"]["train_loss"] - first["scratch"]["train_loss"])
    assert (
        gap > 4 * ROUNDED * first["scratch"]["train_loss"]
    )  # so that the comparison with the step's losses would notice


def test_a_frozen_backbone_is_the_genre_networks(both, small, tmp_path):
    flags = [
        "--data",
        small.path,
        "--batch-size",
        8,
        "--epochs",
        1,
        "--pretrain-epochs",
        1,
        "--freeze",
        "--axis",
        "valence",
    ]
    runs = runs_of(single_file("step9_transfer.py", tmp_path / "empty", *flags, made=both("step9_transfer.py")[1]))
    genres, transfer = (
        read_weights(path / "best.pt")[0]
        for name, path in runs.items()
        if "genres" in name or "transfer_frozen" in name
    )
    assert {
        name for name in genres if not name.startswith("head.") and not torch.equal(genres[name], transfer[name])
    } == set()


def test_the_ensembles_correlations_are_those_of_its_mean(both, small):
    single, networks = both("step10_multitask.py")[1], []
    (folder,) = runs_of(single).values()
    for number in range(2):
        model = Headed(CNN(), 3)
        model.load_state_dict(read_weights(folder / f"best-{number}.pt")[0])
        networks.append(outputs(model, small.frames[EMOTIONS, "train"], emotion_test_ids(small, False, 1)))
    for number, (axis, row) in enumerate(zip(AXES, single.results, strict=False)):
        true = [small.emotions[EMOTIONS][ident][number] for ident in networks[0]]
        rho = spearmanr(true, [np.mean([each[ident][number] for each in networks]) for ident in networks[0]]).statistic
        assert float(row["spearman"]) == pytest.approx(rho, abs=6e-5) and row["axis"] == axis


@pytest.mark.soak
def test_two_seeds_and_a_dry_run_as_the_step(both, small, tmp_path):
    for number, more in enumerate((["--seeds", 2, "--epochs", 1, "--lr", 0.01, "--batch-size", 16], ["--quick"])):
        flags = ["--data", small.path, "--features", "beat", *more]
        done = the_step("step5_lstm.py", tmp_path / f"step{number}", *flags)
        made = both("step5_lstm.py")[1]
        single = single_file("step5_lstm.py", tmp_path / f"single{number}", *flags, made=made)
        assert single.results == done.results and len(done.results) == (3, 1)[number]
        assert CLIPS.findall(single.out) == CLIPS.findall(done.out)


def test_step_1_prints_the_same_numbers(small, tmp_path):
    flags = ["--data", small.path, "--seed", 1]
    done, single = (call("step1_visualize.py", tmp_path / call.__name__, *flags) for call in (looked_at, single_file))
    lines = [line for line in single.lines if re.search(r"\d", line) and str(tmp_path) not in line]
    assert (
        lines
        and [line for line in lines if line not in done.lines and not line.startswith(("data ", "arguments "))] == []
    )


def looked_at(step, folder, *flags):
    folder.mkdir()
    return warm_script(step, *flags, "--no-cache", "--out", folder / "runs", root=folder / "runs", cwd=folder)


# Unusual data: the single file reads and refuses what the step reads and refuses


def headless(data):
    """Label files without their header line."""
    for path in (data / f"{GENRES}_beat").glob("*_labels.txt"):
        path.write_bytes(path.read_bytes().split(b"\n", 1)[1])


def an_id_twice(data):
    path = data / f"{GENRES}_beat" / "train_labels.txt"
    lines = path.read_bytes().rstrip().split(b"\r\n")
    path.write_bytes(b"\r\n".join([*lines, lines[2]]))


def two_files_of_an_id(data):
    """For every third clip a second file of the same id, later in the alphabet, with another clip."""
    files = sorted((data / f"{GENRES}_beat" / "train").glob("*.npy"))
    for path, other in zip(files[::3], files[1::3], strict=False):
        shutil.copy(other, path.with_name(path.name.replace("fused.full", "fused.old")))


@pytest.mark.parametrize("change", [headless, an_id_twice, two_files_of_an_id])
def test_odd_data_are_read_or_refused_as_by_the_step(both, small, tmp_path, change):
    data = tmp_path / "data"
    shutil.copytree(small.path / f"{GENRES}_beat", data / f"{GENRES}_beat")
    shutil.copy(small.path / "class_mapping.json", data)
    change(data)
    flags = ["--data", data, "--epochs", 1, "--batch-size", 8, "--features", "beat", "--lr", 0.01]
    code = int(change is an_id_twice)
    done = the_step("step5_lstm.py", tmp_path / "step", *flags, expect=code)
    single = single_file("step5_lstm.py", tmp_path / "single", *flags, expect=code, made=both("step5_lstm.py")[1])
    assert single.err.split("error:")[1:] == done.err.split("error:")[1:]
    assert CLIPS.findall(single.out) == CLIPS.findall(done.out)
    for (_, ours), (_, theirs) in zip(runs_of(single).items(), runs_of(done).items(), strict=True):
        assert json.dumps(history_of(ours)[0]["train_loss"]) == json.dumps(history_of(theirs)[0]["train_loss"])
