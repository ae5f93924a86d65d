"""Which data are the same: the fingerprint of a folder, the checksums that are kept for it, and clips that are equal in
content under other names.
"""

import gzip
import json
import os
import shutil
import time
from pathlib import Path

import numpy as np
import pytest

import evaluate
import step0_data
import step7_cnn
import step9_transfer
from common import versions
from common.comparison import read_metrics
from common.errors import LabError
from common.locations import find_data
from common.versions import fingerprint_text, is_same_data, keep_checksums

GENRES, EMOTIONS = "fma_genre_spectrograms", "multitask_dataset"


def text_of(data, *folders, cache=None, content=True):
    """The fingerprint of these folders, by default the genres', as a new process takes it."""
    found = find_data(data)
    keep_checksums(found, cache)
    return fingerprint_text(found, folders or [GENRES], content)


def rewrite(path):
    """Other values in a file of the same size, whose mtime is set back."""
    before = path.stat()
    np.save(path, np.load(path) * 0.5)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert path.stat().st_size == before.st_size


def test_touched_copied_and_cluttered_folders_are_the_same_data(tiny_data, tmp_path):
    before = text_of(tiny_data, cache=tmp_path / "cache")
    for path in tiny_data.rglob("*"):
        os.utime(path, ns=(1, 1))
    train = tiny_data / GENRES / "train"
    for name in (".DS_Store", "._1000.fused.full.npy", "Thumbs.db"):
        (train / name).write_bytes(b"by another program")
    os.mkfifo(train / "pipe.npy")
    (train / "gone.npy").symlink_to(train / "nowhere")
    assert text_of(tiny_data, cache=tmp_path / "cache") == before == text_of(tiny_data)
    (train / "pipe.npy").unlink()
    copied = shutil.copytree(tiny_data, tmp_path / "other" / "disk", symlinks=True)
    assert text_of(copied, cache=tmp_path / "cache") == before


def test_a_rewritten_file_anywhere_makes_it_other_data(tiny_data, tmp_path):
    cache = tmp_path / "cache"
    files = sorted((tiny_data / GENRES).glob("t*/*.npy"))
    assert len(files) == 54
    seen = {text_of(tiny_data, cache=cache)}
    for number, path in enumerate(files, start=1):
        rewrite(path)
        seen.add(text_of(tiny_data, cache=cache))
        assert len(seen) == number + 1, f"{path.name} was rewritten without a notice"
    assert text_of(tiny_data) in seen


@pytest.mark.parametrize("change", ["unlink", "rename", "other split", "label", "class table"])
def test_names_labels_and_the_class_table_count(change, tiny_data):
    before = text_of(tiny_data)
    path = next((tiny_data / GENRES / "train").glob("*.npy"))
    labels, table = tiny_data / GENRES / "train_labels.txt", tiny_data / "class_mapping.json"
    if change == "unlink":
        path.unlink()
    elif change == "rename":
        path.rename(path.with_name("77.fused.full.npy"))
    elif change == "other split":
        path.rename(tiny_data / GENRES / "test" / path.name)
    elif change == "label":
        labels.write_bytes(labels.read_bytes().replace(b"Rock", b"Chiptune", 1))
    else:
        table.write_text(json.dumps({**json.loads(table.read_text(encoding="utf-8")), "Jazz": None}), encoding="utf-8")
    assert text_of(tiny_data) != before


def test_a_folder_that_is_not_read_counts_for_nothing(tiny_data):
    both, before = text_of(tiny_data, GENRES, EMOTIONS), text_of(tiny_data)
    for folder in (f"{GENRES}_beat", EMOTIONS, f"{EMOTIONS}_beat"):
        shutil.rmtree(tiny_data / folder)
    assert text_of(tiny_data) == before
    data = find_data(tiny_data)
    assert is_same_data(data, before) and is_same_data(data, "") and not is_same_data(data, both)
    assert not any(is_same_data(data, wrong) for wrong in (None, 7, "0123456789abcdef", before.replace("=", "~")))


@pytest.fixture
def reads(monkeypatch):
    """The names of the spectrogram files that are read for their checksum, at a time when nothing is new."""
    names = []

    def read(path, really=Path.read_bytes):
        names.extend([path.name] * (".npy" in path.name))
        return really(path)

    now = time.time_ns() + 10**10
    monkeypatch.setattr(versions.time, "time_ns", lambda: now)
    monkeypatch.setattr(Path, "read_bytes", read)
    return names


