"""step0_data.py --audio: the features of a song, compared with librosa's of its middle."""

import json
import warnings
from itertools import pairwise

import numpy as np
import pytest
from small_data import GENRES

import step0_data

RATE, HOP = 22050, 512
SPLITS = ("train", "test")
BEAT = "_beat"


def sound_in_three_parts(rng, seconds, level):
    """Noise, clicks at a tempo on a chord, and a low tone: three parts that differ clearly."""
    times = np.arange(int(seconds / 3 * RATE)) / RATE
    clicks = (np.modf(times * 2)[0] < 0.02) * rng.normal(size=len(times))
    chord = sum(0.1 * np.sin(2 * np.pi * hertz * times) for hertz in (440, 554.4, 659.3))
    parts = (
        0.3 * rng.normal(size=len(times)),
        0.6 * clicks + chord * (1 + level),
        0.5 * np.sin(2 * np.pi * 110 * times),
    )
    return np.concatenate(parts).astype(np.float32)


def test_own_audio_becomes_features_of_its_middle(tmp_path, monkeypatch):
    """Mel and chroma equal librosa's, full and as medians between beats; an artist is in one split."""
    monkeypatch.setattr("os.cpu_count", lambda: 1)  # worker processes would import librosa again
    librosa, soundfile = pytest.importorskip("librosa"), pytest.importorskip("soundfile")
    songs = {f"{genre}/{k}.wav": sound_in_three_parts(np.random.default_rng([k, level]), 12, level)
             for level, genre in enumerate(("Ροκ", "Jazz")) for k in range(10 * level, 10 * level + 2 + (level == 0))}  # fmt: skip

    def make(folder):
        for name, sound in songs.items():
            (folder / "music" / name).parent.mkdir(parents=True, exist_ok=True)
            other = np.random.default_rng(1).normal(
                0, sound.std(), len(sound)
            )  # in the channels alone, not in their mean
            stereo = np.stack([sound + other, sound - other], axis=1)
            soundfile.write(folder / "music" / name, stereo, RATE, subtype="FLOAT")
        table = [
            "file,genre,artist",
            *(f"{name},{name.split('/')[0]},{'one' if k in (0, 1) else k}" for k, name in enumerate(songs)),
            "",
        ]
        (folder / "music" / "table.csv").write_text("\n".join(table), encoding="utf-8")
        flags = [
            "--audio",
            folder / "music" / "table.csv",
            "--data",
            folder / "data",
            "--seconds",
            4,
            "--test-share",
            0.4,
        ]
        return step0_data.main([*map(str, flags), "--out", str(folder / "runs")])

    (result,) = make(tmp_path)
    root = tmp_path / "data"
    assert result["genre_clips"] == 5 and json.loads((root / "class_mapping.json").read_text()) == {
        "Jazz": "Jazz",
        "Ροκ": "Ροκ",
    }
    where = {}
    for split in SPLITS:
        lines = (root / GENRES / f"{split}_labels.txt").read_text(encoding="utf-8").split()[2:]
        labels = dict(zip([line.split(".")[0] for line in lines[::2]], lines[1::2], strict=True))
        assert labels.keys() == {path.name.split(".")[0] for path in (root / GENRES / split).iterdir()}
        where |= {ident: (split, genre) for ident, genre in labels.items()}
    assert {ident: genre for ident, (_, genre) in where.items()} == {
        name[4 if "Ροκ" in name else 5 : -4]: name.split("/")[0] for name in songs
    }
    assert where["0"][0] == where["1"][0]  # one artist
    assert all({split for split, genre in where.values() if genre == name} == set(SPLITS) for name in ("Ροκ", "Jazz"))
    for name in list(songs)[2:4]:
        ident = name.split("/")[1].split(".")[0]
        middle = songs[name][4 * RATE : 8 * RATE]
        power = librosa.feature.melspectrogram(y=middle, sr=RATE, n_fft=2048, hop_length=HOP, n_mels=128)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            chroma = librosa.feature.chroma_cqt(y=middle, sr=RATE, hop_length=HOP)
            beats = librosa.beat.beat_track(y=librosa.effects.hpss(middle)[1], sr=RATE, hop_length=HOP)[1]
        assert len(beats) > 3
        edges = [0, *beats[beats > 0], power.shape[1]]
        synced = [
            np.stack([np.median(part[:, a:b], axis=1) for a, b in pairwise(edges)], axis=1) for part in (power, chroma)
        ]
        for tail, (mel, notes) in (("", (power, chroma)), (BEAT, synced)):
            saved = np.load(next((root / f"{GENRES}{tail}" / where[ident][0]).glob(f"{ident}.*")))
            decibels = 10 * np.log10(np.maximum(mel, 1e-10) / mel.max())
            assert saved.shape == (140, mel.shape[1]) and saved[:128].max() == 0
            assert saved[:128] == pytest.approx(np.maximum(decibels, -80), abs=0.02)
            assert saved[128:] == pytest.approx(notes, abs=2e-3)
