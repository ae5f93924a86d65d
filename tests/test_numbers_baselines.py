"""The linear model and the SVM beside each network: their scores recomputed, and the sentence that compares them with
the network's.
"""

import functools
import json
import re

import numpy as np
import pytest
from by_hand import emotion_split, halved, mean_and_std, svm_statistics
from compared_runs import ROUNDS, weighted_gap
from runs import predictions, read_json, shared_run
from scipy.stats import spearmanr
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.model_selection import GridSearchCV, KFold
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import QuantileTransformer, StandardScaler
from sklearn.svm import SVC, SVR
from small_data import AXES, EMOTIONS, GENRES, write_clips
from warm import warm_script

CLASSES = ("Blues", "Folk", "Pop")
GENRE_CLIPS = {"train": (11, 14, 10), "test": (17, 12, 16)}
LABELLED = 65
FRAMES_A_SECOND = 22050 / 512
SEED, OTHER_SEED = 3, 4
KEPT = "baselines/*.json"  # below --out: the predictions that a run keeps for the next
LINE = "without a network"
SCORE = re.compile(r"(the [^,;:]*?) (-?\d\.\d{4})")
DIFFERENCE = re.compile(r"minus (the [^,;:]*?) ([-+]\d\.\d+) \(95 % interval ([-+]\d\.\d+) to ([-+]\d\.\d+)\)")
FLAGS = ["--epochs", 1, "--batch-size", 32]


# Data: hard to distinguish, and the clips to test are longer than those to fit


