"""Step 0 on the tiny data folder, whole and broken in each way that it has to name."""

import gzip
import json
import shutil

import numpy as np
import pytest
from warm import warm_script

import step0_data
from common.errors import LabError
from extras.own_data.survey import read_header

GENRES, EMOTIONS = "fma_genre_spectrograms", "multitask_dataset"
WHOLE = {"genre_clips": 54, "multitask_clips": 30, "missing": 0, "unreadable": 0}


@pytest.fixture
def survey(tiny_data, tmp_path, capsys):
    """survey(*flags) -> (result or None, error or None, printed text, survey.json) of step 0 on the tiny data."""

    def call(*flags):
        result = error = None
        try:
            (result,) = step0_data.main(["--data", str(tiny_data), "--out", str(tmp_path / "runs"), *flags])
        except LabError as raised:
            error = str(raised)
        folder = tmp_path / "runs" / "step0_data" / ("headers_seed0" if "--headers" in flags else "values_seed0")
        return result, error, capsys.readouterr().out, json.loads((folder / "survey.json").read_text(encoding="utf-8"))

    return call


def clip_path(tiny_data, folder=GENRES, number=0):
    return sorted((tiny_data / folder / "train").iterdir())[number]


@pytest.mark.parametrize("flags", [(), ("--headers",)])
def test_whole_data(survey, tiny_data, flags):
    result, error, printed, saved = survey(*flags)
    assert result == WHOLE and error is None
    lines = printed.splitlines()
    assert (
        str(tiny_data) in "".join(lines[1:3]) and "class_mapping.json" in "".join(lines[1:4]) and "DEMO" not in printed
    )
    assert lines[-1] == "RESULT step0_data genre_clips=54 multitask_clips=30 missing=0 unreadable=0"
    assert "Ρεμπέτικο      12      6  Ελληνικά" in lines and "Chiptune       12      6  - (dropped)" in lines
    assert "Ελληνικά       12      6" in lines and "total          24     12" in lines  # after the mapping
    assert "genre set     : 54 clips of 3 genres, 2 classes after the mapping" in lines
    split = saved["splits"][f"{GENRES}/train"]
    lengths = [np.load(path).shape[1] for path in (tiny_data / GENRES / "train").iterdir()]
    assert split["frames"] == [min(lengths), pytest.approx(np.mean(lengths)), max(lengths)]
    assert split["dtypes"] == {"float64": 36} and split["labelled"] == 36
    assert split["bytes"] == sum(path.stat().st_size for path in (tiny_data / GENRES / "train").iterdir())
    assert saved["splits"][f"{EMOTIONS}/test"]["unlabelled"] == []  # the lab gives that split no labels
    assert (split["mel"] is None) == bool(flags)
    if not flags:
        assert split["mel"][1] == 0 and -80 <= split["mel"][0] < 0 <= split["chroma"][0] < split["chroma"][1] == 1
    assert set(saved["axes"]) == {"valence", "energy", "danceability"}


@pytest.mark.parametrize("flags", [(), ("--headers",)])
def test_every_missing_unlabelled_and_unreadable_file_is_named(survey, tiny_data, flags):
    gone, cut, pickled, turned, empty = (clip_path(tiny_data, number=number) for number in range(5))
    gone.rename(gone.with_name("77.fused.full.npy"))
    cut.write_bytes(cut.read_bytes()[:-100])
    np.save(pickled, np.array([{"a": 1}], dtype=object), allow_pickle=True)
    np.save(turned, np.zeros((40, 140)))
    empty.write_bytes(b"")
    result, error, printed, _ = survey(*flags)
    lines = printed.splitlines()
    assert result is None and "1 missing labelled files, 4 unreadable files" in error
    assert lines[-1].startswith("RESULT ") and lines[-1].endswith("missing=1 unreadable=4")
    assert f"missing       : {gone} (train_labels.txt, line 2)" in lines
    assert f"unlabelled    : {gone.with_name('77.fused.full.npy')}" in lines
    unreadable = [line for line in lines if line.startswith("unreadable    : ")]
    assert len(unreadable) == 4 and all(
        any(str(path) in line for line in unreadable) for path in (cut, pickled, turned, empty)
    )
    assert any(
        line.startswith("note") and "clips are only there or only in" in line for line in lines
    )  # the beat-synced folder still has it