def test_a_checksum_is_computed_once_and_again_for_a_touched_file(tiny_data, tmp_path, reads):
    cache = tmp_path / "cache"
    before = text_of(tiny_data, cache=cache)
    assert len(reads) == 54 and text_of(tiny_data, cache=cache) == before and len(reads) == 54
    touched = next((tiny_data / GENRES / "test").glob("*.npy"))
    os.utime(touched, ns=(1, 1))
    assert text_of(tiny_data, cache=cache) == before and reads[54:] == [touched.name]
    (index,) = cache.glob("*.checksums.json")
    for damage in (b"", b"[]", b"{", index.read_bytes().replace(b"train/", b"test/"), b"\xff" * 9):
        index.write_bytes(damage)
        reads.clear()
        assert text_of(tiny_data, cache=cache) == before and len(reads) == 54
    assert text_of(tiny_data, content=False) == text_of(tiny_data, content=False) and len(reads) == 54
    (tmp_path / "file").touch()
    assert text_of(tiny_data, cache=tmp_path / "file") == before  # a cache that cannot be written


def test_a_file_that_was_just_written_is_not_trusted_by_its_times(tiny_data, tmp_path, reads, monkeypatch):
    monkeypatch.setattr(versions.time, "time_ns", lambda: 0)
    for _ in range(2):
        reads.clear()
        text_of(tiny_data, cache=tmp_path / "cache")
        assert len(reads) == 54


def test_resume_goes_on_with_the_same_files_and_with_no_others(tiny_data, tmp_path, capsys):
    flags = ["--cache", str(tmp_path / "cache"), "--out", str(tmp_path / "runs"), "--no-baselines", "--epochs", "1"]
    rows = step7_cnn.main(["--data", str(tiny_data), *flags])
    for path in tiny_data.rglob("*"):
        os.utime(path)
    copied = shutil.copytree(tiny_data, tmp_path / "copied")
    rewrite(next((copied / f"{GENRES}_beat" / "train").glob("*.npy")))
    for data in (tiny_data, copied):
        assert step7_cnn.main(["--data", str(data), *flags, "--resume"]) == rows
    capsys.readouterr()
    checkpoint = str(tmp_path / "runs" / "step7_cnn" / "mel_seed0" / "best.pt")
    evaluate.main([checkpoint, "--data", str(copied), *flags[:4]])
    assert "trained on the same data\n" in capsys.readouterr().out
    rewrite(max((copied / GENRES / "train").glob("*.npy")))
    with pytest.raises(LabError, match="was trained on other data, and --resume needs the same"):
        step7_cnn.main(["--data", str(copied), *flags, "--resume"])
    evaluate.main([checkpoint, "--data", str(copied), *flags[:4]])
    assert "trained on other data" in capsys.readouterr().out


def test_what_an_earlier_version_saved_is_not_called_of_other_data(tiny_data, tmp_path, capsys, monkeypatch):
    flags = ["--data", str(tiny_data), "--no-cache", "--out", str(tmp_path / "runs"), "--no-baselines", "--epochs", "1"]
    with monkeypatch.context() as earlier:
        earlier.setattr("common.cli.fingerprint_text", lambda *_: "41043220dd01b48b")
        step7_cnn.main(flags)
    folder = tmp_path / "runs" / "step7_cnn" / "mel_seed0"
    with pytest.raises(LabError, match="mel_seed0 was saved by an earlier version, and --resume needs the same"):
        step7_cnn.main([*flags, "--resume"])
    capsys.readouterr()
    evaluate.main([str(folder / "best.pt"), *flags[:-3]])
    said = capsys.readouterr().out
    assert f"trained on {tiny_data} by an earlier version" in said and "other data" not in said
    assert read_metrics(folder / "metrics.json")["data"] == "41043220dd01b48b"
    (folder / "metrics.json").write_text('{"format": 2}')
    assert read_metrics(folder / "metrics.json") is None and "by an earlier version" in capsys.readouterr().err


def test_resume_notices_another_pretrained_network_of_the_same_name(tiny_data, tmp_path):
    flags = ["--data", str(tiny_data), "--no-cache", "--out", str(tmp_path / "runs"), "--no-baselines", "--epochs", "1"]
    step7_cnn.main([*flags, "--seeds", "2"])
    networks = [tmp_path / "runs" / "step7_cnn" / f"mel_seed{seed}" / "best.pt" for seed in (0, 1)]
    given = Path(shutil.copy(networks[0], tmp_path / "given.pt"))
    transfer = [*flags, "--axis", "energy", "--pretrained", str(given)]
    rows = step9_transfer.main(transfer)
    assert step9_transfer.main([*transfer, "--resume"]) == rows
    shutil.copy(networks[1], given)
    with pytest.raises(LabError, match=r"^--pretrained .*given\.pt \(SHA-256 .* has .*given\.pt \(SHA-256 "):
        step9_transfer.main([*transfer, "--resume"])


