import json
import os
import shutil

import numpy as np
import pytest

import common.locations as locations
from common.cli import step_parser
from common.errors import LabError
from common.locations import find_data
from common.report import result_line
from extras.demo.folder import MARKER

METADATA = {"format": 1, "notice": "demo", "seed": 0}


@pytest.mark.parametrize(
    "place", [".", "..", "fma_genre_spectrograms", "multitask_dataset_beat", "fma_genre_spectrograms/train"]
)
def test_the_folder_its_parent_and_its_children_are_recognised(tiny_data, place):
    found = find_data(tiny_data / place)
    assert found.path == tiny_data.resolve() and found.own_table and found.demo is None
    assert "--data" in found.description() and str(tiny_data) in found.description()


@pytest.mark.parametrize("place", ["nowhere", "../empty", "class_mapping.json"])
def test_another_folder_is_refused(tiny_data, place):
    (tiny_data.parent / "empty").mkdir()
    with pytest.raises(LabError, match=r"--data .* was expected"):
        find_data(tiny_data / place)


def compose(root):
    """Stands in for the demo music."""
    (root / "fma_genre_spectrograms").mkdir(parents=True, exist_ok=True)
    (root / MARKER).write_text(json.dumps(METADATA))
    return root


@pytest.fixture
def computer(tmp_path, monkeypatch):
    """(repository, Kaggle's input), both empty."""
    folders = tmp_path / "repository", tmp_path / "kaggle" / "input"
    for folder in folders:
        folder.mkdir(parents=True)
    monkeypatch.setattr(locations, "REPOSITORY", folders[0])
    monkeypatch.setattr("common.cli.REPOSITORY", folders[0])
    monkeypatch.setattr(locations, "KAGGLE_ROOTS", (str(folders[1]), str(tmp_path / "absent")))
    return folders


SLUG = "patreco3-multitask-affective-music"
OTHERS = "datasets/someone/a-set", f"competitions/{SLUG}-of-others", "d/someone"


def test_without_data_the_repository_comes_first_then_kaggle_then_the_demo(tiny_data, computer):
    repository, kaggle = computer
    demo = find_data(demo=compose)
    said = demo.description()
    assert demo.path == repository / "demo_data" and demo.demo == METADATA
    assert said.startswith("DEMO MUSIC") and "--data DIR" in said and "Drive" in said
    with pytest.raises(LabError, match="--data: the lab's data folder was expected"):
        find_data()
    shutil.copytree(tiny_data, kaggle / SLUG / "data")
    assert find_data().path == kaggle / SLUG / "data" and find_data(demo=compose).demo is None
    shutil.copytree(tiny_data, repository / "data")
    assert find_data().path == repository / "data"
    assert find_data(str(repository / "demo_data"), compose).demo == METADATA  # what --demo gives


@pytest.mark.parametrize(
    "mount",
    [
        f"{SLUG}/data",
        SLUG,
        f"datasets/geoparslp/{SLUG}/data",
        f"datasets/geoparslp/{SLUG}",
        f"d/geoparslp/{SLUG}/data",
        f"datasets/geoparslp/{SLUG}/versions/1/data",
        "my-copy/lab3/data",
    ],
)
def test_the_set_is_found_under_any_mount_of_kaggle(mount, tiny_data, computer):
    _, kaggle = computer
    for other in OTHERS:
        (kaggle / other / "train").mkdir(parents=True)
    shutil.copytree(tiny_data, kaggle / mount)
    found = find_data(demo=compose)
    assert found.path == kaggle / mount and found.demo is None and "Kaggle's input" in found.description()
    for above in (kaggle, kaggle.parent, (kaggle / mount).parent):
        assert find_data(above).path == kaggle / mount


