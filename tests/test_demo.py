"""The demo music: in the lab's layout, with the extractor's features, reproducible, and never half-written."""

import errno
import hashlib
import json
import subprocess
import sys
import threading
import time
from collections import Counter
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

import extras.demo.compose as demo_compose
import extras.demo.folder as demo_music
import extras.demo.render as demo_render
from common.errors import LabError
from common.labels import CLASS_MAPPING

FOLDERS = ("fma_genre_spectrograms", "fma_genre_spectrograms_beat", "multitask_dataset", "multitask_dataset_beat")
SMALL = {"seconds": 3.0, "scale": 0.01, "progress": False}  # two clips per genre and split, three seconds each


def digests(root):
    """{path: hash} of every file under `root`."""
    return {
        str(p.relative_to(root)): hashlib.sha256(p.read_bytes()).hexdigest()
        for p in sorted(root.rglob("*"))
        if p.is_file()
    }


def siblings(root):
    """Names next to `root`, without its own and its lock's."""
    return {p.name for p in root.parent.iterdir()} - {root.name, f".{root.name}.lock"}


def table(path, separator):
    """The rows of a label file without its header, as lists."""
    return [line.split(separator) for line in path.read_text(encoding="utf-8").splitlines()[1:]]


def few(monkeypatch, n=4):
    """Composes only the first n clips of every set and split, so that a test of folders is fast."""
    whole = demo_music.plan_clips

    def plan(scale, seed):
        clips = whole(scale, seed)
        groups = [
            [c for c in clips if (c.set, c.split) == group] for group in dict.fromkeys((c.set, c.split) for c in clips)
        ]
        return [clip for group in groups for clip in group[:n]]

    monkeypatch.setattr(demo_music, "plan_clips", plan)


@pytest.fixture(scope="module")
def demo(tmp_path_factory):
    root = tmp_path_factory.mktemp("demo") / "data"
    demo_music.compose_demo(root, **SMALL, processes=1)
    return root


def test_folders_files_and_label_rows_are_the_labs(demo):
    assert {p.name for p in demo.iterdir()} == {*FOLDERS, "demo_music.json"}
    assert not (demo / "multitask_dataset" / "test_labels.txt").exists()
    endings = {"train": ".fused.full.npy.gz", "test": ".full.fused.npy.gz"}
    for folder in FOLDERS[:2]:
        for split in ("train", "test"):
            path = demo / folder / f"{split}_labels.txt"
            assert path.read_bytes().startswith(b"Id\tGenre\n") and b"\r" not in path.read_bytes()
            rows = table(path, "\t")
            ending = ".beatsync.fused.npy.gz" if folder.endswith("_beat") else endings[split]
            on_disk = {p.name.removesuffix(".fused.full.npy") for p in (demo / folder / split).iterdir()}
            assert {name.removesuffix(ending) for name, _ in rows} == on_disk
            assert Counter(genre for _, genre in rows) == dict.fromkeys(CLASS_MAPPING, 2)
    for folder in FOLDERS[2:]:
        path = demo / folder / "train_labels.txt"
        assert path.read_text(encoding="utf-8").startswith("Id,valence,energy,danceability\n")
        on_disk = {p.name for p in (demo / folder / "train").iterdir()}
        assert {f"{row[0]}.fused.full.npy" for row in table(path, ",")} == on_disk


def test_no_id_is_in_two_splits_and_full_and_beat_have_the_same(demo):
    for folder, low, high in (("fma_genre_spectrograms", 145, 124864), ("multitask_dataset", 1004, 9860)):
        train, test = ({p.name for p in (demo / folder / split).iterdir()} for split in ("train", "test"))
        assert train and test and not train & test
        assert train == {p.name for p in (demo / f"{folder}_beat" / "train").iterdir()}
        assert test == {p.name for p in (demo / f"{folder}_beat" / "test").iterdir()}
        assert all(low <= int(name.split(".")[0]) <= high and not name.startswith("0") for name in train | test)


def test_emotions_have_three_decimals_in_range_and_differ():
    rng = np.random.default_rng(0)
    values = np.array(
        [demo_compose.compose_track(genre, 130, rng).emotions for genre in CLASS_MAPPING for _ in range(5)]
    )
    assert values.min() >= 0 and values.max() <= 1 and (values.std(0) > 0.12).all()
    assert np.allclose(values, values.round(3), atol=1e-12)
    correlation = np.corrcoef(values.T)
    assert np.abs(correlation[np.triu_indices(3, 1)]).max() < 0.8


