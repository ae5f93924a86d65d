"""build_report.py: every number of its tables, from runs whose saved numbers all differ from each other.

The runs are copies of real ones of every step. Their data pass for the lab's, so the page compares with the write-up.
"""

import re

import numpy as np
import pytest
from page_runs import AVERAGES, KEYS, SENTENCE, SUPPORT, Page, build, columns, genre_metrics, lab_data, unlike
from reading_runs import AXIS, reading_runs
from runs import numbers, predictions, read_json, shared_run
from scipy.stats import spearmanr
from small_data import AXES, CLASSES

ANSWERS = {"8e": ["yes", "no", "not significant"], "9e": ["yes", "yes"], "10c": ["no", "yes", "not significant"]}
LSTMS = ("mel", "beat")
# the write-up's numbers, read from its pages: step 6 (accuracy, macro F1), 7b, 8 and 10
WRITEUP_LSTM = {"mel": (0.23, 0.09), "beat": (0.32, 0.19)}
WRITEUP_ROCK = {"mel": (0.32, 0.55, 0.41), "beat": (0.31, 0.34, 0.32)}
WRITEUP_VAL = {"mel": (0.2566, 0.0853, 0.0854), "beat": (0.3382, 0.0784, 0.0788)}
WRITEUP_STEP7 = (0.4435, 0.4697, 0.0146)
FEW = re.compile(r"\? No answer, rank correlation ([+-][\d.]+) \(no interval on fewer than 10 clips\)")
WRITEUP_STEP8 = {"lstm": (0.0124, 0.1603, 0.2108, 0.1278), "cnn": (0.2792, 0.6176, 0.3271, 0.4080)}
WRITEUP_STEP10 = (0.1742, 0.5486, 0.3660, 0.3629)


@pytest.fixture(scope="session")
def real(shared_folder, small):
    return reading_runs(shared_folder, small).root


@pytest.fixture(scope="session")
def lab(shared_folder):
    return lab_data(shared_folder)


@pytest.fixture(scope="session")
def done(shared_folder, real, lab):
    return shared_run(shared_folder, "page", lambda folder: build(folder, real, lab, unlike))


@pytest.fixture(scope="session")
def page(done):
    return Page((done.root / "report.html").read_text(encoding="utf-8"))


def runs_of(done, step, variant):
    """The folders of a variant, one for each seed."""
    found = [path for path in (done.root / step / f"{variant}_seed{seed}" for seed in (0, 1)) if path.exists()]
    assert found
    return found


def check(cell, values, decimals=4):
    """A cell shows the value of one seed, or mean ± std of several, with so many decimals."""
    expected = [np.mean(values), np.std(values, ddof=1)] if len(values) > 1 else list(values)
    assert numbers(cell.replace("±", " ")) == pytest.approx(expected, abs=0.501 * 10**-decimals), (cell, values)
    assert all(len(word.partition(".")[2]) == decimals for word in cell.split(" ± ")), cell


def check_compared(cells, values, theirs, clips, decimals=4, their_decimals=4):
    """Cells of a row: ours, its clips, the write-up's, its clips, ours minus the write-up's."""
    check(cells[0], values, decimals)
    assert numbers(cells[1])[-1:] == [clips]
    if theirs is None:
        assert cells[2] == cells[4] == "-"
        return
    assert float(cells[2]) == theirs
    assert re.fullmatch(r"[+-][\d.]+", cells[4]) and float(cells[4]) == pytest.approx(
        np.mean(values) - theirs, abs=0.501 * 10 ** -min(decimals, their_decimals)
    )


def test_accuracies_and_losses_of_the_lstms(done, page):
    for name in LSTMS:
        folders = runs_of(done, "step5_lstm", f"{name}_cross-entropy")
        found = [genre_metrics(predictions(folder)) for folder in folders]
        assert len({each["accuracy"] for each in found}) == len(folders) == 2
        for what, values, theirs in zip(
            ("accuracy", "macro F1"),
            zip(*[(each["accuracy"], each["macro"]["f1"]) for each in found], strict=True),
            WRITEUP_LSTM[name],
            strict=True,
        ):
            check_compared(
                page.row("step6", "ccuracy and macro F1", f"LSTM on {name} by cross-entropy, {what}"),
                values,
                theirs,
                17,
                4,
                2,
            )
        last = [read_json(folder / "history.json")[-1] for folder in folders]
        label = f"{name} by cross-entropy"
        val_acc, train_loss, val_loss = WRITEUP_VAL[name]
        check_compared(page.row("step5", "ccuracy in validation", label), [row["val_acc"] for row in last], val_acc, 10)
        for what, key, theirs, clips in (
            ("training", "train_loss", train_loss, 23),
            ("validation", "val_loss", val_loss, 10),
        ):
            cells = page.row("step5", "Losses", f"{label}, {what} loss")
            check(cells[0], [row[key] for row in last])
            assert numbers(cells[1]) == [clips] and float(cells[2]) == theirs and cells[4] == "another loss"