def test_values_that_are_not_finite_are_found_by_reading_alone(survey, tiny_data):
    path = clip_path(tiny_data, f"{EMOTIONS}_beat")
    array = np.load(path)
    array[3, 0] = np.nan
    np.save(path, array)
    assert survey("--headers")[0] == WHOLE
    result, error, printed, _ = survey()
    assert (
        result is None
        and "1 unreadable files" in error
        and f"unreadable    : {path}: finite values were expected" in printed
    )


def test_a_broken_label_file_or_a_missing_folder_stops_nothing_else(survey, tiny_data):
    labels = tiny_data / GENRES / "train_labels.txt"
    labels.write_text(labels.read_text(encoding="utf-8").replace("\tChiptune", "\tPolka"), encoding="utf-8")
    (tiny_data / EMOTIONS / "train_labels.txt").write_text("Id,valence,energy,danceability\n9000,0.1,2.0,0.3\n")
    shutil.rmtree(tiny_data / f"{EMOTIONS}_beat")
    shutil.rmtree(tiny_data / f"{GENRES}_beat" / "test")
    result, error, printed, saved = survey()
    assert result is None and "18 missing labelled files, 4 missing folders or broken label files" in error
    assert "genre 'Polka' is not one of" in printed and "line 2: an id and a number within 0..1" in printed
    assert f"error         : {tiny_data / f'{EMOTIONS}_beat'}: each of the lab's four folders was expected" in printed
    assert "Polka          12      0  ? (not in the table)" in printed.splitlines()
    assert saved["splits"][f"{GENRES}/test"]["labelled"] == 18 and saved["genres"]["Rock"] == {
        "class": "Rock",
        "train": 12,
        "test": 6,
    }


def test_labels_and_splits_that_disagree_are_noted(survey, tiny_data):
    labels = tiny_data / f"{GENRES}_beat" / "train_labels.txt"
    labels.write_bytes(
        labels.read_bytes().replace(b"1000.beatsync.fused.npy.gz\tRock", b"1000.beatsync.fused.npy.gz\tChiptune")
    )
    clip = clip_path(tiny_data, GENRES)
    shutil.copy(clip, tiny_data / GENRES / "test")
    shutil.copy(clip, tiny_data / EMOTIONS / "test")
    result, _, printed, _ = survey()
    assert result is not None and f"unlabelled    : {tiny_data / GENRES / 'test' / clip.name}" in printed
    notes = [line for line in printed.splitlines() if line.startswith("note")]
    expected = (
        f"{GENRES}: 1 clips are in both splits, among them '1000'",
        f"{GENRES}/test: 1 clips are only there or only in {GENRES}_beat/test, among them '1000'",
        f"{GENRES}/train: 1 clips have another label in {GENRES}_beat/train, among them '1000'",
        "ids in both the genre and the multitask folders: 1 (68 in the lab's set; the same id need not be the same song): 1000",
    )
    assert {f"note          : {text}" for text in expected} <= set(notes)


def notes(printed):
    return [line.removeprefix("note          : ") for line in printed.splitlines() if line.startswith("note ")]