def add_clips(data, folder, split, clips, genre=None):
    """Adds copies of files under new ids, {id: path}, in other types and zipped; with a genre also to the labels."""
    for number, (ident, path) in enumerate(clips.items()):
        array = np.load(path).astype(np.float32 if number % 2 else np.float64)
        with gzip.open(data / folder / split / f"{ident}.fused.full.npy.gz", "wb") as file:
            np.save(file, np.asfortranarray(array))
        if genre:
            with open(data / folder / f"{split}_labels.txt", "a", encoding="utf-8", newline="") as file:
                file.write(f"{ident}.fused.full.npy.gz\t{genre}\r\n")


@pytest.fixture
def copied_clips(tiny_data):
    """Data with three training clips in the test split under new ids, one of them in a second genre, one with emotions."""
    rock = sorted((tiny_data / GENRES / "train").glob("10*.npy"))
    add_clips(tiny_data, GENRES, "test", {"71": rock[0], "72": rock[1], "73": rock[2]}, "Rock")
    add_clips(tiny_data, GENRES, "train", {"81": rock[5]}, "Ρεμπέτικο")
    for ident in range(9000, 9024):  # all of them, so that some validate or test
        path = tiny_data / EMOTIONS / "train" / f"{ident}.fused.full.npy"
        shutil.copy(rock[ident % 4], path)
    return tiny_data


@pytest.mark.parametrize("cache", [True, False])
def test_steps_print_equal_content_under_other_ids(cache, copied_clips, tmp_path, capsys):
    where = ["--cache", str(tmp_path / "cache")] if cache else ["--no-cache"]
    flags = ["--data", str(copied_clips), *where, "--out", str(tmp_path / "runs"), "--no-baselines", "--epochs", "1"]
    step7_cnn.main(flags)
    said = capsys.readouterr().out
    assert "WARNING: 3 of the 15 test clips are training clips too (by content): '71' is '1000'\n" in said
    assert (
        "WARNING: 2 clips to train or validate with are equal in content to another one, 2 of them with another label, "
        "for example " in said
    )
    checkpoint = str(tmp_path / "runs" / "step7_cnn" / "mel_seed0" / "best.pt")
    evaluate.main([checkpoint, *flags[:2], *where, *flags[-5:-3]])
    assert "3 of the 15 test clips were used to train it (by content): '71' is '1000'" in capsys.readouterr().out


def test_step_9_prints_emotion_clips_of_equal_content_with_the_genres(copied_clips, tmp_path, capsys):
    flags = ["--data", str(copied_clips), "--no-cache", "--out", str(tmp_path), "--epochs", "1"]
    step9_transfer.main([*flags, "--pretrain-epochs", "1"])
    said = capsys.readouterr().out
    assert "clips were used to train the genre CNN (by content): '9" in said
    assert "clips to train or validate with are equal in content to another one" in said


def test_step_0_notes_equal_content(copied_clips, tmp_path, capsys):
    flags = ["--data", str(copied_clips), "--no-cache", "--out", str(tmp_path)]
    step0_data.main(flags)
    said = capsys.readouterr().out
    assert (
        f"{GENRES}: 6 clips of equal content under different ids are in both splits, among them '1000' and '71'" in said
    )
    assert f"{GENRES}: 2 clips of equal content under different ids are in one split" in said
    assert f"{GENRES}: 2 clips of equal content under different ids have different labels" in said
    assert f"{EMOTIONS}: 24 clips of equal content under different ids are in one split" in said
    assert "clips of equal content under different ids in the genre and the multitask folders: 4" in said
    step0_data.main([*flags, "--headers"])
    assert "equal content" not in capsys.readouterr().out


def test_right_data_get_no_such_line(tiny_data, tmp_path, capsys):
    flags = ["--data", str(tiny_data), "--no-cache", "--out", str(tmp_path)]
    step0_data.main(flags)
    step7_cnn.main([*flags, "--quick", "--epochs", "1"])
    said = capsys.readouterr().out
    assert "RESULT step7_cnn" in said and not any(word in said for word in ("WARNING", "by content", "equal content"))
