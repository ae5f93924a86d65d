import os
import subprocess
import sys
import time

import numpy as np
import pytest
from conftest import random_clip

from common.cache import map_cache, open_clips, stamp
from common.dataset import Clips
from common.errors import LabError
from common.reading import read_fused_spectrogram


@pytest.fixture
def files(tmp_path):
    rng = np.random.default_rng(1)
    paths = {}
    for ident in ("a", "b", "γ"):
        paths[ident] = tmp_path / f"{ident}.fused.full.npy"
        np.save(paths[ident], random_clip(rng, 5 + len(paths)))
    return paths


def stamps(files):
    return {ident: stamp(path) for ident, path in files.items()}


def contents(clips, files):
    return {ident: np.array(clips[ident]).tobytes() for ident in files}


def test_cached_and_uncached_give_the_same_values_close_to_the_files(tmp_path, files):
    cache = tmp_path / "cache" / "split.json"
    made, mapped, read = open_clips(files, cache), open_clips(files, cache), Clips(files)
    assert made.path == mapped.path == cache
    assert contents(made, files) == contents(mapped, files) == contents(read, files)
    for ident, path in files.items():
        exact = read_fused_spectrogram(path)
        assert mapped.length(ident) == len(exact)
        assert np.abs(mapped[ident][:, :128] - exact[:, :128]).max() <= 1 / 32
        assert np.abs(mapped[ident][:, 128:] - exact[:, 128:]).max() <= 1 / 4096


def test_a_second_run_reads_no_file(tmp_path, files, monkeypatch):
    open_clips(files, tmp_path / "split.json")
    monkeypatch.setattr("common.cache.read_fused_spectrogram", lambda path: pytest.fail(f"{path} was read again"))
    again = open_clips(files, tmp_path / "split.json")
    fewer = open_clips({"γ": files["γ"]}, tmp_path / "split.json")  # a dry run maps the whole split's cache
    assert again["γ"].tobytes() == fewer["γ"].tobytes()


def test_a_changed_file_or_a_further_one_makes_the_cache_anew(tmp_path, files):
    cache = tmp_path / "split.json"
    old = contents(open_clips(files, cache), files)
    np.save(files["b"], random_clip(np.random.default_rng(9), 6))
    os.utime(files["b"], ns=(1, 1))
    fresh = contents(open_clips(files, cache), files)
    assert fresh["b"] != old["b"] and fresh["a"] == old["a"]
    files["d"] = tmp_path / "d.npy"
    np.save(files["d"], random_clip(np.random.default_rng(3), 4))
    assert open_clips(files, cache).length("d") == 4


def files_of(cache):
    """The cache's index and its array."""
    (data,) = cache.parent.glob("split.*.npy")
    return cache, data


def test_no_truncation_is_trusted(tmp_path, files):
    cache = tmp_path / "split.json"
    right = contents(open_clips(files, cache), files)
    for path in files_of(cache):
        whole = path.read_bytes()
        for length in [*range(0, len(whole), 101), len(whole) - 1]:
            path.write_bytes(whole[:length])
            clips = map_cache(cache, stamps(files))
            assert clips is None or (
                path == cache and length == len(whole) - 1
            )  # the index without its last line break
        assert contents(open_clips(files, cache), files) == right


def test_a_flipped_byte_is_found_wherever_it_is(tmp_path, files):
    cache = tmp_path / "split.json"
    right, header = contents(open_clips(files, cache), files), 128
    for path in files_of(cache):
        index, whole = cache.read_bytes(), path.read_bytes()
        for place in range(0, len(whole), 97):
            path.write_bytes(whole[:place] + bytes([whole[place] ^ 16]) + whole[place + 1 :])
            clips = map_cache(cache, stamps(files))
            if clips is not None and place >= header:  # then the index is whole, and the damage lies in one clip
                assert path != cache
                with pytest.raises(LabError, match="damaged"):
                    contents(clips, files)
                assert not cache.exists()
            elif clips is not None:
                assert contents(clips, files) == right  # a blank in the array's header
            cache.write_bytes(index)
            path.write_bytes(whole)


def test_the_array_is_a_plain_npy_file_and_an_older_one_goes(tmp_path, files):
    cache = tmp_path / "split.json"
    clips = open_clips(files, cache)
    _, first = files_of(cache)
    frames = np.load(first)
    assert frames.dtype == np.float16 and frames.shape == (sum(clips.length(ident) for ident in files), 140)
    np.save(files["a"], random_clip(np.random.default_rng(4), 7))
    (tmp_path / "split.pack").touch()  # of an earlier version
    open_clips(files, cache)
    _, second = files_of(cache)
    assert first != second and not (tmp_path / "split.pack").exists()


def test_a_killed_writer_leaves_nothing_that_is_trusted(tmp_path, files):
    cache = tmp_path / "split.json"
    code = (
        "import sys, time, common.cache as p\n"
        "read = p.read_fused_spectrogram\n"
        "def slow(path):\n"
        "    print('reading', flush=True); time.sleep(0 if path.endswith('a.fused.full.npy') else 60); return read(path)\n"
        "p.read_fused_spectrogram = slow\n"
        f"p.open_clips({ {ident: str(path) for ident, path in files.items()}!r}, {str(cache)!r})\n"
    )
    child = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    child.stdout.readline(), child.stdout.readline()
    child.kill()
    child.communicate()
    assert not cache.exists() and cache.with_name("split.part").exists()
    begun = time.monotonic()
    assert contents(open_clips(files, cache), files) == contents(Clips(files), files)
    assert time.monotonic() - begun < 30  # the dead writer's lock is not waited for
    assert not cache.with_name("split.part").exists()


def test_two_processes_on_a_cold_cache_read_the_files_once(tmp_path, files):
    cache = tmp_path / "split.json"
    code = (
        "import common.cache as p\n"
        "read = p.read_fused_spectrogram\n"
        "def told(path):\n    print('read', path); return read(path)\n"
        "p.read_fused_spectrogram = told\n"
        f"clips = p.open_clips({ {ident: str(path) for ident, path in files.items()}!r}, {str(cache)!r})\n"
        "print('sum', sum(float(clips[i].sum()) for i in clips.table))\n"
    )
    children = [subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) for _ in range(2)]
    texts = [child.communicate()[0] for child in children]
    assert sum(text.count("read ") for text in texts) == len(files)
    assert len({text.splitlines()[-1] for text in texts}) == 1


def test_a_file_that_changes_while_it_is_read_is_refused(tmp_path, files, monkeypatch):
    def touched(path):
        os.utime(path, ns=(5, 5))
        return read_fused_spectrogram(path)

    monkeypatch.setattr("common.cache.read_fused_spectrogram", touched)
    with pytest.raises(LabError, match="changed while it was being read"):
        open_clips(files, tmp_path / "split.json")
    assert {path.name for path in tmp_path.glob("split.*")} <= {"split.json.lock"}


def test_a_place_that_cannot_be_written_is_named(tmp_path, files):
    (tmp_path / "file").touch()
    with pytest.raises(LabError, match=r"file/split\.json.*--cache DIR"):
        open_clips(files, tmp_path / "file" / "split.json")
