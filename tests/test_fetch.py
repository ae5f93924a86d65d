"""The lab's data from a zip and from Kaggle: what is unpacked, what is refused, and what is done twice."""

import stat
import sys
import zipfile
from types import SimpleNamespace

import pytest

import step0_data
from common.errors import LabError
from common.locations import find_data
from extras.own_data.kaggle import compare_counts, known_counts, unpack
from extras.own_data.survey import survey_data

LAB = {
    "fma_genre_spectrograms/train": 3069,
    "fma_genre_spectrograms/test": 765,
    "fma_genre_spectrograms_beat/train": 3069,
    "fma_genre_spectrograms_beat/test": 765,
    "multitask_dataset/train": 1122,
    "multitask_dataset/test": 375,
    "multitask_dataset_beat/train": 1122,
    "multitask_dataset_beat/test": 375,
}
TINY = {
    key: {"t": 36, "s": 18}["st"[key.endswith("train")]] if "fma" in key else 24 if key.endswith("train") else 6
    for key in LAB
}


@pytest.fixture
def archive(tiny_data, tmp_path):
    """The tiny data as Kaggle's zip, all four folders below data/, with other files next to them; its path."""
    path = tmp_path / "archive.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as out:
        for file in sorted(tiny_data.rglob("*")):
            if file.name != "class_mapping.json":
                out.write(file, f"data/{file.relative_to(tiny_data)}")
        out.writestr("data/__MACOSX/._x", b"")
        out.writestr("README.txt", b"of Kaggle")
    return path


def test_the_known_counts_are_the_labs():
    assert known_counts() == LAB


def test_a_zip_is_unpacked_into_the_layout_once(archive, tiny_data, tmp_path):
    root = unpack(archive, tmp_path / "νέα")
    assert sorted(path.name for path in root.iterdir()) == sorted({key.split("/")[0] for key in LAB})
    originals = [path for path in tiny_data.rglob("*") if path.is_file() and path.name != "class_mapping.json"]
    assert len([path for path in root.rglob("*") if path.is_file()]) == len(originals) > 100
    assert all((root / path.relative_to(tiny_data)).read_bytes() == path.read_bytes() for path in originals)

    gone = root / "multitask_dataset" / "train_labels.txt"
    gone.unlink()
    before = {path: path.stat().st_mtime_ns for path in root.rglob("*.npy")}
    (gone.with_name("train_labels.txt.part")).write_bytes(b"half")  # of an unpacking that was killed
    unpack(archive, root)
    assert gone.exists() and {path: path.stat().st_mtime_ns for path in root.rglob("*.npy")} == before


def test_a_path_that_leaves_the_folder_is_refused_before_anything_is_written(archive, tmp_path):
    whole = archive.read_bytes()
    for name in ("../x.npy", "data/../../x.npy", "/tmp/x.npy", "C:/x.npy", "data\\..\\x.npy", "data/fma/../x", "..\\x"):
        archive.write_bytes(whole)
        with zipfile.ZipFile(archive, "a") as out:
            entry = zipfile.ZipInfo("x")
            entry.filename = name  # as another program may have written it
            out.writestr(entry, b"evil")
        with pytest.raises(LabError, match="plain files inside the folder were expected") as raised:
            unpack(archive, tmp_path / "deep" / "root")
        assert str(archive) in str(raised.value) and not (tmp_path / "deep").exists(), name
    assert not list(tmp_path.rglob("x.npy"))


def test_links_passwords_repetitions_and_foreign_zips_are_refused(archive, tmp_path):
    whole = archive.read_bytes()
    link = zipfile.ZipInfo("data/fma_genre_spectrograms/train/1.fused.full.npy")
    link.external_attr = (stat.S_IFLNK | 0o777) << 16
    twice = zipfile.ZipInfo("more/fma_genre_spectrograms/train_labels.txt")
    for entry, message in ((link, "plain files inside the folder"), (twice, "each file once")):
        archive.write_bytes(whole)
        with zipfile.ZipFile(archive, "a") as out:
            out.writestr(entry, b"/etc/passwd")
        with pytest.raises(LabError, match=message):
            unpack(archive, tmp_path / "root")
    other = tmp_path / "other.zip"
    with zipfile.ZipFile(other, "w") as out:
        out.writestr("holiday/1.jpg", b"")
    absent = tmp_path / "none.zip"
    for path, message in (
        (other, "the lab's folders was expected"),
        (absent, "there is no such file"),
        (__file__, "a whole zip"),
    ):
        with pytest.raises(LabError, match=message):
            unpack(path, tmp_path / "root")
    protected = bytearray(whole)
    start = 0
    while (start := protected.find(b"PK\x01\x02", start)) >= 0:
        protected[start + 8] |= 1  # the flag of a password, in the zip's directory
        start += 4
    archive.write_bytes(protected)
    with pytest.raises(LabError, match="without a password"):
        unpack(archive, tmp_path / "root")
    assert not (tmp_path / "root").exists()


