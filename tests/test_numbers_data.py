"""The data under all steps: clips meet labels by id, the cache follows the files, and the numbers of steps 0 and 1."""

import re
import shutil

import numpy as np
import pytest
from by_hand import CNN, LSTM, Headed, emotion_split, outputs, read_weights, split
from reading_runs import AXIS, SIZE, reading_runs
from runs import numbers, predictions, read_json
from small_data import AXES, CLASSES, EMOTIONS, GENRES, MAPPING
from warm import warm_script

NOTES = ("C", "C♯", "D", "D♯", "E", "F", "F♯", "G", "G♯", "A", "A♯", "B")
RATE, HOP = 22050, 512
SPLITS = ("train", "test")
BEAT = "_beat"


@pytest.fixture(scope="session")
def done(shared_folder, small):
    return reading_runs(shared_folder, small)


def network(path, model):
    model.load_state_dict(read_weights(path)[0])
    return model


def probabilities(model, frames, ids):
    """{id: probabilities of the classes}."""
    return {ident: np.exp(row) / np.exp(row).sum() for ident, row in outputs(model, frames, ids).items()}


def saved_probabilities(folder):
    return {row["id"]: [float(row[f"p({name})"]) for name in CLASSES] for row in predictions(folder)}


def check_probabilities(saved, expected):
    assert list(saved) == list(expected) or set(saved) == set(expected)
    assert np.array([saved[ident] for ident in expected]) == pytest.approx(np.array(list(expected.values())), abs=2e-5)


@pytest.mark.parametrize(
    ("run", "tail", "model"),
    [
        ("step7_cnn/mel_seed0", "", lambda: CNN()),
        ("step5_lstm/mel_cross-entropy_seed0", "", lambda: LSTM(128)),
        ("step5_lstm/beat_cross-entropy_seed0", BEAT, lambda: LSTM(128)),
    ],
)
def test_genres_belong_to_the_clips_of_their_ids(done, small, run, tail, model):
    """Label files are in no order of ids and name clips otherwise than the files; the table merges and drops genres."""
    folder = done.root / run
    labels = small.genres[GENRES + tail, "test"]
    assert list(labels) != sorted(labels) and set(labels) < set(small.frames[GENRES + tail, "test"])
    assert {row["id"]: row["true"] for row in predictions(folder)} == labels
    weights = network(folder / "best.pt", Headed(model(), len(CLASSES)))
    expected = probabilities(weights, small.frames[GENRES + tail, "test"], list(labels))
    check_probabilities(saved_probabilities(folder), expected)
    if "cnn" in run:
        assert np.ptp(list(expected.values()), axis=0).min() > 0.05
    val, train = split(list(small.genres[GENRES + tail, "train"]), 0.33, 0)
    train_ids = read_weights(folder / "best.pt")[1]["train_ids"]
    assert set(train_ids) == {*val, *train} and len(train_ids) == 33


def test_emotions_belong_to_the_clips_of_their_ids(done, small):
    """Of the CNN on full clips and the LSTM on beat-synced ones, whose label files are in different orders."""
    for name, tail, model in (("cnn", "", CNN), ("lstm", BEAT, lambda: LSTM(128))):
        labels = small.emotions[EMOTIONS + tail]
        test = emotion_split(list(labels), 0)[2]
        folder = done.root / "step8_regression" / f"{name}_{AXIS}_seed0"
        rows = {row["id"]: row for row in predictions(folder)}
        assert set(rows) == set(test) and test != sorted(test)
        weights = network(folder / "best.pt", Headed(model(), 1, squeezed=True))
        found = outputs(weights, small.frames[EMOTIONS + tail, "train"], test)
        for ident in test:
            assert float(rows[ident]["true"]) == pytest.approx(labels[ident][AXES.index(AXIS)], abs=1e-6)
            assert float(rows[ident]["predicted"]) == pytest.approx(float(found[ident]), rel=1e-4, abs=1e-5)
    (folder,) = (done.root / "step10_multitask").glob("cnn_seed0")
    found = outputs(
        network(folder / "best.pt", Headed(CNN(), 3)),
        small.frames[EMOTIONS, "train"],
        emotion_split(list(small.emotions[EMOTIONS]), 0)[2],
    )
    for number, axis in enumerate(AXES):
        rows = predictions(folder, axis=axis)
        assert {row["id"]: float(row["true"]) for row in rows} == pytest.approx(
            {i: small.emotions[EMOTIONS][i][number] for i in found}, abs=1e-6
        )
        assert {row["id"]: float(row["predicted"]) for row in rows} == pytest.approx(
            {i: float(found[i][number]) for i in found}, abs=1e-4
        )


