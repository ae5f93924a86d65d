"""The course's feature extractor on audio: mel spectrogram and chromagram, at full length and beat-synced.

librosa and soundfile (requirements-audio.txt) are imported inside the functions: the lab's own files need neither.
"""

import importlib.util
import math
import warnings

import numpy as np

from common.errors import LabError
from common.features import HOP_LENGTH, N_CHROMA, N_MELS, SAMPLE_RATE
from extras.own_data.sound import SILENCE, levels, measure, read_part

N_FFT = 2048  # samples per window; all else is librosa's default: Hann window, power spectrum, Slaney's mel scale
LOUDEST = 1e12  # times full scale: above 1e16 the power of a sample has no float32
SHORTEST = 2.0  # s; the longest filter of the constant-Q transform, for the lowest note, takes 1.6


def require_audio():
    """LabError unless librosa and soundfile are installed."""
    if not all(map(importlib.util.find_spec, ("librosa", "soundfile"))):
        raise LabError("librosa and soundfile were expected: python -m pip install -r requirements-audio.txt")


def read_sound(path, seconds=None, notes=None):
    """An audio file's samples, (n,) float32, mono at 22050 Hz: the whole file, or at most `seconds` from its middle.

    notes: a list that gets sentences on what is odd: a file that is cut off or damaged, a clip half of which is silent.
    Raises LabError, naming the file, if it cannot be read, is shorter than 2 s, is silent or has non-finite samples.
    """
    import librosa

    sound = measure(path)
    wanted = sound.length if seconds is None else min(sound.length, round(seconds * sound.rate))
    channels = read_part(sound, (sound.length - wanted) // 2, wanted)  # (n, channels)
    samples = channels.mean(axis=1)
    check_length(sound, len(samples))
    check_values(path, samples)
    part = "it" if wanted == sound.length else f"its middle {wanted / sound.rate:g} s"
    silent = check_silence(path, part, channels, samples, sound.rate)
    if notes is not None:
        lost = (wanted - len(samples)) / sound.rate
        notes += sound.notes
        if lost:
            notes.append(f"{lost:.1f} s are missing in {part}")
        if silent >= 0.5:
            notes.append(f"{100 * silent:.0f} % of {part} are silent (below {SILENCE:g} dBFS)")
    return librosa.resample(samples, orig_sr=sound.rate, target_sr=SAMPLE_RATE)


def check_length(sound, length):
    """LabError where so many samples of a Sound are shorter than the extractor needs."""
    if length < SHORTEST * sound.rate:
        found = "; ".join([f"there are {math.floor(1000 * length / sound.rate) / 1000:g}", *sound.notes])
        raise LabError(f"{sound.path}: at least {SHORTEST:g} s of sound were expected, but {found}")


def check_values(path, samples):
    """LabError where samples are not finite, or so large that their power is not."""
    if not np.isfinite(samples).all():
        raise LabError(f"{path}: finite samples were expected, but some are NaN or infinite")
    if abs(samples).max() > LOUDEST:
        raise LabError(f"{path}: samples within -1..1 were expected, but some reach {abs(samples).max():.1g}")


def check_silence(path, part, channels, samples, rate):
    """The fraction of silent seconds in samples (n,), the mean of channels (n, C); LabError where all are silent."""
    silent = levels(samples, rate) < SILENCE
    if not silent.all():
        return silent.mean()
    loudest = max(levels(channel, rate).max() for channel in channels.T)
    if loudest >= SILENCE:
        found = f"the channels cancel each other in {part}"
    else:
        found = f"there is only silence in {part} (below {SILENCE:g} dBFS without its mean)"
    raise LabError(f"{path}: sound was expected, but {found}")


def mel_power(sound):
    """Samples (n,) at 22050 Hz -> mel spectrogram (128, T), in power."""
    import librosa

    return librosa.feature.melspectrogram(y=sound, sr=SAMPLE_RATE, n_fft=N_FFT, hop_length=HOP_LENGTH, n_mels=N_MELS)


def chromagram(sound):
    """Samples (n,) at 22050 Hz -> chromagram (12, T) of a constant-Q transform, each frame's maximum scaled to 1."""
    import librosa

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # "empty frequency set": no tuning found in noise, 0 is used
        return librosa.feature.chroma_cqt(y=sound, sr=SAMPLE_RATE, hop_length=HOP_LENGTH, n_chroma=N_CHROMA)


def song_frames(sound):
    """Samples (n,) of a song of any length -> (T, 140) float32: mel in dB re full scale, then chroma.

    Windows are cut out of it, each of which is then scaled to dB re its own maximum.
    """
    mel = 10 * np.log10(np.maximum(mel_power(sound), 1e-10))
    return np.vstack([mel, chromagram(sound)]).T.astype(np.float32)


def beat_frames(sound):
    """Samples (n,) -> the frames of the beats, (B,) int, tracked in the percussive part; empty if there is no beat."""
    import librosa

    percussive = librosa.effects.hpss(sound)[1]
    return librosa.beat.beat_track(y=percussive, sr=SAMPLE_RATE, hop_length=HOP_LENGTH)[1]


def fused_spectrograms(sound):
    """Samples (n,) -> the course's features: (140, T) float32 at full length, and (140, beats + 1) beat-synced.

    The first 128 are mel bands, the last 12 chroma bins. Beat-syncing takes the median of the power between beats. Mel
    is in dB re the maximum of the array, with a floor at -80.
    """
    import librosa

    full, beats = (mel_power(sound), chromagram(sound)), beat_frames(sound)
    segments = beats if len(beats) else [0]  # without a beat the clip is one segment; librosa would return nothing
    synced = [librosa.util.sync(part, segments, aggregate=np.median, pad=True) for part in full]
    return tuple(
        np.vstack([librosa.power_to_db(mel, ref=np.max), chroma]).astype(np.float32) for mel, chroma in (full, synced)
    )
