"""The course's feature extractor on audio: mel spectrogram and chromagram, at full length and beat by beat.

librosa and soundfile (requirements-audio.txt) are imported inside the functions, so that whoever has the lab's files
needs neither.
"""

import importlib.util
import warnings

import numpy as np

from common.errors import LabError, reason
from common.features import HOP_LENGTH, N_CHROMA, N_MELS, SAMPLE_RATE

# samples in a frame's window; with it the course's extractor keeps librosa's hann window, power and Slaney's mel
N_FFT = 2048
SHORTEST = 2.0  # s: the chromagram's longest filter, for its lowest note, takes 1.6


def require_audio():
    """LabError unless librosa and soundfile are installed."""
    if not all(map(importlib.util.find_spec, ("librosa", "soundfile"))):
        raise LabError(
            "librosa and soundfile were expected, which read audio: python -m pip install -r requirements-audio.txt"
        )


def read_sound(path, seconds=None):
    """An audio file's samples, (n,) float32, mono at 22050 Hz: the whole file, or at most `seconds` from its middle.

    Raises LabError, naming the file, when it cannot be read, is shorter than 2 s, is silent or holds values that are
    not finite.
    """
    import librosa
    import soundfile

    try:
        with (
            open(path, "rb") as raw,
            soundfile.SoundFile(raw) as file,
        ):  # it could not open a name that is no UTF-8 itself
            rate, length = file.samplerate, file.frames
            wanted = length if seconds is None else min(length, round(seconds * rate))
            file.seek((length - wanted) // 2)
            samples = file.read(wanted, dtype="float32", always_2d=True).mean(axis=1)  # (n, channels) -> (n,)
    except Exception as error:  # damaged bytes reach every corner of the decoders
        raise LabError(f"{path}: a readable audio file was expected ({reason(error)})") from error
    if len(samples) < SHORTEST * rate:
        raise LabError(
            f"{path}: at least {SHORTEST:g} s of sound were expected, but there are {len(samples) / rate:.2f}"
        )
    if not np.isfinite(samples).all():
        raise LabError(f"{path}: finite samples were expected, but some are NaN or infinite")
    if not samples.any():
        raise LabError(f"{path}: sound was expected, but there is only silence")
    return librosa.resample(samples, orig_sr=rate, target_sr=SAMPLE_RATE)


def mel_power(sound):
    """Samples (n,) at 22050 Hz -> mel spectrogram (128, T), in power."""
    import librosa

    return librosa.feature.melspectrogram(y=sound, sr=SAMPLE_RATE, n_fft=N_FFT, hop_length=HOP_LENGTH, n_mels=N_MELS)


def chromagram(sound):
    """Samples (n,) at 22050 Hz -> chromagram (12, T) from a constant-Q transform, each frame's largest note 1."""
    import librosa

    with warnings.catch_warnings():
        warnings.simplefilter(
            "ignore", UserWarning
        )  # "empty frequency set": noise has no tuning, and is taken as tuned
        return librosa.feature.chroma_cqt(y=sound, sr=SAMPLE_RATE, hop_length=HOP_LENGTH, n_chroma=N_CHROMA)


def song_frames(sound):
    """Samples (n,) of a song of any length -> (T, 140) float32, mel in dB of full scale over chroma, for windows to be
    cut out of.
    """
    mel = 10 * np.log10(np.maximum(mel_power(sound), 1e-10))
    return np.vstack([mel, chromagram(sound)]).T.astype(np.float32)


def beat_frames(sound):
    """The frames at which a beat falls, found in the percussive part: samples (n,) -> (B,) int, empty where there is no
    beat.
    """
    import librosa

    percussive = librosa.effects.hpss(sound)[1]
    return librosa.beat.beat_track(y=percussive, sr=SAMPLE_RATE, hop_length=HOP_LENGTH)[1]


def fused_spectrograms(sound):
    """What the course's extractor makes of a clip: (140, T) float32 at full length, and (140, beats + 1) beat-synced.

    Mel over chroma. The medians between beats are taken of the power, and each of the two is in dB below its own
    maximum, 80 at most.
    """
    import librosa

    full, beats = (mel_power(sound), chromagram(sound)), beat_frames(sound)
    segments = beats if len(beats) else [0]  # a clip without a beat is one segment; librosa would leave nothing of it
    synced = [librosa.util.sync(rows, segments, aggregate=np.median, pad=True) for rows in full]
    return tuple(
        np.vstack([librosa.power_to_db(power, ref=np.max), notes]).astype(np.float32) for power, notes in (full, synced)
    )