def test_the_cache_gives_the_numbers_of_the_files(done, small, tmp_path):
    flags = [
        "--data",
        small.path,
        "--no-cache",
        "--no-baselines",
        "--batch-size",
        SIZE,
        "--epochs",
        4,
        "--out",
        tmp_path / "runs",
    ]
    warm_script("step7_cnn.py", *flags, root=tmp_path / "runs")
    one, other = (root / "step7_cnn" / "mel_seed0" for root in (done.root, tmp_path / "runs"))
    assert list(done.root.parent.glob("cache/*.npy"))
    assert read_json(one / "history.json") == read_json(other / "history.json")
    assert (one / "predictions.csv").read_bytes() == (other / "predictions.csv").read_bytes()


def test_the_cache_follows_a_file_that_is_replaced(done, small, tmp_path):
    """By a clip of the same name, frames and bytes; the network is scored before and after."""
    data, runs = tmp_path / "data", tmp_path / "runs"
    shutil.copytree(small.path / GENRES, data / GENRES)
    shutil.copy(small.path / "class_mapping.json", data)
    best = done.root / "step7_cnn" / "mel_seed0" / "best.pt"
    flags = [best, "--data", data, "--cache", tmp_path / "cache", "--out", runs]
    frames = dict(small.frames[GENRES, "test"])
    labels = small.genres[GENRES, "test"]
    weights = network(best, Headed(CNN(), len(CLASSES)))
    path = next(path for path in sorted((data / GENRES / "test").glob("*.npy")) if path.name.split(".")[0] in labels)
    ident, size = path.name.split(".")[0], path.stat().st_size
    for turned in (False, True):
        if turned:
            frames[ident] = np.vstack([frames[ident][127::-1], frames[ident][:127:-1]])  # bands upside down
            np.save(path, frames[ident])
            assert path.stat().st_size == size
        warm_script("evaluate.py", *flags, root=runs)
        (folder,) = (path.parent for path in runs.glob("evaluate/*/predictions.csv"))
        check_probabilities(saved_probabilities(folder), probabilities(weights, frames, list(labels)))
        shutil.rmtree(runs)
    before, after = (probabilities(weights, each, [ident])[ident] for each in (small.frames[GENRES, "test"], frames))
    assert np.abs(before - after).max() > 0.01


def cells(lines, key):
    """The numbers of the one line that begins with `key`."""
    (line,) = [line for line in lines if line.startswith(key)]
    return numbers(line.removeprefix(key).replace("float64", ""))


def test_step_0_counts_and_measures(done, small):
    folder = done.root / "step0_data" / "values_seed0"
    survey, log = read_json(folder / "survey.json"), (folder / "log.txt").read_text(encoding="utf-8").splitlines()
    assert len(survey["splits"]) == 8
    for (name, which), clips in small.frames.items():
        found, lengths = survey["splits"][f"{name}/{which}"], [each.shape[1] for each in clips.values()]
        assert sorted(found["ids"]) == sorted(clips)
        assert found["frames"] == pytest.approx([min(lengths), np.mean(lengths), max(lengths)])
        assert found["bytes"] == sum(path.stat().st_size for path in (small.path / name / which).iterdir())
        parts = [[each[rows] for each in clips.values()] for rows in (slice(0, 128), slice(128, 140))]
        for part, arrays in zip(("mel", "chroma"), parts, strict=True):
            assert found[part] == pytest.approx(
                [min(each.min() for each in arrays), max(each.max() for each in arrays)], rel=1e-6
            )
        labelled = 0 if name.startswith(EMOTIONS) and which == "test" else len(clips)
        assert found["labelled"] == labelled and found["dtypes"] == {"float64": len(clips)}
        row = cells(log, f"{name}/{which} ")
        expected = [
            len(clips),
            *[labelled] * bool(labelled),
            *found["frames"],
            found["bytes"] / 1e6,
            *found["mel"],
            *found["chroma"],
        ]
        assert row == pytest.approx(expected, abs=0.051), (row, expected)
    counts = {genre: [0, 0] for genre in MAPPING}
    for number, which in enumerate(SPLITS):
        for line in (small.path / GENRES / f"{which}_labels.txt").read_text(encoding="utf-8").split("\n")[1:]:
            if line.strip():
                counts[line.strip().split("\t")[1]][number] += 1
    assert survey["genres"] == {
        name: {"class": MAPPING[name], "train": a, "test": b} for name, (a, b) in counts.items()
    }
    for name, pair in counts.items():
        assert any(line.startswith(f"{name} ") and numbers(line)[:2] == pair for line in log)
    for name in CLASSES:
        merged = np.sum([pair for genre, pair in counts.items() if MAPPING[genre] == name], axis=0).tolist()
        assert any(line.startswith(f"{name} ") and numbers(line) == merged for line in log)
    kept = [sum(pair[k] for genre, pair in counts.items() if MAPPING[genre]) for k in (0, 1)]
    assert [numbers(line) for line in log if line.startswith("total")] == [
        [sum(p[k] for p in counts.values()) for k in (0, 1)],
        kept,
    ]
    values = np.array(list(small.emotions[EMOTIONS].values()))
    for axis, column in zip(AXES, values.T, strict=True):
        expected = [column.min(), column.mean(), column.max(), column.var()]
        assert survey["axes"][axis] == pytest.approx(expected) and cells(log, axis) == pytest.approx(expected, abs=6e-4)
    (result,) = [row for row in done.results if row["step"] == "step0_data"]
    total = sum(len(clips) for (name, _), clips in small.frames.items() if name == EMOTIONS)
    assert result == {
        "step": "step0_data",
        "genre_clips": "55",
        "multitask_clips": str(total),
        "missing": "0",
        "unreadable": "0",
    }
    note = next(line for line in log if line.startswith("note"))
    shared = set(small.frames[GENRES, "train"]) & set(small.frames[EMOTIONS, "train"])
    assert all(ident in note for ident in shared) and f" {len(shared)} (" in note