def test_emotions_follow_from_the_composition():
    p = demo_compose.parameters("Rock", np.random.default_rng(3))

    def axes(**changes):
        return demo_compose.emotions(p | changes, {}, [], 10.0, np.random.default_rng(5))

    assert axes(minor=False)[0] > axes(minor=True)[0]
    assert axes(register=9)[0] > axes(register=-9)[0]
    assert axes(squeeze=0.8)[1] > axes(squeeze=0.0)[1]
    assert axes(drums="house")[2] > axes(drums="none")[2]
    assert axes(tempo=112)[2] > axes(tempo=190)[2]


def test_arrays_have_the_extractors_form(demo):
    lengths = set()
    for folder in FOLDERS:
        for path in (demo / folder).glob("*/*.npy"):
            array = np.load(path)
            mel, chroma = array[:128], array[128:]
            assert array.dtype == np.float32 and array.shape[0] == 140 and np.isfinite(array).all()
            assert mel.max() == 0 and mel.min() >= -80
            assert chroma.min() >= 0 and chroma.max() <= 1
            if not folder.endswith("_beat"):
                assert (chroma.max(0) == 1).all()
                lengths.add(array.shape[1])
            else:
                assert 2 <= array.shape[1] <= 15
    assert lengths == {129, 130, 131}  # 3 s are 1 + 129.2 hops


def test_beat_files_are_medians_of_the_power_between_the_tracks_beats(demo):
    clips = [clip for clip in demo_music.plan_clips(SMALL["scale"], 0) if clip.split == "test"]
    for clip in clips:
        full = np.load(demo / clip.set / clip.split / f"{clip.id}.fused.full.npy").astype(float)
        synced = np.load(demo / f"{clip.set}_beat" / clip.split / f"{clip.id}.fused.full.npy")
        beats = demo_music.compose_clip(clip, SMALL["seconds"], 0)[0].beats
        edges = [0, *beats, full.shape[1]]
        parts = [full[:, a:b] for a, b in pairwise(edges)]
        power = np.stack([np.median(10 ** (part[:128] / 10), axis=1) for part in parts], axis=1)
        level = 10 * np.log10(power / power.max())
        lower = np.stack([np.quantile(part[:128], 0.5, axis=1, method="lower") for part in parts], axis=1)
        audible = lower > -79.99  # below, the full file has its floor, and the extractor takes medians before the floor
        assert synced.shape == (140, len(beats) + 1) and audible.mean() > 0.5
        assert np.allclose(synced[:128][audible], level[audible], atol=1e-3)
        assert np.allclose(synced[128:], np.stack([np.median(part[128:], axis=1) for part in parts], axis=1), atol=1e-6)


def test_same_seed_same_bytes_however_many_processes(demo, tmp_path):
    demo_music.compose_demo(tmp_path / "two", **SMALL, processes=2)
    assert digests(tmp_path / "two") == digests(demo)


def test_another_seed_is_other_music(monkeypatch, tmp_path):
    few(monkeypatch)
    demo_music.compose_demo(tmp_path / "data", **SMALL, processes=1)
    first = digests(tmp_path / "data")
    marker = demo_music.compose_demo(tmp_path / "data", **SMALL, processes=1, seed=1)
    second = digests(tmp_path / "data")
    assert (
        marker["seed"] == json.loads((tmp_path / "data" / "demo_music.json").read_text(encoding="utf-8"))["seed"] == 1
    )
    assert not {h for p, h in first.items() if p.endswith(".npy")} & set(second.values())
    assert siblings(tmp_path / "data") == set()


