"""What a user names, or keeps in a folder of ours, is replaced or removed only where the project can show that it wrote
it; everything else stays, and is named.
"""

import errno
import json
import os
import shutil

import numpy as np
import pytest
from conftest import random_clip
from test_demo import SMALL, few
from test_predict import runs  # noqa: F401, a fixture

import build_report
import predict
from common.cache import open_clips
from common.errors import LabError
from common.files import part_of, write_atomically, write_own
from common.locations import find_data
from common.run import open_run
from common.submission import check_submit_path, write_submission
from extras.demo import folder as demo_music

VALUES = [(0.1, 0.2, 0.3), (0.3, 0.1, 0.2)]


def submit(path, values=VALUES):
    write_submission(path, ["1", "2"], values)
    return path.read_bytes()


def test_an_own_file_is_replaced_and_a_changed_one_is_not(tmp_path):
    path = tmp_path / "solution.txt"
    first = submit(path)
    check_submit_path(path)
    assert submit(path, VALUES[::-1]) != first and submit(path) == first
    with open(path, "a") as file:
        file.write("mine\n")
    with pytest.raises(
        LabError, match=r"--submit .*solution\.txt: a new name.* solution\.txt is another or was edited"
    ):
        submit(path)
    assert path.read_bytes() == first + b"mine\n"
    path.unlink()
    assert submit(path) == first
    assert not list(tmp_path.glob("*.part"))


def test_an_own_file_is_still_known_after_a_kill_between_the_two_writings(tmp_path, monkeypatch):
    path = tmp_path / "solution.txt"
    first = submit(path)
    with monkeypatch.context() as killed:
        killed.setattr("os.replace", lambda *_, really=os.replace: really(*_) if "written" in str(_[1]) else 1 / 0)
        with pytest.raises(ZeroDivisionError):
            submit(path, VALUES[::-1])
    assert path.read_bytes() == first and submit(path, VALUES[::-1]) != first


@pytest.mark.parametrize("content", [b"Id,valence,energy,danceability\n1,0.1,0.2,0.3\n", b"", b"\x89PNG", b"\xff"])
def test_a_strangers_file_is_refused_by_name_and_left_as_it_is(tmp_path, content):
    path = tmp_path / "train_labels.txt"
    path.write_bytes(content)
    for write in (lambda: check_submit_path(path), lambda: submit(path), lambda: write_own(path, "x", "--figure")):
        with pytest.raises(LabError, match=r"train_labels\.txt is another or was edited; nothing was written"):
            write()
    assert path.read_bytes() == content and os.listdir(tmp_path) == [path.name]


def test_links_folders_and_pipes_are_no_places_to_write(tmp_path):
    labels = tmp_path / "labels.txt"
    labels.write_text("mine")
    for name in ("link.txt", ".new.txt.written"):
        (tmp_path / name).symlink_to(labels)
    (tmp_path / "broken.txt").symlink_to(tmp_path / "nothing")
    (tmp_path / "folder.txt").mkdir()
    os.mkfifo(tmp_path / "pipe.txt")
    for name in ("link.txt", "broken.txt", "folder.txt", "pipe.txt", "new.txt", "absent/new.txt"):
        with pytest.raises(LabError, match=rf"^--submit {tmp_path / name}: .*name"):
            submit(tmp_path / name)
    assert labels.read_text() == "mine" and (tmp_path / "broken.txt").is_symlink()


def test_a_record_that_is_no_record_is_refused(tmp_path):
    (tmp_path / ".new.txt.written").write_text("my diary")
    with pytest.raises(LabError, match=r"\.new\.txt\.written is another"):
        submit(tmp_path / "new.txt")
    assert (tmp_path / ".new.txt.written").read_text() == "my diary"