def test_the_labs_own_set_comes_before_others_and_two_others_are_refused(tiny_data, computer):
    _, kaggle = computer
    for other in ("mine", "yours"):
        shutil.copytree(tiny_data, kaggle / other)
    with pytest.raises(LabError, match=f"{kaggle}/mine, {kaggle}/yours"):
        find_data(demo=compose)
    shutil.copytree(tiny_data, kaggle / "datasets" / "geoparslp" / SLUG / "data")
    assert find_data(demo=compose).path.parent.name == SLUG


def test_no_demo_music_where_kaggle_has_other_data(computer, capsys):
    _, kaggle = computer
    (kaggle / ".hidden").mkdir()
    assert find_data(demo=compose).demo
    (kaggle / "a-set").mkdir()
    with pytest.raises(LabError, match=f"--data.*{SLUG}.*--demo"):
        find_data(demo=compose)
    args = step_parser("").parse_args(["--demo"])
    assert find_data(args.data, compose).demo == METADATA
    with pytest.raises(SystemExit):
        step_parser("").parse_args(["--demo", "--data", "x"])
    assert "--demo: no --data was expected" in capsys.readouterr().err


def test_a_data_folder_on_a_disk_that_is_not_mounted_is_not_passed_over(computer, tiny_data):
    repository, _ = computer
    (repository / "data").symlink_to(repository / "drive" / "lab")
    with pytest.raises(LabError, match=r"^data/ in the repository .*drive/lab"):
        find_data(demo=compose)
    shutil.copytree(tiny_data, repository / "drive" / "lab")
    (repository / "more").symlink_to(repository / "data")  # two links to one folder, and a circle
    (repository / "circle").symlink_to(repository)
    assert find_data(demo=compose).path == find_data(repository).path == repository / "drive" / "lab"


def test_demo_music_is_marked_wherever_it_lies(tiny_data, tmp_path):
    (tiny_data / MARKER).write_text(json.dumps(METADATA))
    moved = shutil.move(tiny_data, tmp_path / "elsewhere")
    data = find_data(moved)
    assert "DEMO MUSIC" in data.description()
    assert result_line("step", data, "full", {"acc": 0.5}) == "RESULT step acc=0.5000 data=demo"
    (tmp_path / "elsewhere" / MARKER).write_text("{")
    with pytest.raises(LabError, match=MARKER):
        find_data(moved)


def test_the_fingerprint_follows_the_data_and_not_their_place(tiny_data, tmp_path):
    before = find_data(tiny_data).fingerprint
    copied = shutil.copytree(tiny_data, tmp_path / "copy")
    assert find_data(copied).fingerprint == before
    labels = tmp_path / "copy" / "fma_genre_spectrograms" / "train_labels.txt"
    labels.write_bytes(labels.read_bytes().replace(b"Rock", b"Chiptune", 1))
    assert find_data(copied).fingerprint != before
    os.unlink(tiny_data / "class_mapping.json")
    assert find_data(tiny_data).fingerprint != before


def test_another_content_under_the_same_names_is_other_data(tiny_data):
    before = find_data(tiny_data).fingerprint
    for path in (tiny_data / "multitask_dataset_beat" / "train").iterdir():
        np.save(path, np.load(path) * 0.5)
    assert find_data(tiny_data).fingerprint != before


def test_an_unknown_layout_in_the_repositorys_data_is_not_passed_over(tiny_data, tmp_path, monkeypatch):
    monkeypatch.setattr(locations, "REPOSITORY", tmp_path / "repository")
    (tmp_path / "repository" / "data" / "unzipped").mkdir(parents=True)
    with pytest.raises(LabError, match="data/ in the repository"):
        find_data()
    shutil.copytree(tiny_data, tmp_path / "repository" / "data" / "unzipped", dirs_exist_ok=True)
    assert find_data().path == tmp_path / "repository" / "data" / "unzipped"


def test_the_own_table_is_told(tiny_data):
    assert find_data(tiny_data).table_text() == "Rock; Ελληνικά < Ρεμπέτικο; dropped: Chiptune"
