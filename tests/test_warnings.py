"""Every warning and check that a step prints, clips on both splits, given checkpoints, a training
that stands still, one batch, dry runs, baselines, and where a score falls on the lab's own data set."""

import json
import math
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
from by_hand import batches, emotion_split, read_weights, split
from runs import Done, predictions, read_json, shared_run
from small_data import AXES, EMOTIONS, GENRES, LABELLED, MAPPING, clip, write_clips
from warm import warm_script

BEAT = f"{GENRES}_beat"
OVERLAP = re.compile(
    r"WARNING: (\d+) of the (\d+) test clips (are training clips too|were used to train it) "
    r"\(by id\), for example '(\w+)'"
)
ON_BOTH, TRAINED_WITH = "are training clips too", "were used to train it"
ORIGIN = re.compile(r"^checkpoint : epoch (\d+) of (\S+), trained on (the same data|other data)", re.MULTILINE)
OTHER_TABLE = "its class table was another one"
AT_PRIOR = re.compile(
    r"^warning    : for 5 epochs the validation loss has been a constant predictor's \((.+), ([\d.]+)\)",
    re.MULTILINE,
)
COLLAPSED = re.compile(
    r"^warning    : for 5 epochs (every validation clip gets the same class|predictions hardly differ)", re.MULTILINE
)
RUNS = "dry run    : runs, every loss is finite"
ONE_BATCH = re.compile(r"^sanity check: (\w+), loss (\S+) after (\d+) steps", re.MULTILINE)
CONSTANT = re.compile(r"^the best constant predictor has a loss of (\S+) on it$", re.MULTILINE)
BASELINES = re.compile(
    r"^without a network: the linear model (\S+), the SVM \(RBF\) ([^\s;]+); this network is (.*)$", re.MULTILINE
)
RHO = re.compile(r"predicted values for (\w+) is (\S+)")
ERRORS = re.compile(
    r"MSE ([\d.]+) on (\d+) test clips, ([\d.]+) for the training clips' mean\n"
    r"( +in squared error it is no better than .* ([\d.]+)\n)?"
)
EXPECTED = re.compile(
    r"^to expect  : ([\d.]+) to ([\d.]+) on the lab's data set .*; "
    r"([\d.]+) is (not significantly )?(below|within|above)(, its 95 % .*|; likely causes.*)?$",
    re.MULTILINE,
)
COMPARABLE = re.compile(
    r"^write-up   : accuracy ([\d.]+)(?:, macro F1 [\d.]+)? on the (same 575 test clips|lab's 575 test clips, not comparable .*)$",
    re.MULTILINE,
)
SHARED, TYPES = 3, 2


def with_overlap(small, root, table=MAPPING):
    """The beat-synced genres, SHARED training clips on the test split too, and this class table; (root, their ids)."""
    shutil.copytree(small.path / BEAT, root / BEAT)
    (root / "class_mapping.json").write_text(json.dumps(table, ensure_ascii=False), encoding="utf-8")
    lines = (root / BEAT / "train_labels.txt").read_text(encoding="utf-8").splitlines()
    chosen = [line for line in lines[1:] if table[line.split("\t")[1]]][:SHARED]
    with open(root / BEAT / "test_labels.txt", "a", encoding="utf-8", newline="") as file:
        file.write("\r\n".join([*chosen, ""]))
    ids = [line.split(".")[0] for line in chosen]
    for ident in ids:
        for path in (root / BEAT / "train").glob(f"{ident}.*"):
            shutil.copy(path, root / BEAT / "test")
    return root, ids


