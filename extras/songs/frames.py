"""A song's frames, of audio or of features, with what is silent in it; memory does not grow with the song."""

import tempfile
import weakref
from pathlib import Path
from typing import NamedTuple

import numpy as np

from common.errors import LabError
from common.features import HOP_LENGTH, N_FEATURES, N_MELS, SAMPLE_RATE
from common.reading import read_fused_spectrogram
from extras.own_data.extract import check_length, check_values, require_audio, song_frames
from extras.own_data.sound import SILENCE, blocks, levels, measure
from extras.songs.files import check_song

BLOCK_SECONDS = 256  # extracted at a time: a whole number of frames, and of samples at any sample rate
MARGIN_SECONDS = 3  # before and behind a block; filters reach 0.8 s
MARGIN = 86  # frames of it that are extracted and cut off again
SECOND = SAMPLE_RATE // HOP_LENGTH  # frames


class Song(NamedTuple):
    """frames: (T, 140), mel in dB and chroma, an array or StoredFrames; loud: (T,) bool, whether there is sound; notes."""

    frames: object
    loud: np.ndarray
    notes: list


class StoredFrames:
    """Frames (T, 140) in a temporary file of the system; a slice of it is an array."""

    def __init__(self):
        self.file, self.count = tempfile.TemporaryFile(), 0  # noqa: SIM115 (it lives as long as this object)
        weakref.finalize(self, self.file.close)

    def append(self, frames):
        self.file.write(np.ascontiguousarray(frames, dtype=np.float32).tobytes())
        self.count += len(frames)

    def __len__(self):
        return self.count

    def __getitem__(self, key):
        self.file.flush()
        return np.array(np.memmap(self.file, np.float32, "r", shape=(self.count, N_FEATURES))[key])


def read_song(name):
    """The Song of an audio file or of a clip's features; LabError, naming it, where it is neither or all silence."""
    check_song(name)
    if name.lower().endswith((".npy", ".npy.gz")):
        return read_features(name)
    require_audio()
    return read_audio(name)


def read_features(name):
    """The Song of a file in the lab's format; a frame is silent if no second around it is near the song's maximum."""
    path = Path(name)
    folders = path.resolve().parts[-3:-1]
    if "beat" in path.name.lower() or any(folder.endswith("_beat") for folder in folders):
        raise LabError(f"{name}: all frames of a song were expected, these are beat-synced")
    frames = read_fused_spectrogram(name)
    mel = frames[:, :N_MELS]
    if mel.min() == mel.max():
        raise LabError(f"{name}: a song was expected, but all its mel bands are {mel.max():g} dB, as of silence")
    loud = mel.max(axis=1) > mel.max() + SILENCE
    around = np.convolve(loud, np.ones(min(SECOND, len(loud))), mode="same") > 0.5
    return Song(frames, around, [])


def read_audio(name):
    """The Song of an audio file, extracted in blocks that are cut like one."""
    sound = measure(name)
    check_length(sound, sound.length)
    frames, parts = StoredFrames(), []
    for part, before, count in song_blocks(sound):
        extracted = song_frames(part)[before:][:count]
        frames.append(extracted)
        seconds = levels(part[before * HOP_LENGTH :], SAMPLE_RATE) >= SILENCE
        parts.append(seconds[np.arange(len(extracted)) * len(seconds) // len(extracted)])
    loud = np.concatenate(parts)
    if not loud.any():
        cancel = any(levels(channel, sound.rate).max() >= SILENCE for block in blocks(sound) for channel in block.T)
        found = "its channels cancel each other" if cancel else f"there is only silence (below {SILENCE:g} dBFS)"
        raise LabError(f"{name}: sound was expected, but {found}")
    return Song(frames, loud, list(sound.notes))


def song_blocks(sound):
    """Yields (samples (n,) at 22050 Hz, how many of its first frames are margin, how many frames then count, None for all).

    A song of less than about BLOCK_SECONDS is one block.
    """
    import librosa

    rate, at, pieces, held = sound.rate, 0, [np.zeros(0, np.float32)], 0  # at: s, 0 or where the next block starts

    def block(content, frames):
        part = librosa.resample(content, orig_sr=rate, target_sr=SAMPLE_RATE)
        return part[at and MARGIN_SECONDS * SAMPLE_RATE - MARGIN * HOP_LENGTH :], MARGIN if at else 0, frames

    for each in blocks(sound):
        samples = each.mean(axis=1)
        check_values(sound.path, samples)
        pieces.append(samples)
        held += len(samples)
        start = (at and MARGIN_SECONDS) + BLOCK_SECONDS  # s of the buffer where the block after this one starts
        if held >= (start + 2 * MARGIN_SECONDS) * rate:
            buffer = np.concatenate(pieces)
            yield block(buffer[: (start + MARGIN_SECONDS) * rate], BLOCK_SECONDS * SAMPLE_RATE // HOP_LENGTH)
            pieces = [buffer[(start - MARGIN_SECONDS) * rate :].copy()]
            held, at = len(pieces[0]), at + BLOCK_SECONDS
    yield block(np.concatenate(pieces), None)


def with_sound(starts, length, loud):
    """(starts of the windows of `length` frames at least half of which is sound, notes on those left out).

    Where no window is, all with any sound are taken.
    """
    shares = [loud[start : start + length].mean() for start in starts]
    least = 0.5 if max(shares) >= 0.5 else 1e-9
    kept = [start for start, share in zip(starts, shares, strict=True) if share >= least]
    if len(kept) == len(starts):
        return kept, []
    left_out = len(starts) - len(kept)
    return kept, [f"{left_out} of {len(starts)} windows are left out: more than half of each is silent"]
