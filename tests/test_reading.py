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


def test_files_are_found_by_id_whatever_they_are_called(tmp_path):
    for name in (
        "1.fused.full.npy",
        "1.other.npy",
        "2.beatsync.fused.npy.gz",
        "Ω.npy",
        "._3.fused.full.npy",
        "4.txt",
        "5.npy.part",
    ):
        (tmp_path / name).touch()
    found = find_spectrograms(tmp_path)
    assert {ident: path.name for ident, path in found.items()} == {
        "1": "1.fused.full.npy", "2": "2.beatsync.fused.npy.gz", "Ω": "Ω.npy",
    }  # fmt: skip
    with pytest.raises(LabError, match="nowhere"):
        find_spectrograms(tmp_path / "nowhere")
