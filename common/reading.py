"""From a spectrogram file to an array: the lab's .npy files, plain or gzipped, and how a clip's file is found."""

import gzip
import io
import math
import os
import re
from pathlib import Path

import numpy as np

from common.errors import LabError
from common.features import N_FEATURES, N_MELS
from common.labels import clip_id

LONGEST = 1_000_000  # frames, 6 hours at full length
LARGEST = 65504.0  # the largest float16; decibels and chroma stay far below


def read_fused_spectrogram(path):
    """A file's mel spectrogram and chromagram side by side: (T, 140) float32.

    path: a .npy or .npy.gz file with a (140, T) array of float16, float32 or float64. Nothing is ever unpickled.
    Raises LabError, naming the file, when it cannot be read or holds anything but a finite (140, T>0) array.
    """
    if os.path.exists(path) and not os.path.isfile(path):
        raise LabError(f"{path}: a .npy file was expected, this is a folder or a pipe")  # opening a pipe would wait
    opener = gzip.open if str(path).endswith(".gz") else open
    try:
        with opener(path, "rb") as file:
            shape, fortran_order, dtype, size = parse_header(file)  # checked first: a false size must cost no memory
            body = file.read(size + 1)
    except LabError as error:
        raise LabError(f"{path}: {error}") from error
    except Exception as error:  # damaged bytes make numpy and zlib raise nearly anything
        raise LabError(f"{path}: a readable .npy file was expected ({str(error)[:200]!r})") from error
    if len(body) != size:
        found = "more" if len(body) > size else len(body)
        raise LabError(f"{path}: {size} bytes were expected behind its header, but there are {found}")
    array = np.frombuffer(body, dtype).reshape(shape, order="F" if fortran_order else "C")
    wrong = array.size - int((np.abs(array) <= LARGEST).sum())
    if wrong:
        raise LabError(f"{path}: finite values were expected, but {wrong} are NaN, infinite or beyond {LARGEST:g}")
    return np.ascontiguousarray(array.T, dtype=np.float32)


def read_mel_spectrogram(path):
    """A file's mel spectrogram: (T, 128) float32, in dB re clip maximum. Errors as read_fused_spectrogram."""
    return np.ascontiguousarray(read_fused_spectrogram(path)[:, :N_MELS])


def read_chromagram(path):
    """A file's chromagram: (T, 12) float32, in 0..1. Errors as read_fused_spectrogram."""
    return np.ascontiguousarray(read_fused_spectrogram(path)[:, N_MELS:])


def parse_header(file):
    """An open .npy stream, read up to its body -> (shape (140, T), Fortran order?, dtype, bytes of the body).

    Raises LabError for an array of another shape or type.
    """
    version = np.lib.format.read_magic(file)
    size = file.read(2 if version == (1, 0) else 4)
    text = io.BytesIO(size + file.read(min(int.from_bytes(size, "little"), 2**16)))  # it may claim 4 GB
    header = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    shape, fortran_order, dtype = header(text)
    if len(shape) != 2 or shape[0] != N_FEATURES or not 0 < shape[1] <= LONGEST:
        raise LabError(f"an array of shape (140, T) with T > 0, at most {LONGEST}, was expected, not {shape}")
    if dtype.kind != "f" or dtype.itemsize not in (2, 4, 8):
        raise LabError(f"float16, float32 or float64 was expected, not {dtype}")
    return shape, fortran_order, dtype, math.prod(shape) * dtype.itemsize


def find_spectrograms(folder):
    """{clip id: path} of the .npy and .npy.gz files in a folder, whatever stands between id and extension.

    What a name says is obeyed. Of several files of one clip, beatsync or beat wins where the folder above says beat, as in
    multitask_dataset_beat, and loses elsewhere; then mel, chroma or power loses against a name without it. Raises LabError,
    naming files, where several are left, where beat-synced ones lie among others or in a folder of full ones,
    and where there is no such folder.
    """
    folder = Path(folder)
    try:
        names = sorted(path.name for path in folder.iterdir() if path.name.endswith((".npy", ".npy.gz")))
    except OSError as error:
        raise LabError(f"{folder}: a folder of spectrograms was expected ({error.strerror})") from error
    beat = bool(re.search(r"(?<![a-z])beat(s|sync|_?synced)?(?![a-z])", folder.absolute().parent.name.lower()))
    files, found, synced = {}, {}, {}
    for name in names:
        words = {*name.lower().split(".")}
        right_length = bool(words & {"beatsync", "beat"}) == beat
        rank = right_length, "fused" in words or not words & {"mel", "chroma", "power"}
        files.setdefault(clip_id(name), []).append((rank, name))
    for ident in filter(None, files):
        best = [name for rank, name in files[ident] if rank == max(files[ident])[0]]
        if len(best) > 1:
            raise LabError(f"{folder}: one file of clip '{ident}' was expected, but there are {' and '.join(best)}")
        found[ident] = folder / best[0]
        synced[max(files[ident])[0][0] == beat] = best[0]
    if True in synced and (not beat or False in synced):
        like = f"like {synced[False]}" if beat else "at full length"
        raise LabError(f"{folder / synced[True]}: clips {like} were expected there; by its name it is beat-synced")
    return found