def test_names_that_end_in_part_are_left_alone_and_not_followed(tmp_path):
    labels = tmp_path / "labels.txt"
    labels.write_text("mine")
    (tmp_path / "sub.txt.part").symlink_to(labels)
    (tmp_path / "best.pt.part").write_text("mine too")
    assert not part_of(tmp_path / "best.pt").exists()
    submit(tmp_path / "sub.txt")
    write_atomically(tmp_path / "best.pt", b"weights")
    assert labels.read_text() == "mine" and (tmp_path / "best.pt.part").read_text() == "mine too"
    assert (tmp_path / "sub.txt.part").is_symlink() and (tmp_path / "best.pt").read_bytes() == b"weights"
    assert {path.name for path in tmp_path.glob("*.part")} == {"sub.txt.part", "best.pt.part"}


@pytest.mark.parametrize("code", [errno.EINVAL, errno.ENOSYS, errno.ENOTSUP, errno.EPERM])
def test_a_disk_that_refuses_fsync_is_written_to(tmp_path, monkeypatch, code):
    def refused(number):
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr("os.fsync", refused)
    write_atomically(tmp_path / "best.pt", b"weights")
    assert (tmp_path / "best.pt").read_bytes() == b"weights"
    np.save(tmp_path / "1.npy", random_clip(np.random.default_rng(0), 9))
    (tmp_path / "index.part").symlink_to(tmp_path / "best.pt")
    assert open_clips({"1": tmp_path / "1.npy"}, tmp_path / "index.json").length("1") == 9
    assert (tmp_path / "best.pt").read_bytes() == b"weights"


def test_a_name_that_cannot_be_written_is_refused_before_the_training(tmp_path):
    names = ["n" * 255, "n" * 300, "n" * 242, "no folder/x.txt", ".", "n" * 255 + "/x.txt"]
    for path in (*(tmp_path / name for name in names), "/proc/solution.txt"):
        with pytest.raises(LabError, match="the name of a file in a folder that is there and can be written"):
            check_submit_path(path)
    assert not list(tmp_path.iterdir())


def test_a_song_is_no_figure(tmp_path, runs, monkeypatch):  # noqa: F811
    song, other = tmp_path / "song.npy", tmp_path / "cover.png"
    np.save(song, random_clip(np.random.default_rng(0), 200))
    other.write_bytes(b"\x89PNG of somebody else")
    kept = song.read_bytes()
    for figure in (song, other, runs / "step7_cnn/mel_seed0/best.pt", tmp_path / "no folder" / "x.png"):
        with pytest.raises(LabError, match=rf"--figure {figure}: "):
            predict.main([str(song), "--out", str(runs), "--figure", str(figure)])
    assert song.read_bytes() == kept and other.read_bytes() == b"\x89PNG of somebody else"
    own = tmp_path / "own.png"
    write_own(own, b"drawn before", "--figure")
    monkeypatch.setattr(predict, "draw_song", lambda path, *_: write_own(path, b"drawn again", "--figure"))
    predict.main([str(song), "--out", str(runs), "--figure", str(own)])
    assert own.read_bytes() == b"drawn again"


def test_a_report_of_the_student_is_left_alone(tiny_data, tmp_path, monkeypatch):
    monkeypatch.setattr(build_report, "find_results", lambda *_: None)
    (tmp_path / "report.md").write_text("# My report")
    with pytest.raises(LabError, match=r"--out .*report\.md: a new name"):
        build_report.main(["--data", str(tiny_data), "--out", str(tmp_path)])
    assert (tmp_path / "report.md").read_text() == "# My report" and not (tmp_path / "report.html").exists()


@pytest.fixture
def run_in(tiny_data, tmp_path):
    """run_in(): a run that fails in the folder s/v of tmp_path as soon as it has begun."""
    metadata = {"mode": "full", **find_data(tiny_data).metadata()}

    def fail(act=lambda folder: None):
        with pytest.raises(RuntimeError), open_run(tmp_path / "s" / "v", metadata, {}) as run:
            act(run.folder)
            raise RuntimeError

    return fail


@pytest.mark.parametrize("name", ["notes.txt", "log.txt", "arguments.json", "below/notes.txt", "figure.png"])
def test_a_run_folder_with_a_strangers_file_is_renamed_and_not_removed(tmp_path, run_in, name):
    path = tmp_path / "s" / "v" / name
    path.parent.mkdir(parents=True)
    path.write_text("mine")
    run_in()
    assert path.read_text() == "mine"  # renamed, and renamed back when the run had failed
    run_in(lambda folder: (folder / "best.pt").write_bytes(b""))
    assert (tmp_path / "s" / "v.old-1" / name).read_text() == "mine"