def test_what_is_odd_is_noted(survey, tiny_data):
    assert not [text for text in notes(survey()[2]) if "in both" not in text]
    swapped, power, silent = (clip_path(tiny_data, number=number) for number in (0, 5, 9))
    np.save(swapped, np.roll(np.load(swapped), 12, axis=0))
    np.save(power, np.vstack([10 ** (np.load(power)[:128] / 10), np.load(power)[128:]]))
    np.save(silent, np.zeros((140, 9)))
    shutil.copy(swapped, swapped.with_name("1000.mel.full.npy"))
    (tiny_data / GENRES / "train" / "Rock").mkdir()
    (tiny_data / GENRES / "train" / "._1000.fused.full.npy").touch()
    (tiny_data / EMOTIONS / "test_labels.txt").write_text("Id,valence,energy,danceability\n9500,0,0,0\n")
    for split in ("train", "test"):
        (tiny_data / f"{EMOTIONS}_beat" / split).rename(tiny_data / "kept")
        (tiny_data / EMOTIONS / split).rename(tiny_data / f"{EMOTIONS}_beat" / split)
        (tiny_data / "kept").rename(tiny_data / EMOTIONS / split)
    result, error, printed, saved = survey()
    assert result == WHOLE and error is None  # odd is no error
    assert saved["splits"][f"{GENRES}/train"]["odd"] == [str(swapped), str(power), str(silent)]
    found = "\n".join(notes(printed))
    assert f"{GENRES}/train: 3 of 36 clips, among them {swapped}, do not have mel bands below 0 dB, then" in found
    assert (
        f"{GENRES}/train: 2 more names are not read, a clip is one .npy or .npy.gz file: 1000.mel.full.npy, Rock"
        in found
    )
    assert f"{EMOTIONS}/test_labels.txt: it is not read" in found
    for split in ("train", "test"):
        assert f"{EMOTIONS}/{split}: its clips have" in found and "swapped?" in found


def test_files_and_names_that_clash(survey, tiny_data):
    clip = clip_path(tiny_data)
    shutil.copy(clip, clip.with_name("1000.full.fused.npy"))
    labels = tiny_data / GENRES / "test_labels.txt"
    labels.write_bytes(labels.read_bytes().replace(b"\tRock", b"\trock", 2))
    (tiny_data / "class_mapping.json").write_text(
        '{"Rock": "Rock", "rock": "ROCK", "Ρεμπέτικο": "Ελληνικά", "Chiptune": null}', encoding="utf-8"
    )
    result, error, printed, _ = survey()
    assert result is None and "1 missing folders or broken label files" in error and "missing labelled" not in error
    assert f"{GENRES}/train: one file of clip '1000' was expected, but there are" in printed
    found = notes(printed)
    assert "'Rock' and 'rock' are two classes, but nearly the same name" in found
    assert "'ROCK' and 'Rock' are two classes, but nearly the same name" in found


def test_headers_of_gzipped_and_damaged_files(tmp_path):
    path = tmp_path / "1.fused.full.npy.gz"
    with gzip.open(path, "wb") as file:
        np.save(file, np.zeros((140, 7), dtype=np.float32))
    assert read_header(path) == {"bytes": path.stat().st_size, "frames": 7, "dtype": "float32"}
    path.write_bytes(path.read_bytes()[:30])
    with pytest.raises(LabError, match=r"1\.fused\.full\.npy\.gz: a readable .npy file"):
        read_header(path)
    np.save(tmp_path / "2.npy", np.zeros((140, 7), dtype=complex))
    with pytest.raises(LabError, match="not complex128"):
        read_header(tmp_path / "2.npy")


def test_demo_music_is_composed_and_labelled_as_such(tmp_path, capsys):
    flags = [
        "--demo",
        "--data",
        str(tmp_path / "demo"),
        "--seconds",
        "2",
        "--scale",
        "0.01",
        "--out",
        str(tmp_path / "runs"),
    ]
    (result,) = step0_data.main(flags)
    lines = capsys.readouterr().out.splitlines()
    assert lines[1].startswith("data       : DEMO MUSIC") and lines[-1].endswith("missing=0 unreadable=0 data=demo")
    assert result["genre_clips"] >= 80 and result["multitask_clips"] >= 4


def test_from_the_command_line(tiny_data, tmp_path):
    clip_path(tiny_data).unlink()
    runs = tmp_path / "runs"
    done = warm_script("step0_data.py", "--data", tiny_data, "--headers", "--out", runs, root=runs, expect=1)
    assert done.lines[-1].endswith("missing=1 unreadable=0")
    assert done.err.splitlines()[-1].startswith("error: ") and "Traceback" not in done.err


def test_flags_of_the_demo_music_need_it(tiny_data, capsys):
    with pytest.raises(SystemExit) as ended:
        step0_data.main(["--data", str(tiny_data), "--scale", "2"])
    assert ended.value.code == 2 and "--demo was expected" in capsys.readouterr().err