def test_step_1_describes_two_clips(done, small):
    log = (done.root / "step1_visualize" / "clips_seed0" / "log.txt").read_text(encoding="utf-8").splitlines()
    result = next(row for row in done.results if row["step"] == "step1_visualize")
    ids = result["ids"].split(",")
    genre = dict(
        line.strip().split("\t")
        for line in (small.path / GENRES / "train_labels.txt").read_text(encoding="utf-8").split("\n")[1:]
        if line.strip()
    )
    genre = {name.split(".")[0]: value for name, value in genre.items()}
    order = [list(genre)[k] for k in np.random.default_rng(0).permutation(len(genre))]
    order = [ident for ident in order if MAPPING[genre[ident]]]
    assert ids == [order[0], next(ident for ident in order if MAPPING[genre[ident]] != MAPPING[genre[order[0]]])]
    full, beat = ([small.frames[GENRES + tail, "train"][ident] for ident in ids] for tail in ("", BEAT))
    assert [result["frames"], result["beats"]] == [
        ",".join(str(each.shape[1]) for each in clips) for clips in (full, beat)
    ]
    mels = 15 + 27 * np.log(np.array([2000, RATE / 2]) / 1000) / np.log(6.4)
    low = int(mels[0] / mels[1] * 129 - 1) + 1  # bands up to 2000 Hz, by Slaney's mel scale
    for ident, clip, synced in zip(ids, full, beat, strict=True):
        lines = [
            line.removeprefix(f"{ident} ({genre[ident]})")
            for line in log
            if line.startswith(f"{ident} ({genre[ident]})")
        ]
        assert numbers(lines[0]) == pytest.approx([clip[:low].mean(), clip[low:128].mean()], abs=0.051)
        strongest = [NOTES[each[128:].mean(axis=1).argmax()] for each in (clip, synced)]
        assert re.findall(r"\b[A-G]♯?(?=,|$)", lines[1]) == strongest
    shapes = [tuple(map(int, numbers(line))) for line in log if re.fullmatch(r"\(\d+, \d+\)", line)]
    assert shapes == [(bands, each.shape[1]) for bands in (128, 12) for clips in (full, beat) for each in clips]
    ratios = [one.shape[1] / other.shape[1] for one, other in zip(full, beat, strict=True)]
    assert numbers(next(line for line in log if line.startswith("beat-synced there"))) == pytest.approx(
        ratios, abs=0.051
    )

    kept = list(small.genres[GENRES, "train"])
    chosen = [kept[k * len(kept) // 8] for k in range(8)]
    lengths = [small.frames[GENRES, "train"][ident].shape[1] for ident in chosen]
    shortest = int(np.argmin(lengths))
    assert numbers(next(line for line in log if line.startswith("step 4a")))[-1] == shortest
    assert numbers(next(line for line in log if line.startswith("features :")))[:2] == [max(lengths), 128]
    assert numbers(next(line for line in log if "frames of zeros" in line))[0] == max(lengths) - min(lengths)
    label = small.genres[GENRES, "train"][chosen[shortest]]
    (line,) = [line for line in log if line.startswith("label ")]
    assert numbers(line)[0] == CLASSES.index(label) and label in line
    assert numbers(next(line for line in log if line.startswith("length ")))[0] == min(lengths)
    counts = {name: list(genre.values()).count(name) for name in MAPPING}
    merged = {name: sum(count for key, count in counts.items() if MAPPING[key] == name) for name in CLASSES}
    ratios = [max(each.values()) / min(each.values()) for each in (counts, merged)]
    assert numbers(next(line for line in log if line.startswith("largest / smallest"))) == pytest.approx(
        ratios, abs=0.006
    )
    metrics = read_json(done.root / "step1_visualize" / "clips_seed0" / "metrics.json")["metrics"]
    assert metrics["clips_per_genre"] == counts and metrics["imbalance"] == pytest.approx(ratios)
    for name, count in {**counts, **merged}.items():
        assert any(line.startswith(f"{name} ") and numbers(line)[:1] == [count] for line in log)
    assert re.search(r"drops 1; 0 of them .*Punk \(4\)", log[-1] + log[-2])