@pytest.fixture(scope="session")
def said(shared_folder, small):
    """said(name) -> Done of a command; all are run once."""

    def make(folder):
        data, ids = with_overlap(small, folder / "data")
        other, _ = with_overlap(small, folder / "other", {**MAPPING, "Punk": "Jazz"})
        (folder / "ids.json").write_text(json.dumps(ids))
        root = folder / "runs"

        def call(name, script, *flags, data=data, baselines=False, root=root, expect=0):
            given = [
                "--data",
                data,
                "--no-cache",
                "--out",
                root,
                *["--no-baselines"] * (not baselines),
                "--batch-size",
                8,
                *flags,
            ]
            done = warm_script(script, *given, root=root, cwd=folder, expect=expect)
            (folder / f"said {name}.json").write_text(json.dumps([*done[:2], str(root)]), encoding="utf-8")

        beat = ("--features", "beat")
        call("stuck", "step5_lstm.py", *beat, "--lr", 1e-9, "--epochs", 7)
        checkpoint = root / "step5_lstm" / "beat_cross-entropy_seed0" / "best.pt"
        score(folder, root, "same", checkpoint)
        score(folder, folder / "elsewhere", "other", checkpoint, "--data", other)
        call("quick", "step5_lstm.py", *beat, "--quick", data=small.path)
        call("infinite", "step5_lstm.py", *beat, "--lr", 1e30, "--epochs", 1, data=small.path, expect=1)
        call("baselines", "step10_multitask.py", "--epochs", 1, data=small.path, baselines=True)
        kept = {path: path.stem.split("_")[-2] for path in (root / "baselines").glob("*.json")}
        assert sorted(kept.values()) == sorted(AXES)
        for path in kept:
            assert read_json(path).keys() == {"linear", "svm"}
            path.write_text(json.dumps({**read_json(path), "svm": None}))
        call("baselines again", "step10_multitask.py", "--epochs", 1, "--resume", data=small.path, baselines=True)
        types = write_types(folder / "types")
        call("one batch", "step8_regression.py", "--model", "lstm", "--axis", "valence", "--overfit-batch", data=types)
        call(
            "diverges",
            "step8_regression.py",
            "--model",
            "lstm",
            "--axis",
            "valence",
            "--overfit-batch",
            "--lr",
            1e30,
            data=types,
            expect=None,
        )
        call(
            "lab",
            "step5_lstm.py",
            *beat,
            "--lr",
            1e-9,
            "--epochs",
            1,
            data=write_lab(folder / "lab"),
            root=folder / "elsewhere",
        )
        return Done("", "", folder)

    root = shared_run(shared_folder, "warnings", make).root
    return lambda name: Done(*read_json(root / f"said {name}.json")[:2], Path(read_json(root / f"said {name}.json")[2]))


def score(folder, root, name, checkpoint, *data):
    """evaluate.py on a checkpoint, kept for said(name)."""
    done = warm_script("evaluate.py", checkpoint, *data, "--no-cache", "--out", root, root=root, cwd=folder)
    (folder / f"said {name}.json").write_text(json.dumps([*done[:2], str(root)]), encoding="utf-8")


def write_types(root):
    """Clips of two kinds, all of a kind alike: the kind tells valence."""
    rng = np.random.default_rng(2)
    kinds = np.arange(24) % 2
    two = [clip(rng, 2, tilt) for tilt in (60.0, -60.0)]
    write_clips(root / f"{EMOTIONS}_beat" / "train", {str(4000 + k): two[kinds[k]] for k in range(24)})
    rows = [f"{4000 + k},{0.2 + 0.6 * kinds[k]},0.5,0.5" for k in range(24)]
    (root / f"{EMOTIONS}_beat" / "train_labels.txt").write_text("\n".join(["Id,valence,energy,danceability", *rows]))
    return root


def write_lab(root):
    """As many test clips, and the genres, that the lab's own set has of the classes that it keeps; one frame each."""
    rng = np.random.default_rng(3)
    genres = ["Rock", "Folk", "Metal", "Trip-Hop", "Pop", "Electronic", "Hip-Hop", "Classical", "Blues", "Jazz"]
    for part, count in (("train", 40), ("test", 575)):
        ids = [str(5000 + k + 1000 * (part == "test")) for k in range(count)]
        write_clips(root / BEAT / part, {ident: clip(rng, 1, 0.0) for ident in ids})
        lines = ["Id\tGenre", *(f"{ident}.npy\t{genres[k % 10]}" for k, ident in enumerate(ids))]
        (root / BEAT / f"{part}_labels.txt").write_text("\n".join(lines))
    return root