def test_scores_by_class_and_averaged(done, page):
    for name in LSTMS:
        found = [genre_metrics(predictions(folder)) for folder in runs_of(done, "step5_lstm", f"{name}_cross-entropy")]
        table = {row[0]: row[1:] for row in page.table("step6", f"LSTM on {name} by cross-entropy, by class")}
        assert len(table) == 1 + len(CLASSES) + len(AVERAGES)
        for label, ours, clips in [
            *(
                (each, [metrics["classes"][each] for metrics in found], found[0]["classes"][each]["support"])
                for each in CLASSES
            ),
            *((f"{each} average", [metrics[each] for metrics in found], 17) for each in AVERAGES),
        ]:
            for key, cell in zip(KEYS, table[label], strict=False):
                check(cell, [metrics[key] for metrics in ours], 2)
            assert int(table[label][3]) == clips
        assert [float(cell) for cell in table["Rock"][4:7]] == list(WRITEUP_ROCK[name]) and int(
            table["Rock"][7]
        ) == SUPPORT["Rock"]
        assert (
            float(table["micro average"][4]) == WRITEUP_LSTM[name][0]
            and float(table["macro average"][6]) == WRITEUP_LSTM[name][1]
        )


@pytest.mark.parametrize(
    ("section", "step", "variant", "label", "val_clips", "train_clips"),
    [
        ("step7b-d", "step7_cnn", "mel", "CNN on mel", 10, 23),
        ("step9", "step9_transfer", "genres", "CNN to be transferred", 9, 20),
    ],
)
def test_accuracy_and_confusion_of_the_cnn(done, page, section, step, variant, label, val_clips, train_clips):
    folders = runs_of(done, step, variant)
    found = [genre_metrics(predictions(folder)) for folder in folders]
    theirs = WRITEUP_STEP7 if step == "step7_cnn" else (0.4383, 0.4513, 0.0144)
    last = [read_json(folder / "history.json")[-1] for folder in folders]
    tables = {"step7b-d": "ccuracy and loss", "step9": "9c"}
    for what, values, other, clips in (
        ("accuracy", [each["accuracy"] for each in found], theirs[0], 17),
        ("accuracy, last epoch", [row["val_acc"] for row in last], theirs[1], val_clips),
        ("last epoch, training loss", [row["train_loss"] for row in last], theirs[2], train_clips),
    ):
        check_compared(page.row(section, tables[section], f"{label}, {what}"), values, other, clips)
    matrix = np.mean([each["confusion"] for each in found], axis=0)
    head, *rows = page.table(section, "onfusion matrix")
    assert head[1:] == [row[0] for row in rows] == CLASSES and not np.allclose(matrix, matrix.T)
    assert np.array([row[1:] for row in rows], dtype=float) == pytest.approx(matrix, abs=0.051)


def rho(folder, axis):
    return float(spearmanr(*columns(predictions(folder, axis=axis)))[0])