def clip(rng, longest, tilt, tremolo):
    """(140, T): the bands' slope says little, how fast the level moves a little more, and both vary from clip to clip."""
    frames = int(rng.integers(longest * 2 // 3, longest))
    bands, times = np.linspace(-0.5, 0.5, 128)[:, None], np.arange(frames) / FRAMES_A_SECOND
    level = 6 * np.sin(2 * np.pi * (3 + tremolo + 0.8 * rng.normal()) * times)
    mel = rng.normal(-40, 6, (128, frames)) + (tilt + 3 * rng.normal()) * bands + level * rng.normal(1, 0.4, (128, 1))
    chroma = rng.uniform(0.05, 1, (12, frames))
    return np.vstack([(mel - mel.max()).clip(-80, None), chroma / chroma.max(axis=0)])


@functools.cache
def make_data():
    """({(folder, split): {id: frames (140, T)}}, {(folder, split): {id: label}} in the label file's order)."""
    rng, frames, labels = np.random.default_rng(5), {}, {}
    for tail, length in (("", 60), ("_beat", 36)):
        for split, counts in GENRE_CLIPS.items():
            rows = [(f"{split}{k}", c) for k, c in enumerate(c for c, n in enumerate(counts) for _ in range(n))]
            rows = [rows[k] for k in rng.permutation(len(rows))]
            longest = length * (2 if split == "test" else 1)
            frames[GENRES + tail, split] = {i: clip(rng, longest, 4 * (c - 1), 1.5 * (c == 2)) for i, c in rows}
            labels[GENRES + tail, split] = {i: CLASSES[c] for i, c in rows}
        values = np.random.default_rng(6).uniform(0.1, 0.9, (LABELLED, 3)).round(3).tolist()
        rows = [(f"song{k}", values[k]) for k in rng.permutation(LABELLED)]
        frames[EMOTIONS + tail, "train"] = {i: clip(rng, length, 12 * (v - e), 5 * (d - 0.5)) for i, (v, e, d) in rows}
        frames[EMOTIONS + tail, "test"] = {"hidden": clip(rng, length, 0, 0)}
        labels[EMOTIONS + tail, "train"] = dict(rows)
    return frames, labels


def write_data(root):
    frames, labels = make_data()
    root.mkdir()
    (root / "class_mapping.json").write_text(json.dumps({name: name for name in CLASSES}), encoding="utf-8")
    for (folder, split), clips in frames.items():
        write_clips(root / folder / split, clips)
        if (folder, split) in labels:
            write_labels(root, folder, split, labels[folder, split])


def write_labels(root, folder, split, labels):
    if folder.startswith(GENRES):
        lines = ["Id\tGenre", *(f"{ident}.fused.full.npy.gz\t{name}" for ident, name in labels.items())]
    else:
        lines = [
            "Id,valence,energy,danceability",
            *(",".join([ident, *map(str, row)]) for ident, row in labels.items()),
        ]
    (root / folder / f"{split}_labels.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")


def changed_labels(labels):
    """Every fourth training clip gets the next class."""
    return {i: CLASSES[(CLASSES.index(c) + (k % 4 == 0)) % 3] for k, (i, c) in enumerate(labels.items())}


# The two models


def scores(train, targets, test, true):
    """(score, predictions) of the linear model and of the SVM on the test clips: accuracy of names, Spearman's of numbers.

    train, test: lists of (T, 128).
    """
    of_names = isinstance(targets[0], str)
    if not of_names:
        targets = (np.array(targets) - np.mean(targets)) / np.std(targets)
    linear = LogisticRegression(max_iter=300) if of_names else Ridge()
    strengths = (
        {"logisticregression__C": np.logspace(-4, 0, 9)} if of_names else {"ridge__alpha": np.logspace(0, 5, 11)}
    )
    svm, costs = (SVC(), [1, 3, 10]) if of_names else (SVR(), [0.3, 1, 3])
    quantiles = QuantileTransformer(n_quantiles=min(100, len(train)), output_distribution="normal")
    known, unknown = (
        [np.array([f(x) for x in split]) for f in (mean_and_std, svm_statistics)] for split in (train, test)
    )
    known[1], unknown[1] = quantiles.fit_transform(known[1]), quantiles.transform(unknown[1])
    models = (make_pipeline(StandardScaler(), linear), strengths), (svm, {"C": costs, "gamma": [3e-4, 1e-3, 3e-3]})
    found = []
    for (model, choices), x, x_test in zip(models, known, unknown, strict=True):
        folds = KFold(5, shuffle=True, random_state=0)
        predicted = GridSearchCV(model, choices, cv=folds).fit(x, targets).predict(x_test)
        found.append((score_of(true, predicted), tuple(predicted.tolist())))
    assert all(0.02 < abs(score) < 0.98 for score, _ in found) and found[0] != found[1], "data too easy or too hard"
    return found


def score_of(true, predicted):
    if isinstance(true[0], str):
        return float(np.mean(np.array(true) == np.array(predicted)))
    return float(spearmanr(true, predicted).statistic)


def mel_of(frames, ids):
    return [halved(frames[i].T)[:, :128].astype(np.float64) for i in ids]


@functools.cache
def genre_scores(folder, changed=False):
    frames, labels = make_data()
    train, test = labels[folder, "train"], labels[folder, "test"]
    train = changed_labels(train) if changed else train
    mels = [mel_of(frames[folder, split], ids) for split, ids in (("train", train), ("test", test))]
    return scores(mels[0], list(train.values()), mels[1], list(test.values()))


@functools.cache
def axis_scores(folder, axis, seed):
    frames, labels = make_data()
    values = {i: row[AXES.index(axis)] for i, row in labels[folder, "train"].items()}
    test = emotion_split(list(values), seed)[2]
    train = [i for i in values if i not in test]
    mels = [mel_of(frames[folder, "train"], ids) for ids in (train, test)]
    return scores(mels[0], [values[i] for i in train], mels[1], [values[i] for i in test])


# The runs: one after the other, since they share what they keep


def together(done, folder):
    """The runs' outputs as that of one, to be taken apart by `each`."""
    return done[0]._replace(out="\f".join(each.out for each in done), root=folder / "runs")


def each(done):
    return [done._replace(out=out) for out in done.out.split("\f")]


@pytest.fixture(scope="session")
def genres(shared_folder):
    """Step 7; again with kept predictions that were changed by hand; step 5; step 7 with other labels."""

    def make(folder):
        def run(script, *more, out="runs"):
            flags = [
                "--data",
                folder / "data",
                "--cache",
                folder / "cache",
                "--out",
                folder / out,
                "--seed",
                SEED,
                *FLAGS,
            ]
            return warm_script(script, *flags, *more, root=folder / out)

        write_data(folder / "data")
        done = [run("step7_cnn.py")]
        (kept,) = (folder / "runs").glob(KEPT)
        text = kept.read_text(encoding="utf-8")
        rows = predictions(folder / f"runs/step7_cnn/mel_seed{SEED}")
        planted = [[float(CLASSES.index(row[column])) for row in rows] for column in ("true", "predicted")]
        kept.write_text(json.dumps(dict(zip(json.loads(text), planted, strict=True))), encoding="utf-8")
        done += [run("step7_cnn.py", "--lr", 1e-3)]
        kept.write_text(text, encoding="utf-8")
        done += [
            run("step5_lstm.py", "--features", "beat", "chroma"),
        ]
        labels = make_data()[1][GENRES, "train"]
        write_labels(folder / "data", GENRES, "train", changed_labels(labels))
        done += [run("step7_cnn.py")]
        write_labels(folder / "data", GENRES, "train", labels)
        return together(done, folder)

    return each(shared_run(shared_folder, "baselines_genres", make))


@pytest.fixture(scope="session")
def emotions(shared_folder):
    """Step 10; step 8, some of the kept predictions changed by hand; step 9; step 8 with another seed."""

    def make(folder):
        def run(script, seed, *more):
            flags = [
                "--data",
                folder / "data",
                "--cache",
                folder / "cache",
                "--out",
                folder / "runs",
                "--seed",
                seed,
                *FLAGS,
            ]
            return warm_script(script, *flags, *more, root=folder / "runs")

        write_data(folder / "data")
        done = [run("step10_multitask.py", SEED)]
        (kept,) = (path for path in (folder / "runs").glob(KEPT) if "energy" in path.name)
        text = kept.read_text(encoding="utf-8")
        true = [
            float(row["true"]) for row in predictions(folder / f"runs/step10_multitask/cnn_seed{SEED}", axis="energy")
        ]
        worst = [-value for value in true]
        kept.write_text(json.dumps(dict.fromkeys(json.loads(text), worst)), encoding="utf-8")
        done += [run("step8_regression.py", SEED, "--model", "cnn", "--axis", "energy")]
        kept.write_text(text, encoding="utf-8")
        done += [run("step9_transfer.py", SEED, "--axis", "valence", "--pretrain-epochs", 1)]
        done += [run("step8_regression.py", OTHER_SEED, "--model", "cnn", "--axis", "danceability")]
        return together(done, folder)

    return each(shared_run(shared_folder, "baselines_emotions", make))


def said(done):
    """[([(model, score)], what the network is called beside them, [(model, difference, low, high)])] of a Done."""
    found = []
    for line, after in zip(done.lines, done.lines[1:], strict=False):
        if line.startswith(LINE):
            numbers, _, sentence = line.partition(":")[2].partition("; this network is ")
            models = [(name, float(score)) for name, score in SCORE.findall(numbers)]
            found.append((models, sentence, [(n, *map(float, each)) for n, *each in DIFFERENCE.findall(after)]))
    return found


def check(line, baselines, expected, own):
    """A line and its {model: score} in metrics.json hold the expected scores, and the sentence compares them with the
    network's own, (true, predicted), by the paired bootstrap. Returns its answers, 1 for above and -1 for below.
    """
    models, sentence, differences = line
    assert list(baselines.values()) == pytest.approx([score for score, _ in expected], abs=1e-9)
    assert [score for _, score in models] == pytest.approx([score for score, _ in expected], abs=6e-5)
    answers, words = [], {1: "above", -1: "below", 0: "significantly different from"}
    axis, count = None if isinstance(own[0][0], str) else "axis", len(own[0])
    times = np.random.default_rng(1).multinomial(count, [1 / count] * count, ROUNDS)
    for (score, theirs), (_, mean, low, high) in zip(expected, differences, strict=True):
        gaps = weighted_gap(times, axis, list(zip(*own, strict=True)), theirs)
        assert mean == pytest.approx(score_of(*own) - score, abs=6e-4)
        bounds = np.nanpercentile(gaps, [2.5, 97.5])
        assert [low, high] == pytest.approx(bounds, abs=0.1 * (bounds[1] - bounds[0]) + 0.6 / count)
        answers.append(1 if low > 0 else -1 if high < 0 else 0)
    (first, second), (one, other) = answers, [name for name, *_ in differences]
    if first == second:
        assert sentence == words[first] + (f" neither {one} nor {other}" if first == 0 else " both")
    else:
        parts = [f"{'not ' * (each == 0)}{words[each]} {name}" for each, name in ((first, one), (second, other))]
        assert sentence == ", ".join(parts)
    return answers


def own_names(folder, name="predictions.csv"):
    rows = predictions(folder, name=name)
    return [row["true"] for row in rows], [row["predicted"] for row in rows]


def own_values(folder, axis, name="predictions.csv"):
    rows = predictions(folder, axis=axis, name=name)
    return [float(row["true"]) for row in rows], [float(row["predicted"]) for row in rows]


def baselines_in(folder):
    return read_json(folder / "metrics.json")["metrics"]["baselines"]


def test_genres(genres):
    """Steps 7 and 5, the LSTM on chroma too: it stands beside the same models on mel."""
    mel, beat = genre_scores(GENRES), genre_scores(GENRES + "_beat")
    assert mel != beat
    step7, step5 = genres[0], genres[2]
    folder = sorted(step7.folder("step7_cnn").glob(f"mel_seed{SEED}.old-*"))[0]  # the first run was made again
    check(*said(step7), baselines_in(folder), mel, own_names(folder))
    for features, line, expected in zip(("beat", "chroma"), said(step5), (beat, mel), strict=True):
        (folder,) = step5.folder("step5_lstm").glob(f"{features}_*seed{SEED}")
        check(line, baselines_in(folder), expected, own_names(folder))


def test_kept_predictions_are_read(genres):
    """Those of the first run, and true ones: the second network is below the true ones."""
    first, second = sorted(genres[1].folder("step7_cnn").glob(f"mel_seed{SEED}.old-*"))[:2]
    planted = [(score_of(own_names(first)[0], each), tuple(each)) for each in own_names(first)]
    answers = check(*said(genres[1]), baselines_in(second), planted, own_names(second))
    assert answers[0] == -1


def test_changed_labels_give_new_scores(genres):
    changed = genre_scores(GENRES, changed=True)
    assert changed != genre_scores(GENRES)
    folder = genres[3].folder("step7_cnn", f"mel_seed{SEED}")
    check(*said(genres[3]), baselines_in(folder), changed, own_names(folder))


def test_three_axes(emotions):
    step10 = emotions[0]
    folder = step10.folder("step10_multitask", f"cnn_seed{SEED}")
    metrics = read_json(folder / "metrics.json")["metrics"]
    found = [axis_scores(EMOTIONS, axis, SEED) for axis in AXES]
    assert len({tuple(pair) for pair in found}) == 3
    for axis, expected, line in zip(AXES, found, said(step10), strict=True):
        check(line, metrics[axis]["baselines"], expected, own_values(folder, axis))


def test_kept_predictions_below_the_networks(emotions):
    """Of this axis alone, and of the same clips: else other scores would stand there."""
    folder = emotions[1].folder("step8_regression", f"cnn_energy_seed{SEED}")
    true, own = own_values(folder, "energy")
    worst = tuple(-value for value in true)
    assert check(*said(emotions[1]), baselines_in(folder), [(-1.0, worst)] * 2, (true, own)) == [1, 1]


def test_one_axis(emotions):
    step9, other = emotions[2:4]
    valence = axis_scores(EMOTIONS, "valence", SEED)
    starts = [
        line.split("valence, ")[1].strip() for line in step9.lines if line.startswith("Step 9") and "valence, " in line
    ]
    assert sorted(starts) == ["scratch", "transfer"]
    for start, line in zip(starts, said(step9), strict=True):
        folder = step9.folder("step9_transfer", f"valence_{start}_seed{SEED}")
        check(line, baselines_in(folder), valence, own_values(folder, "valence"))
    folder = other.folder("step8_regression", f"cnn_danceability_seed{OTHER_SEED}")
    new = axis_scores(EMOTIONS, "danceability", OTHER_SEED)
    assert new != axis_scores(EMOTIONS, "danceability", SEED)
    check(*said(other), baselines_in(folder), new, own_values(folder, "danceability"))
