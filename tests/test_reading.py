import gzip
import io

import numpy as np
import pytest

from common.errors import LabError
from common.reading import find_spectrograms, read_chromagram, read_fused_spectrogram, read_mel_spectrogram


@pytest.fixture
def clip():
    rng = np.random.default_rng(0)
    return np.vstack([rng.integers(-80, 1, (128, 17)), rng.integers(0, 2, (12, 17))]).astype(np.float64)


def save(path, array, **options):
    opener = gzip.open if path.suffix == ".gz" else open
    with opener(path, "wb") as file:
        np.save(file, array, **options)
    return path


@pytest.mark.parametrize("name", ["1.fused.full.npy", "1.fused.full.npy.gz"])
@pytest.mark.parametrize("dtype", ["<f2", "<f4", "<f8", ">f8"])
def test_every_form_of_a_file_gives_the_same_frames(tmp_path, clip, name, dtype):
    path = save(tmp_path / name, clip.astype(dtype))
    fused, mel, chroma = read_fused_spectrogram(path), read_mel_spectrogram(path), read_chromagram(path)
    assert fused.dtype == mel.dtype == chroma.dtype == np.float32
    assert mel.shape == (17, 128) and chroma.shape == (17, 12)
    np.testing.assert_array_equal(fused, clip.T)
    np.testing.assert_array_equal(np.hstack([mel, chroma]), fused)
    assert chroma.base is None  # a view would keep the whole clip alive


def test_column_order_on_disk_is_understood(tmp_path, clip):
    path = save(tmp_path / "1.npy", np.asfortranarray(clip))
    np.testing.assert_array_equal(read_fused_spectrogram(path), clip.T)


def npy_bytes(array, **options):
    buffer = io.BytesIO()
    np.save(buffer, array, **options)
    return buffer.getvalue()


def damaged_files():
    good = npy_bytes(np.zeros((140, 5)))
    huge = good.replace(b"(140, 5)", b"(140, 9" + b"9" * 30 + b")")
    bad_value = np.zeros((140, 5))
    bad_value[3, 3] = np.nan
    return {
        "empty": b"",
        "text": b"not an array",
        "truncated": good[:-1],
        "longer": good + b"x",
        "header cut": good[:40],
        "huge shape": huge,
        "mel alone": npy_bytes(np.zeros((128, 5))),
        "transposed": npy_bytes(np.zeros((5, 140))),
        "no frames": npy_bytes(np.zeros((140, 0))),
        "integers": npy_bytes(np.zeros((140, 5), dtype=int)),
        "complex": npy_bytes(np.zeros((140, 5), dtype=complex)),
        "pickled": npy_bytes(np.array([{"a": 1}], dtype=object), allow_pickle=True),
        "NaN": npy_bytes(bad_value),
        "inf": npy_bytes(np.full((140, 5), -np.inf)),
        "too large": npy_bytes(np.full((140, 5), 1e6)),
        "object in the header": good.replace(b"'<f8'", b"'|O' "),
    }


@pytest.mark.parametrize("kind", damaged_files())
def test_a_file_that_is_no_clip_is_refused_by_name(tmp_path, kind):
    path = tmp_path / "1042.fused.full.npy"
    path.write_bytes(damaged_files()[kind])
    with pytest.raises(LabError) as caught:
        read_fused_spectrogram(path)
    assert str(caught.value).startswith(str(path)) and "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "damage", [lambda raw: raw[: len(raw) // 2], lambda raw: b"x" + raw[1:], lambda raw: raw[:-6] + b"\0" + raw[-5:]]
)
def test_damaged_gzip_is_refused_by_name(tmp_path, clip, damage):
    path = save(tmp_path / "1.npy.gz", clip)
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(LabError, match=str(path)):
        read_fused_spectrogram(path)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(LabError, match=r"absent\.npy"):
        read_fused_spectrogram(tmp_path / "absent.npy")


def made(folder, *names):
    folder.mkdir(parents=True)
    for name in names:
        (folder / name).touch()
    return folder


def test_files_are_found_by_id_whatever_they_are_called(tmp_path):
    names = ["1.fused.full.npy", "1.other.npy", "2.full.fused.npy.gz", "rock.00000.fused.full.npy", "rock.00001.npy"]
    names += ["\u03a9.npy", "._3.fused.full.npy", ".4.npy", "4.txt", "5.npy.part", "mel.npy"]
    found = find_spectrograms(made(tmp_path / "genres" / "train", *names))
    assert {ident: path.name for ident, path in found.items()} == {
        "1": "1.fused.full.npy", "1.other": "1.other.npy", "2": "2.full.fused.npy.gz", "mel": "mel.npy",
        "rock.00000": "rock.00000.fused.full.npy", "rock.00001": "rock.00001.npy", "\u03a9": "\u03a9.npy",
    }  # fmt: skip
    with pytest.raises(LabError, match="nowhere"):
        find_spectrograms(tmp_path / "nowhere")


@pytest.mark.parametrize(
    ("folder", "names", "taken"),
    [
        ("genres", ["1.beatsync.fused.npy", "1.fused.full.npy"], "1.fused.full.npy"),
        ("genres_beat", ["1.beatsync.fused.npy", "1.fused.full.npy"], "1.beatsync.fused.npy"),
        ("genres_beat", ["1.fused.full.npy"], "1.fused.full.npy"),  # the lab's own beat-synced files
        ("beatles", ["1.beatsync.fused.npy", "1.fused.full.npy"], "1.fused.full.npy"),
        ("genres", ["1.chroma.full.npy", "1.fused.full.npy", "1.mel.full.npy", "1.power.full.npy"], "1.fused.full.npy"),
        ("genres", ["1.mel.npy", "1.npy"], "1.npy"),
        ("genres", ["1.beat.npy", "1.full.npy"], "1.full.npy"),
        ("genres_beat", ["1.beatsync.mel.npy", "1.fused.full.npy"], "1.beatsync.mel.npy"),  # never a full one
        ("genres_beat", ["1.beatsync.fused.npy.gz", "1.beatsync.mel.npy.gz"], "1.beatsync.fused.npy.gz"),
    ],
)
def test_of_several_files_of_a_clip_the_names_decide(tmp_path, folder, names, taken):
    assert find_spectrograms(made(tmp_path / folder / "train", *names)) == {"1": tmp_path / folder / "train" / taken}


@pytest.mark.parametrize(
    ("folder", "names", "words"),
    [
        ("genres", ["1.fused.full.npy", "1.fused.full.npy.gz"], "'1' was expected, but there are 1.fused.full.npy and"),
        ("genres", ["1.fused.full.npy", "1.npy"], "1.fused.full.npy and 1.npy"),
        ("genres", ["1.mel.npy", "1.chroma.npy"], "1.chroma.npy and 1.mel.npy"),
        ("genres", ["1.beatsync.fused.npy"], "1.beatsync.fused.npy: clips at full length were expected"),
        ("genres", ["1.beat.npy"], "1.beat.npy: clips at full length were expected"),
        ("genres", ["1.fused.full.npy", "2.Beatsync.fused.npy.gz"], "2.Beatsync.fused.npy.gz: clips at full length"),
        (
            "genres_beat",
            ["1.fused.full.npy", "2.beatsync.fused.npy"],
            "2.beatsync.*like 1.fused.full.npy were expected",
        ),
    ],
)
def test_files_that_names_do_not_tell_apart_are_refused(tmp_path, folder, names, words):
    with pytest.raises(LabError, match=words):
        find_spectrograms(made(tmp_path / folder / "train", *names))
