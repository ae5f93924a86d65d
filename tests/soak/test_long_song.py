"""A song of an hour takes no more memory than one of minutes: its frames are extracted in blocks."""

import numpy as np
import pytest

from extras.own_data.extract import read_sound, song_frames
from extras.songs.frames import read_song


@pytest.mark.parametrize("rate", [22050, 44100, 48000])
def test_frames_of_blocks_are_those_of_the_whole_song(rate, tmp_path):
    pytest.importorskip("librosa", reason="needs requirements-audio.txt")
    soundfile = pytest.importorskip("soundfile", reason="needs requirements-audio.txt")
    seconds = np.arange(540 * rate) / rate
    samples = np.random.default_rng(3).normal(0, 0.1, len(seconds)) * np.linspace(0.1, 1, len(seconds))
    samples += 0.3 * np.sin(2 * np.pi * 440 * seconds)
    samples[100 * rate : 200 * rate] = 0
    soundfile.write(tmp_path / "a.wav", samples, rate)
    song, whole = read_song(str(tmp_path / "a.wav")), song_frames(read_sound(tmp_path / "a.wav"))
    frames = song.frames[:]
    assert frames.shape == whole.shape
    assert frames[:, :128] == pytest.approx(whole[:, :128], abs=0.01)
    assert np.abs(frames[:, 128:] - whole[:, 128:]).mean() < 0.02  # the tuning is found block by block
    assert song.loud.mean() == pytest.approx(440 / 540, abs=0.01)
