import json
import os
import shutil

import numpy as np
import pytest

import common.locations as locations
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


@pytest.mark.parametrize("place", ["nowhere", "../../..", "class_mapping.json"])
def test_another_folder_is_refused(tiny_data, place):
    with pytest.raises(LabError, match=r"--data .* was expected"):
        find_data(tiny_data / place)


def test_without_data_the_repository_comes_first_then_kaggle_then_the_demo(tiny_data, tmp_path, monkeypatch):
    def compose(root):
        shutil.copytree(tiny_data, root, dirs_exist_ok=True)
        (root / MARKER).write_text(json.dumps(METADATA))
        return root

    repository, kaggle = tmp_path / "repository", tmp_path / "kaggle" / "data"
    repository.mkdir()
    monkeypatch.setattr(locations, "REPOSITORY", repository)
    monkeypatch.setattr(locations, "KAGGLE_ROOTS", (str(tmp_path / "absent"), str(kaggle)))
    demo = find_data(demo=compose)
    assert (
        demo.path == repository / "demo_data" and demo.demo == METADATA and demo.description().startswith("DEMO MUSIC")
    )
    shutil.copytree(tiny_data, kaggle)
    assert find_data().path == kaggle and find_data(demo=compose).demo is None
    shutil.copytree(tiny_data, repository / "data")
    assert find_data().path == repository / "data"


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