def test_regression(done, page):
    better = 0
    for model, theirs in WRITEUP_STEP8.items():
        by_axis = {axis: runs_of(done, "step8_regression", f"{model}_{axis}") for axis in AXES}
        for number, (axis, folders) in enumerate(by_axis.items()):
            label = f"{model.upper()}, {axis}"
            check_compared(
                page.row("step8", "rank correlation", label),
                [rho(folder, axis) for folder in folders],
                theirs[number],
                7,
            )
            metrics = [read_json(folder / "metrics.json")["metrics"] for folder in folders]
            errors = [np.mean(np.subtract(*columns(predictions(folder))) ** 2) for folder in folders]
            cells = page.row("step8", "quared error", label)
            check(cells[0], errors)
            check(cells[1], [each["mse_constant"] for each in metrics])
            better += sum(error < each["mse_constant"] for error, each in zip(errors, metrics, strict=True))
            for what, key, clips in (("training", "train_loss", 20), ("validation", "val_loss", 9)):
                cells = page.row("step8", "Losses", f"{label}, {what} loss")
                check(cells[0], [read_json(folder / "history.json")[-1][key] for folder in folders])
                assert numbers(cells[1]) == [clips]
        mean = [
            np.mean([rho(folders[0], axis) for axis, folders in by_axis.items()])
        ]  # of seed 0, which alone has all axes
        check_compared(page.row("step8", "rank correlation", f"{model.upper()}, mean"), mean, theirs[3], 7)
    assert 0 < better < 8 and f"{8 - better} of 8 " in page.answers["8e"]


def test_transfer_and_multitask(done, page):
    for start in ("transfer", "scratch"):
        (folder,) = runs_of(done, "step9_transfer", f"{AXIS}_{start}")
        theirs = None if start == "transfer" else WRITEUP_STEP8["cnn"][1]
        check_compared(page.row("step9", "9d", f"CNN, {AXIS}, {start}"), [rho(folder, AXIS)], theirs, 7)
        for what, key in (("training", "train_loss"), ("validation", "val_loss")):
            check(
                page.row("step9", "Losses", f"{AXIS}, {start}, {what} loss")[0],
                [read_json(folder / "history.json")[-1][key]],
            )
    (folder,) = runs_of(done, "step10_multitask", "cnn")
    found = [rho(folder, axis) for axis in AXES]
    for axis, value, theirs in zip((*AXES, "mean"), (*found, np.mean(found)), WRITEUP_STEP10, strict=True):
        check_compared(page.row("step10", "rank correlation", f"multitask cnn, {axis}"), [value], theirs, 7)
    for what, key, theirs, clips in (("training", "train_loss", 0.0117, 20), ("validation", "val_loss", 0.0816, 9)):
        cells = page.row("step10", "losses", f"cnn, {what} loss")
        check_compared(cells, [read_json(folder / "history.json")[-1][key]], theirs, clips)


def test_data_clips_and_header(done, page, real):
    saved = read_json(real / "step0_data" / "values_seed0" / "metrics.json")["result"]
    for label, number, theirs in (
        ("clips of the genre set", 55, 3834),
        ("genres", 5, 20),
        ("clips of the multitask set", 47, 1497),
    ):
        cells = page.row("step0", "Clips", label)
        assert [int(cells[0]), int(cells[2]), int(cells[4])] == [number, theirs, number - theirs]
    assert (saved["genre_clips"], saved["multitask_clips"]) == (55, 47)
    drawn = read_json(real / "step1_visualize" / "clips_seed0" / "metrics.json")["result"]
    rows = page.table("step2", "Time steps")[1:]
    assert [int(row[1]) for row in rows if row[0] == "frames"] == [int(text) for text in drawn["frames"].split(",")]
    assert [int(row[1]) for row in rows if row[0] == "beats"] == [int(text) for text in drawn["beats"].split(",")]
    check(page.row("step4", "Balance", "largest / smallest, after it")[0], [13 / 9], 2)
    check(page.row("step4", "Balance", "largest / smallest, before the mapping")[0], [13 / 4], 2)
    assert numbers(page.row("step4", "Balance", "largest / smallest, after it")[4])[0] == pytest.approx(
        13 / 9 - 103 / 34, abs=0.006
    )
    answer = page.answers["4b"]
    assert (
        "3 classes of 5 genres" in answer and "3.25 times" in answer and "1.44 times" in answer and "better" in answer
    )
    assert re.search(r"drops 1 .*1 of them .*Psych-Rock \(4\)", answer)
    runs = [path.parent for path in done.root.glob("step*/*/metrics.json")]
    seconds = sum(read_json(path / "metrics.json")["used"]["seconds"] for path in runs)
    assert numbers(page.header["Runs"])[0] == len(runs) and numbers(page.header["Runs"])[-1] == pytest.approx(
        seconds / 60, abs=0.051
    )
    assert page.header["Seeds"].startswith("0, 1") and done.results[-1]["runs"] == str(len(runs))
    for row in page.table("", "steps and their runs")[1:]:
        folders = [path for path in runs if path.parent.name == row[0].removesuffix(".py")]
        variants = {path.name.rpartition("_seed")[0] for path in folders}
        seeds = sorted({path.name.rpartition("_seed")[2] for path in folders})
        assert row[1:3] == ([str(len(variants)), ", ".join(seeds)] if folders else ["not run", "-"])
        if not folders:
            continue
        used = sum(read_json(path / "metrics.json")["used"]["seconds"] for path in folders)
        assert float(row[5]) == pytest.approx(used / 60, abs=0.051)
        epochs = {len(read_json(path / "history.json")) for path in folders if (path / "history.json").exists()} - {0}
        assert row[3] == (", ".join(map(str, sorted(epochs))) or "-")