def test_the_same_music_is_not_composed_twice(monkeypatch, tmp_path):
    few(monkeypatch)
    calls, write = [], demo_music.write_clips
    monkeypatch.setattr(demo_music, "write_clips", lambda *args: calls.append(1) or write(*args))
    root = tmp_path / "data"
    threads = [
        threading.Thread(target=demo_music.compose_demo, args=(root,), kwargs=SMALL | {"processes": 1})
        for _ in range(2)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(calls) == 1 and (root / "demo_music.json").exists()
    demo_music.compose_demo(root, **SMALL, processes=1)
    assert len(calls) == 1


@pytest.mark.parametrize(
    "error", [RuntimeError("fails halfway"), KeyboardInterrupt(), OSError(errno.ENOSPC, "No space left on device")]
)
def test_a_stopped_composition_leaves_what_was_there(error, monkeypatch, tmp_path):
    few(monkeypatch)
    root, save, saved = tmp_path / "data", np.save, []

    def failing(path, array):
        saved.append(path)
        if len(saved) > 5:
            raise error
        save(path, array)

    with monkeypatch.context() as broken:
        broken.setattr(np, "save", failing)
        expected, message = (LabError, str(root)) if isinstance(error, OSError) else (type(error), None)
        with pytest.raises(expected, match=message):
            demo_music.compose_demo(root, **SMALL, processes=1)
    assert len(saved) == 6 and not root.exists() and siblings(root) == set()
    demo_music.compose_demo(root, **SMALL, processes=1)
    before = digests(root)
    with monkeypatch.context() as broken:
        broken.setattr(np, "save", failing)
        with pytest.raises((LabError, type(error))):
            demo_music.compose_demo(root, **SMALL, processes=1, seed=1)
    assert digests(root) == before and siblings(root) == set()


def test_a_killed_run_leaves_no_target_and_is_cleared_away(monkeypatch, tmp_path):
    code = "import sys; from extras.demo.folder import compose_demo; compose_demo(sys.argv[1], processes=2, progress=False)"
    with subprocess.Popen([sys.executable, "-c", code, str(tmp_path / "data")], cwd=Path(__file__).parents[1]) as run:
        deadline = time.monotonic() + 60
        while not list(tmp_path.glob(".data.composing.*/*/*/*.npy")) and time.monotonic() < deadline:
            time.sleep(0.05)
        run.kill()
    assert list(tmp_path.glob(".data.composing.*")) and not (tmp_path / "data").exists()
    (tmp_path / ".data.old").mkdir()
    few(monkeypatch)
    demo_music.compose_demo(tmp_path / "data", **SMALL, processes=1)
    assert siblings(tmp_path / "data") == set() and len(digests(tmp_path / "data")) == 2 * (4 + 4 + 2 + 2) + 7


def test_a_folder_that_is_not_demo_music_is_left_alone(monkeypatch, tmp_path):
    few(monkeypatch)
    root = tmp_path / "data"
    (root / "fma_genre_spectrograms").mkdir(parents=True)
    (root / "fma_genre_spectrograms" / "mine.npy").write_bytes(b"mine")
    with pytest.raises(LabError, match=str(root)):
        demo_music.compose_demo(root, **SMALL, processes=1)
    (root / "demo_music.json").write_text("[]", encoding="utf-8")
    with pytest.raises(LabError, match=str(root)):
        demo_music.compose_demo(root, **SMALL, processes=1)
    assert sorted(digests(root)) == ["demo_music.json", "fma_genre_spectrograms/mine.npy"]
    (tmp_path / "file").write_text("not a folder", encoding="utf-8")
    for target in (tmp_path / "file", tmp_path / "file" / "data"):
        with pytest.raises(LabError, match=str(target)):
            demo_music.compose_demo(target, **SMALL, processes=1)
    (tmp_path / "empty").mkdir()
    demo_music.compose_demo(tmp_path / "empty", **SMALL, processes=1)
    assert (tmp_path / "empty" / "demo_music.json").exists()


@pytest.mark.parametrize(
    "wrong",
    [
        *({"seconds": value} for value in (1.9, 121, float("nan"), "10")),
        *({"scale": value} for value in (0, -1.0, 21, float("nan"), float("inf"))),
        *({"seed": -1}, {"seed": 0.5}, {"processes": 0}),
    ],
)
def test_impossible_arguments_are_refused_before_anything_is_written(wrong, tmp_path):
    with pytest.raises(LabError, match=next(iter(wrong))):
        demo_music.compose_demo(tmp_path / "data", **(SMALL | wrong))
    assert list(tmp_path.iterdir()) == []


def test_the_full_scale_has_the_labs_counts():
    clips = demo_music.plan_clips(demo_music.FULL_SCALE, 0)
    counts = Counter((clip.set, clip.split) for clip in clips)
    assert sorted(counts.values()) == [375, 765, 1122, 3069] and counts["multitask_dataset", "test"] == 375
    classes = {
        split: Counter(CLASS_MAPPING[c.genre] for c in clips if (c.set, c.split) == (FOLDERS[0], split))
        for split in ("train", "test")
    }
    assert classes["train"]["Rock"] == 415 and classes["train"]["Trip-Hop"] == 137 and classes["train"][None] == 764
    assert classes["test"]["Rock"] == 103 and classes["test"]["Trip-Hop"] == 34 and classes["test"][None] == 190
    assert len({(clip.set, clip.id) for clip in clips}) == len(clips)
    shared = {c.id for c in clips if c.set == FOLDERS[0]} & {c.id for c in clips if c.set == FOLDERS[2]}
    assert 0 < len(shared) < 60


def test_the_mel_scale_is_slaneys():
    edges = demo_render.mel_frequencies(40)  # the table in the documentation of librosa.mel_frequencies
    assert np.allclose(
        edges[[0, 1, 11, 12, 20, 38, 39]], [0, 85.317, 938.49, 1024.856, 2071.84, 10096.408, 11025], atol=1e-2
    )
    centres = demo_render.mel_frequencies(130)[1:-1]
    for midi in (45, 69, 93, 117):
        loudest = demo_render.sinusoid_table()[demo_render.table_rows(midi)].argmax()
        assert abs(loudest - np.interp(440 * 2 ** ((midi - 69) / 12), centres, np.arange(128))) < 0.75