def test_clips_on_both_splits_are_counted_and_one_is_named(said, small):
    ids = read_json(said("stuck").root.parent / "ids.json")
    tested = len(small.genres[BEAT, "test"]) + SHARED
    assert OVERLAP.findall(said("stuck").out) == [(str(SHARED), str(tested), ON_BOTH, min(ids))]
    assert "WARNING" not in said("quick").out + said("baselines").out


def test_a_given_checkpoint_is_told_apart_by_its_data_its_clips_and_its_table(said, small):
    same, other = said("same"), said("other")
    ids, (_, metadata) = (
        read_json(same.root.parent / "ids.json"),
        read_weights(same.root / "step5_lstm/beat_cross-entropy_seed0/best.pt"),
    )
    variant = "step5_lstm/beat_cross-entropy_seed0"
    assert (
        ORIGIN.findall(same.out) == [(str(metadata["epoch"]), variant, "the same data")] and OTHER_TABLE not in same.out
    )
    assert ORIGIN.findall(other.out) == [(str(metadata["epoch"]), variant, "other data")] and OTHER_TABLE in other.out
    for done in (same, other):
        tested = str(len(small.genres[BEAT, "test"]) + SHARED)
        assert OVERLAP.findall(done.out)[-1] == (str(SHARED), tested, TRAINED_WITH, min(ids))
    assert sorted(metadata["train_ids"]) == sorted(small.genres[BEAT, "train"])
    (row,), (trained,) = same.results, said("stuck").results
    assert row == {**trained, "mode": "score"}


def test_marks_of_the_result_lines(said):
    assert [row.get("mode") for row in said("quick").results] == ["quick"] and said("quick").out.count(RUNS) == 1
    for name in ("stuck", "baselines", "lab"):
        assert not any({"mode", "data"} & row.keys() for row in said(name).results) and RUNS not in said(name).out


def test_a_training_that_stands_still_is_called_so_once(said, small):
    done = said("stuck")
    (folder,) = done.root.glob("step5_lstm/beat_cross-entropy_seed0")
    history = read_json(folder / "history.json")
    train = split(list(small.genres[BEAT, "train"]), 0.33, 0)[1]
    shares = np.unique([small.genres[BEAT, "train"][ident] for ident in train], return_counts=True)[1] / len(train)
    prior = float(-(shares * np.log(shares)).sum())
    sits = [0.98 * prior <= row["val_loss"] <= 1.05 * prior and row["train_loss"] >= 0.85 * prior for row in history]
    said_at = AT_PRIOR.findall(done.out)
    assert [float(value) for _, value in said_at] == [pytest.approx(prior, abs=6e-5)] * all(sits)
    alike = len({row["predicted"] for row in predictions(folder, "val")}) == 1
    assert all(row["spread"] == len({row["predicted"] for row in predictions(folder, "val")}) for row in history)
    assert len(COLLAPSED.findall(done.out)) == alike and (alike or all(sits))
    for match in [*AT_PRIOR.finditer(done.out), *COLLAPSED.finditer(done.out)]:
        before = [
            line
            for line in done.out[: match.start()].splitlines()
            if line.startswith("epoch : ") and "validation" in line
        ]
        assert before[-1].startswith("epoch : 4 ")
    assert not AT_PRIOR.search(said("quick").out) and not COLLAPSED.search(said("quick").out)