def test_the_glance_repeats_the_sections(page):
    rows = page.table("", "glance")[1:]
    sections = {"6": "step6", "7b": "step7b-d", "8": "step8", "9": "step9", "10": "step10"}
    assert [row[0].partition(": ")[0] for row in rows] == ["6", "6", "7b", "8", "8", "9", "9", "10"]
    for row in rows:
        number, _, label = row[0].partition(": ")
        assert any([label, *row[1:]] in table for section, _, table in page.tables if section == sections[number])


def resampled(pairs, score, rounds=3000):
    """95 % bootstrap interval, over clips and seeds, of the mean over seeds of score(first) - score(second)."""
    rng, found = np.random.default_rng(9), []
    for _ in range(rounds):
        rows = rng.integers(0, len(pairs[0][0]), len(pairs[0][0]))
        seeds = rng.integers(0, len(pairs), len(pairs))
        found.append(np.mean([score(pairs[k][0][rows]) - score(pairs[k][1][rows]) for k in seeds]))
    return np.nanpercentile(found, [2.5, 97.5])


def right(folders):
    return [
        np.array([row["true"] == row["predicted"] for row in sorted(predictions(path), key=lambda row: row["id"])])
        for path in folders
    ]


def test_differences_and_intervals_of_accuracies(done, page):
    mel, beat = (right(runs_of(done, "step5_lstm", f"{name}_cross-entropy")) for name in LSTMS)
    cnn = right(runs_of(done, "step7_cnn", "mel"))
    best, other = (mel, beat) if np.mean(mel) > np.mean(beat) else (beat, mel)
    same = [(cnn, mel)] if best is not mel else []
    for question, pairs in {"2a": [(beat, mel)], "6": [(best, other)], "7d": [(cnn, best), *same]}.items():
        for (first, second), found in zip(pairs, SENTENCE.findall(page.answers[question]), strict=True):
            low, high = resampled(list(zip(first, second, strict=True)), np.mean)
            check_sentence(found, np.mean(first) - np.mean(second), low, high, 0.06)


def check_sentence(found, mean, low, high, tolerance):
    word, *values = found
    assert [float(text) for text in values] == pytest.approx([mean, low, high], abs=tolerance)
    assert float(values[0]) == pytest.approx(mean, abs=6e-4)
    assert word.lower() == ("yes" if float(values[1]) > 0 else "no" if float(values[2]) < 0 else "not significant")


def test_differences_of_correlations_and_their_answers(done, page):
    """On the same clips of seed 0, too few for an answer; answers are tests/test_sentences.py's."""
    for question in ANSWERS:
        found = FEW.findall(page.answers[question])
        for mean, (first, second, axis) in zip(found, compared(done, question), strict=True):
            pairs = [(rho(one, axis) - rho(other, axis)) for one, other in zip(first, second, strict=True)]
            assert float(mean) == pytest.approx(np.mean(pairs), abs=6e-4)


def compared(done, question):
    """[(folders of the first model, of the second, axis)] of a question's sentences."""
    cnn = {axis: runs_of(done, "step8_regression", f"cnn_{axis}") for axis in AXES}
    if question == "8e":
        return [(cnn[axis], runs_of(done, "step8_regression", f"lstm_{axis}"), axis) for axis in AXES]
    if question == "9e":
        transfer, scratch = (runs_of(done, "step9_transfer", f"{AXIS}_{start}") for start in ("transfer", "scratch"))
        return [(transfer, scratch, AXIS), (transfer, cnn[AXIS][:1], AXIS)]
    return [(runs_of(done, "step10_multitask", "cnn"), cnn[axis][:1], axis) for axis in AXES]