def test_a_damaged_zip_keeps_what_is_whole_and_the_whole_one_goes_on(archive, tmp_path):
    whole = archive.read_bytes()
    damaged = bytearray(whole)
    damaged[len(whole) // 2 : len(whole) // 2 + 40] = bytes(40)
    archive.write_bytes(damaged)
    with pytest.raises(LabError, match=r"archive\.zip"):
        unpack(archive, tmp_path / "root")
    there = [path for path in (tmp_path / "root").rglob("*.npy")]
    archive.write_bytes(whole)
    unpack(archive, tmp_path / "root")
    assert 0 < len(there) < len(list((tmp_path / "root").rglob("*.npy"))) == sum(TINY.values())


def test_too_small_a_disk_and_a_folder_of_something_else_are_refused(archive, tmp_path, monkeypatch):
    (tmp_path / "root").mkdir()
    monkeypatch.setattr("shutil.disk_usage", lambda path: SimpleNamespace(free=1000))
    with pytest.raises(LabError, match=r"GB free were expected.*use another disk with --data DIR"):
        unpack(archive, tmp_path / "root")
    assert not list((tmp_path / "root").iterdir())
    monkeypatch.undo()
    (tmp_path / "root" / "thesis.tex").write_text("")
    with pytest.raises(LabError, match=r"holds thesis\.tex"):
        unpack(archive, tmp_path / "root")
    labels = tmp_path / "half" / "fma_genre_spectrograms" / "train_labels.txt"
    labels.parent.mkdir(parents=True)
    labels.write_text("mine")
    with pytest.raises(LabError, match=r"train_labels\.txt: \d+ bytes as in the zip"):
        unpack(archive, tmp_path / "half")
    assert labels.read_text() == "mine"


def brought(flags, tmp_path, capsys):
    """(result or None, error or None, lines printed) of step 0 with these flags."""
    result = error = None
    try:
        (result,) = step0_data.main([*flags, "--headers", "--out", str(tmp_path / "runs")])
    except LabError as raised:
        error = str(raised)
    return result, error, capsys.readouterr().out.splitlines()


def keep_to_the_labs_genres(archive):
    """The tiny data's genres under names of the lab's table."""
    names = {"Ρεμπέτικο": "Folk", "Chiptune": "Old-Time"}
    with zipfile.ZipFile(archive) as old:
        entries = [(info, old.read(info)) for info in old.infolist()]
    with zipfile.ZipFile(archive, "w") as new:
        for info, content in entries:
            for genre, name in names.items():
                content = (
                    content.replace(genre.encode(), name.encode()) if info.filename.endswith("_labels.txt") else content
                )
            new.writestr(info.filename, content)


def test_step_0_unpacks_checks_the_counts_and_prints_the_next_command(archive, tmp_path, capsys, monkeypatch):
    keep_to_the_labs_genres(archive)
    flags = ["--zip", str(archive), "--data", str(tmp_path / "root")]
    result, error, lines = brought(flags, tmp_path, capsys)
    assert result is None and "8 splits of another size than the lab's" in error
    assert "note          : multitask_dataset/test: 375 files were expected, but there are 6" in lines
    monkeypatch.setattr("extras.own_data.kaggle.known_counts", lambda: TINY)
    result, error, lines = brought(flags, tmp_path, capsys)
    assert error is None and result["missing"] == 0
    assert lines[-2] == f"next          : python step7_cnn.py --data {tmp_path / 'root'}" and lines[-1].startswith(
        "RESULT step0_data"
    )


def test_numbers_of_files_are_compared_with_the_labs(tiny_data):
    differences = compare_counts(survey_data(find_data(tiny_data), headers_only=True)["splits"])
    assert (
        len(differences) == 8
        and "fma_genre_spectrograms/train: 3069 files were expected, but there are 36" in differences
    )
    assert compare_counts({key: {"ids": range(count)} for key, count in LAB.items()}) == []


def test_kagglehub_fetches_where_it_is_installed_and_is_named_where_not(tiny_data, tmp_path, capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "kagglehub", None)
    _, error, _ = brought(["--kaggle"], tmp_path, capsys)
    assert "requirements-kaggle.txt" in error and "--zip" in error

    asked = []
    given = SimpleNamespace(dataset_download=lambda handle: asked.append(handle) or str(tiny_data.parent))
    monkeypatch.setitem(sys.modules, "kagglehub", given)
    monkeypatch.setenv("KAGGLEHUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr("extras.own_data.kaggle.known_counts", lambda: TINY)
    result, error, lines = brought(["--kaggle"], tmp_path, capsys)
    assert error is None and result["genre_clips"] == 54 and asked == ["geoparslp/patreco3-multitask-affective-music"]
    assert lines[-2] == f"next          : python step7_cnn.py --data {tiny_data}"

    def refused(handle):
        raise ConnectionError("403 Client Error")

    monkeypatch.setitem(sys.modules, "kagglehub", SimpleNamespace(dataset_download=refused))
    assert "could not be downloaded (403 Client Error)" in brought(["--kaggle"], tmp_path, capsys)[1]
    monkeypatch.undo()
    monkeypatch.setitem(sys.modules, "kagglehub", SimpleNamespace(dataset_download=refused))
    monkeypatch.setenv("KAGGLEHUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr("shutil.disk_usage", lambda path: SimpleNamespace(free=10**9))
    error = brought(["--kaggle"], tmp_path, capsys)[1]
    assert "8.1 GB free were expected, but only 1.0 are; use another disk with KAGGLEHUB_CACHE=DIR" in error