def test_a_loss_that_is_no_number_is_named_with_its_step_and_clips(said, small):
    train = split(list(small.genres[BEAT, "train"]), 0.33, 0)[1]
    error = said("infinite").err.split("error: ")[1]
    step = int(re.search(r"step (\d+) of the epoch", error)[1])
    assert step >= 1 and error.startswith("non-finite: the loss is ")
    assert re.search(r"with the clips ([\d, ]+);", error)[1].split(", ") == batches(train, 8, 0)[step]


def test_the_sanity_check_on_one_batch(said):
    """Those that take all 1000 steps, slow and stuck, are tests/test_training.py's."""
    done = said("one batch")
    (row,) = done.results
    order = np.random.default_rng(0).permutation(24)
    rest = np.arange(24)[order[4:]]
    train = rest[np.random.default_rng(0).permutation(20)[6:]]
    batch = train[np.random.default_rng((0, 0)).permutation(14)[:8]]
    constant = np.var(0.6 * (batch % 2))
    assert [float(value) for value in CONSTANT.findall(done.out)] == [pytest.approx(constant, rel=1e-3)]
    ((answer, loss, steps),) = ONE_BATCH.findall(done.out)
    assert row["axis"] == "valence" and row["overfit"] == answer == "learns"
    assert float(row["loss"]) == pytest.approx(float(loss), abs=6e-5)
    assert float(loss) < constant / 30 and int(steps) < 1000 and "of 8 clips for at most 1000 steps" in done.out
    ((answer, loss, steps),) = ONE_BATCH.findall(said("diverges").out)
    assert answer == "diverges" and not math.isfinite(float(loss)) and int(steps) < 1000


def test_a_diverging_batch_has_a_result_line(said):
    assert [row["overfit"] for row in said("diverges").results] == ["diverges"]


def test_on_a_handful_of_clips_nothing_is_claimed(said):
    """Above, below and undecided are tests/test_numbers_baselines.py's."""
    for name in ("baselines", "baselines again"):
        lines = BASELINES.findall(said(name).out)
        assert [answer for *_, answer in lines] == ["compared with neither the linear model nor the SVM (RBF)"] * 3
        assert said(name).out.count(f": it takes 10 test clips, and here are {LABELLED // 5}") == 3
    assert [svm for _, svm, _ in lines] == ["undefined"] * 3


def test_the_squared_error_of_the_mean_is_named_where_it_is_no_worse(said, small):
    done = said("baselines")
    ids = list(small.emotions[EMOTIONS])
    train = emotion_split(ids, 0)[0]
    (folder,) = done.root.glob("step10_multitask/cnn_seed0")
    for axis, (error, clips, constant, sentence, mean) in zip(AXES, ERRORS.findall(done.out), strict=True):
        true, ours = np.array(
            [[float(row["true"]), float(row["predicted"])] for row in predictions(folder, axis=axis)]
        ).T
        known = np.mean([small.emotions[EMOTIONS][ident][AXES.index(axis)] for ident in train])
        errors = np.mean((true - ours) ** 2), np.mean((true - known) ** 2)
        assert [float(error), float(constant)] == pytest.approx(errors, abs=6e-5) and int(clips) == LABELLED // 5
        assert bool(sentence) == (errors[0] >= errors[1]) and (
            not sentence or float(mean) == pytest.approx(known, abs=6e-4)
        )


def test_on_the_labs_set_alone_a_score_has_a_range_and_the_write_up_beside_it(said):
    done = said("lab")
    ((low, high, score, unsure, place, causes),) = EXPECTED.findall(done.out)
    assert float(score) == float(done.results[0]["test_acc"])
    assert place == ("below" if float(score) < float(low) else "above" if float(score) > float(high) else "within")
    assert bool(causes) == (place != "within") and (place != "within" and not unsure) == (
        "             1. " in done.out
    )
    assert COMPARABLE.findall(done.out) == [("0.3200", "same 575 test clips")]
    ((theirs, clips),) = COMPARABLE.findall(said("stuck").out)
    assert theirs == "0.3200" and "not comparable" in clips and not EXPECTED.search(said("stuck").out)