def test_what_somebody_put_into_a_run_that_failed_stays(tmp_path, run_in):
    run_in(lambda folder: (folder / "notes.txt").write_text("mine"))
    assert (tmp_path / "s" / "v" / "notes.txt").read_text() == "mine"
    run_in()
    assert (tmp_path / "s" / "v" / "notes.txt").read_text() == "mine"


def test_a_run_that_was_killed_at_its_start_is_removed(tmp_path, run_in):
    run_in(lambda folder: shutil.copytree(folder, tmp_path / "killed"))
    (tmp_path / "killed").rename(tmp_path / "s" / "v")
    assert {path.name for path in (tmp_path / "s" / "v").iterdir()} == {"log.txt", "arguments.json"}
    run_in()
    assert [path.name for path in (tmp_path / "s").iterdir() if path.is_dir()] == []


def test_ctrl_c_before_anything_is_saved_puts_the_earlier_run_back(tmp_path, run_in, monkeypatch):
    run_in(lambda folder: (folder / "state.pt").write_bytes(b"trained for hours"))
    monkeypatch.setattr("os.replace", lambda *_: (_ for _ in ()).throw(RuntimeError("as Ctrl-C comes anywhere")))
    run_in()
    assert [path.name for path in (tmp_path / "s").iterdir() if path.is_dir()] == ["v"]
    assert (tmp_path / "s" / "v" / "state.pt").read_bytes() == b"trained for hours"


@pytest.fixture
def demo(tmp_path, monkeypatch):
    few(monkeypatch, 2)
    demo_music.compose_demo(tmp_path / "demo", **SMALL, processes=1)
    return tmp_path / "demo"


def compose_again(root):
    demo_music.compose_demo(root, **SMALL, processes=1, seed=1)


@pytest.mark.parametrize(
    "name",
    ["notes.txt", "class_mapping.json", "fma_genre_spectrograms/train/7.fused.full.npy", "mine/train_labels.txt"],
)
def test_demo_music_with_somebodys_file_in_it_is_not_composed_again(demo, name):
    (demo / name).parent.mkdir(exist_ok=True)
    (demo / name).write_text("mine")
    with pytest.raises(LabError, match=rf"{demo / name}: only demo music was expected .*nothing was changed"):
        compose_again(demo)
    assert (demo / name).read_text() == "mine" and json.loads((demo / "demo_music.json").read_text())["seed"] == 0
    (demo / name).unlink()
    compose_again(demo)
    assert json.loads((demo / "demo_music.json").read_text())["seed"] == 1


def test_edited_labels_links_and_folders_beside_demo_music_are_left_alone(demo, tmp_path):
    mine, labels = tmp_path / "mine.npy", demo / "multitask_dataset" / "train_labels.txt"
    mine.write_text("mine")
    kept = labels.read_bytes()
    labels.write_bytes(kept.replace(b"0.", b"1.", 1))
    with pytest.raises(LabError, match="its files were edited"):
        compose_again(demo)
    clip = min(demo.glob("*/train/*.npy"))
    composed = np.load(clip)
    labels.write_bytes(kept)
    np.save(clip, composed * 0.5)
    with pytest.raises(LabError, match="its files were edited"):
        compose_again(demo)
    np.save(clip, composed)
    labels.write_bytes(kept.replace(b"0.", b"1.", 1))
    labels.write_bytes(kept)
    (demo / "link.npy").symlink_to(mine)
    with pytest.raises(LabError, match=r"link\.npy: only demo music"):
        compose_again(demo)
    (demo / "link.npy").unlink()
    for name in (".demo.composing.12", ".demo.old"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "thesis.tex").write_text("mine")
    with pytest.raises(LabError, match=r"\.demo\.old: nothing was expected there"):
        compose_again(demo)
    shutil.rmtree(tmp_path / ".demo.old")
    compose_again(demo)
    assert (tmp_path / ".demo.composing.12" / "thesis.tex").read_text() == "mine" == mine.read_text()
