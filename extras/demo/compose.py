"""Composes a demo track: draws tempo, metre, chords, voices, drums and loudness around the means of its genre.

The emotions follow from the composition.
"""

import math
from dataclasses import dataclass

import numpy as np

from extras.demo.genres import BROKEN, DRUM_BARS, GENRES, GLIDING, HARMONIES, RHYTHMS, SCALES
from extras.demo.render import HOP_LENGTH, SAMPLE_RATE


@dataclass
class Voice:
    """An instrument and its notes."""

    instrument: str
    notes: np.ndarray  # (N, 4): onset (s), duration (s), pitch (MIDI semitones), level (dB); sorted by onset
    brightness: float = 0.0  # dB per octave, added to the slope of the harmonics
    gliding: bool = False  # whether the pitch glides from note to note
    glide: float = 0.04  # s
    vibrato: float = 0.0  # semitones
    fall: float = 0.0  # semitones by which the pitch falls during a note


@dataclass
class Track:
    """A composition, not yet rendered: the music, then the parameters of the mix."""

    genre: str
    n_frames: int
    tempo: float  # bpm
    beats: np.ndarray  # (S,) in frames, as a beat tracker would find them
    gain: np.ndarray  # (T,) in dB
    voices: list  # of Voice
    hits: dict  # {drum: (N, 2)}: onset (s) and level (dB)
    emotions: tuple  # valence, energy, danceability in 0..1
    room: float  # level of the reverb, relative to the direct sound
    room_seconds: float  # reverberation time: the reverb falls by 60 dB
    squeeze: float  # dynamic range compression, 0 (none) to 1
    noise_db: float  # background noise, re the maximum
    tilt: float  # of the spectrum, dB per octave
    cutoff: float  # Hz, of the low-pass
    lowcut: float  # Hz, of the high-pass
    pump: float  # sidechain compression: how much the bass drum lowers the rest


def choose(rng, options):
    """A random choice from "a:3 b:1 c", by weight; the default weight is 1."""
    names, texts = zip(*([*option.split(":"), "1"][:2] for option in options.split()), strict=True)
    weights = np.array(texts, float)
    return names[rng.choice(len(names), p=weights / weights.sum())]


def parameters(genre, rng):
    """The parameters of one track, drawn around the means of its genre: {the keys of BASIS, key, register: value}."""
    table = GENRES[genre]
    p = {key: choose(rng, value) if isinstance(value, str) else value for key, value in table.items()}
    p |= {key: bool(rng.random() < table[key]) for key in ("triple", "swing", "minor", "sevenths")}
    p |= {
        key: table[key] + rng.normal(0, 4.5)
        for key in ("drum_level", "bass_level", "comp_level", "lead_level", "pad_level")
    }
    p["tempo"] = float(np.clip(table["tempo"] * np.exp(rng.normal(0, 0.16)), 55, 200))
    p["busy"] = float(np.clip(table["busy"] + rng.normal(0, 0.2), 0.05, 1))
    p["bright"], p["tilt"] = table["bright"] + rng.normal(0, 1.3), table["tilt"] + rng.normal(0, 1.2)
    p["cutoff"], p["lowcut"] = (
        min(11000, table["cutoff"] * np.exp(rng.normal(0, 0.25))),
        table["lowcut"] * np.exp(rng.normal(0, 0.3)),
    )
    p["squeeze"] = float(np.clip(table["squeeze"] + rng.normal(0, 0.15), 0, 0.8))
    p["swell"], p["loose"] = table["swell"] * np.exp(rng.normal(0, 0.4)), table["loose"] * np.exp(rng.normal(0, 0.4))
    p["noise"], p["room"] = table["noise"] + rng.normal(0, 7), table["room"] * np.exp(rng.normal(0, 0.5))
    p["key"] = round(rng.normal(0, 5))  # semitones from C; transposes the whole piece
    p["register"] = p["key"] + rng.normal(0, 3)  # of the lead
    return p


def strikes(pattern, grid, rng, leave_out=0.06, add=0.0):
    """Times (s) and accents (dB) of a one-bar pattern repeated over all bars of `grid`, (bars, sixteenths) in s."""
    pattern = pattern[: grid.shape[1]]
    chance = np.array([{"x": 1 - leave_out, "o": 0.8, ".": add}[step] for step in pattern])
    accent = np.array([{"x": 0.0, "o": -7.0, ".": -5.0}[step] for step in pattern]) + np.where(
        np.arange(len(pattern)) % 4 == 0, 1.5, 0
    )
    bars, steps = np.nonzero(rng.random(grid.shape) < chance)
    return grid[bars, steps], accent[steps] + rng.normal(0, 1.5, len(steps))


def bar_grid(p, n_frames, rng):
    """Times of the sixteenths, (bars, 16 or 12) in s.

    The clip starts anywhere in a bar, the tempo varies a little from bar to bar, and swing delays the offbeats.
    """
    steps, length = (12 if p["triple"] else 16), 60 / p["tempo"] / 4
    n_bars = int(n_frames * HOP_LENGTH / SAMPLE_RATE / (steps * length)) + 3
    lengths = np.repeat(length * (1 + rng.normal(0, p["loose"] / 1500, n_bars)), steps)
    grid = (np.cumsum(lengths) - lengths[0] - rng.uniform(0, steps * length)).reshape(n_bars, steps)
    if p["swing"]:
        grid[:, 2::4] += 0.62 * length  # the second eighth comes a triplet late
        grid[:, 3::4] += 0.31 * length
    return grid


def chord_notes(p, grid, rng):
    """The chord at each sixteenth of the grid: a list of lists of pitches, root first."""
    scale, steps = SCALES[p["minor"]], np.arange(grid.size) // (4 * int(p["change"]))
    line = HARMONIES[p["harmony"]][rng.integers(len(HARMONIES[p["harmony"]]))]
    third_up = (0, 2, 4, 6) if p["sevenths"] else (0, 2, 4)
    start = int(rng.integers(len(line)))
    chords = []
    for degree in np.roll(line, -start)[steps % len(line)]:
        pitches = [scale[(degree + k) % 7] + 12 * ((degree + k) // 7) for k in third_up]
        if p["harmony"] == "blues":
            pitches = [pitches[0] + k for k in ((0, 3, 7, 10) if p["minor"] else (0, 4, 7, 10))[: len(third_up)]]
        chords.append([48 + p["key"] + pitch for pitch in pitches])
    return chords


def played(times, durations, pitches, levels, rng, loose):
    """Notes (N, 4) sorted by onset; the onsets get a random shift with a std of `loose` ms, as if played by hand."""
    notes = np.array([times, durations, pitches, levels], float).T.reshape(-1, 4)
    notes[:, 0] += rng.normal(0, loose / 1000, len(notes))
    return notes[np.argsort(notes[:, 0], kind="stable")]


def bass_notes(p, grid, chord_at, rng):
    """The bass line: times, durations, pitches and levels.

    It plays the root of the chord; a walking bass plays any of its notes.
    """
    times, accents = strikes(RHYTHMS[p["bass"]], grid, rng, 0.06, 0.04 * p["busy"])
    length = {"long": 16, "root": 7, "walk": 3.6}.get(p["bass"], 1.8) * 15 / p["tempo"]
    pitches = []
    for chord in map(chord_at, times):
        root = chord[rng.integers(len(chord))] if p["bass"] in ("walk", "synco") and rng.random() < 0.6 else chord[0]
        pitches.append(root - 12 - 12 * (chord[0] > 50))
    return times, np.full(len(times), length), pitches, accents


def comp_notes(p, grid, chord_at, rng):
    """The accompanying chords: times, durations, pitches and levels.

    Chords are block chords, strummed, broken into single notes, or the power chords of a distorted guitar.
    """
    times, accents = strikes(RHYTHMS[p["comp"]], grid, rng, 0.1, 0.06 * p["busy"])
    lengths = {"sustain": 15, "chorale": 4, "power": 1, "gallop": 0.9, "stabs": 1.3, "comping": 1.6, "sixteenths": 0.8}
    length = lengths.get(p["comp"], 2.2) * 15 / p["tempo"]
    strum = 0.008 if p["comp"] == "strum" else 0.0  # s from one string to the next
    notes = []
    for i, (time, accent) in enumerate(zip(times, accents, strict=True)):
        chord = chord_at(time)
        if p["comp"] in BROKEN:
            notes.append((time, length, [*chord, chord[0] + 12][BROKEN[p["comp"]][i % 4]] + 12, accent))
            continue
        pitches = [chord[0] - 12, chord[0] - 5, chord[0]] if p["comp_voice"] == "distorted" else chord
        notes += [(time + strum * k, length, pitch + 12, accent - 3) for k, pitch in enumerate(pitches)]
    return np.array(notes).reshape(-1, 4).T


def accompaniment(p, grid, chords, rng):
    """The voices of bass, chords and pad, without those that have no notes; chords: see chord_notes."""
    flat, hold = grid.ravel(), 4 * int(p["change"])

    def chord_at(time):
        return chords[min(int(np.searchsorted(flat, time + 1e-3)), len(chords)) - 1]

    def voice(part, columns):
        times, durations, pitches, levels = columns
        notes = played(times, durations, pitches, np.asarray(levels) + p[f"{part}_level"], rng, p["loose"])
        return [Voice(p["pad"] if part == "pad" else p[f"{part}_voice"], notes, p["bright"])] if len(notes) else []

    voices = voice("bass", bass_notes(p, grid, chord_at, rng)) + voice("comp", comp_notes(p, grid, chord_at, rng))
    if p["pad"] != "none":
        notes = [
            (flat[s], hold * 15 / p["tempo"], pitch + 12, rng.normal(-3, 1))
            for s in range(0, len(flat), hold)
            for pitch in chords[s]
        ]
        voices += voice("pad", np.array(notes).T)
    return voices


def lead(p, grid, chords, rng):
    """The lead, a list of no or one Voice: phrases over the scale, a repeated riff, broken chords, or rap."""
    if p["lead"] == "none":
        return []
    n_bars, steps = grid.shape
    step, scale = 60 / p["tempo"] / 4, SCALES[p["minor"]]
    chance = {"song": 0.32, "melody": 0.36, "solo": 0.6, "riff": 0.4, "arp": 0.95, "rap": 0.75}[p["lead"]] * (
        0.6 + 0.8 * p["busy"]
    )
    offbeat = 0.5 if p["lead"] in ("song", "melody") else 0.9
    sounding = rng.random((n_bars, steps)) < chance * np.where(np.arange(steps) % 2 == 0, 1.2, offbeat)
    degrees = np.cumsum(rng.choice([-2, -1, -1, 0, 1, 1, 2], (n_bars, steps)), axis=1) % 10
    if p["lead"] == "riff":
        sounding, degrees = np.tile(sounding[:1], (n_bars, 1)), np.tile(degrees[:1], (n_bars, 1))
    elif p["lead"] != "arp":
        sounding &= rng.random((n_bars, 1)) < 0.85  # some bars rest
    at = np.flatnonzero(sounding)
    home = 60 + round(p["register"]) - 12 * (p["lead_voice"] == "voice" and rng.random() < 0.4)
    pitches = np.array([home + scale[d % 7] + 12 * (d // 7) for d in degrees.ravel()[at]])
    if p["lead"] == "arp":
        pitches = np.array([chords[s][s % len(chords[s])] + 24 for s in at])
    elif p["lead"] == "rap":
        pitches = 46 + p["register"] / 2 + rng.normal(0, 1.5, len(at))
    if len(at) == 0:
        return []
    times = grid.ravel()[at]
    durations = np.minimum(np.diff(times, append=times[-1] + 4 * step) * 0.92, 8 * step)
    gliding = p["lead_voice"] in GLIDING
    notes = played(times, durations, pitches, p["lead_level"] + rng.normal(0, 2, len(at)), rng, p["loose"])
    if p["lead"] == "rap":
        return [Voice("voice", notes, p["bright"], True, 0.03, 0.0, rng.uniform(1, 4))]
    return [Voice(p["lead_voice"], notes, p["bright"], gliding, rng.uniform(0.015, 0.06), rng.uniform(0, 0.5))]


def drum_hits(p, grid, rng):
    """{drum: (N, 2) of time (s) and level (dB)}; some tracks have a fill, some leave out a drum."""
    hits = {}
    for drum, pattern in DRUM_BARS[p["drums"]].items():
        if drum not in ("kick", "snare", "clap") and rng.random() < 0.15:
            continue
        times, accents = strikes(pattern, grid, rng, 0.05, 0.05 * p["busy"] if drum in ("kick", "snare", "hat") else 0)
        times = times + rng.normal(0, p["loose"] / 1500, len(times))
        hits[drum] = np.stack([times, accents + p["drum_level"] + rng.normal(0, 1.5)], axis=1)
    if hits and rng.random() < 0.5:
        fill = grid[rng.integers(len(grid)), -4:]
        toms = np.stack([fill, np.full(4, p["drum_level"] - 2)], axis=1)
        hits["tom"] = np.concatenate([hits.get("tom", np.empty((0, 2))), toms])
    return {drum: array[array[:, 0] > -1] for drum, array in hits.items()}


def found_beats(p, grid, n_frames, rng):
    """Beats in frames, increasing in 1..T-1, as a beat tracker finds them.

    Of a fast track it finds every second beat, of a slow one twice as many: the tempo closer to 120 bpm.
    """
    times, tempo = grid[:, ::4].ravel(), p["tempo"]
    if tempo > rng.normal(165, 12):
        times = times[int(rng.integers(2)) :: 2]
    elif tempo < rng.normal(76, 8):
        times = np.sort(np.r_[times, (times[:-1] + times[1:]) / 2])
    frames = np.rint(times * SAMPLE_RATE / HOP_LENGTH + rng.normal(0, 0.7, len(times))).astype(int)
    return np.unique(frames[(frames > 0) & (frames < n_frames)])


def loudness(p, grid, n_frames, rng):
    """Gain over the frames in dB, (T,): a slow swell, and a step up or down at a few bar boundaries."""
    time = np.arange(n_frames) * (HOP_LENGTH / SAMPLE_RATE)
    gain = p["swell"] / 2 * np.sin(2 * np.pi * time / rng.uniform(5, 25) + rng.uniform(0, 2 * np.pi))
    for start in grid[rng.random(len(grid)) < 0.12, 0]:
        gain = gain + np.where(time > start, rng.normal(0, p["swell"] / 3), 0)
    return gain


def emotions(p, hits, voices, seconds, rng):
    """Valence, energy and danceability in 0..1 (3 decimals), computed from the composition, plus noise."""
    notes = sum(len(np.unique(v.notes[:, 0].round(2))) for v in voices) + sum(map(len, hits.values()))
    onsets = math.log2(notes / seconds + 1) - 4
    tempo = math.log2(p["tempo"] / 112)
    pulse = {"none": -1.4, "brushes": -0.6, "swing": -0.4, "shaker": -0.3}.get(p["drums"], 0.4) + 0.08 * (
        p["drum_level"] - 2
    )
    pulse += 0.7 * (p["drums"] in ("house", "electro", "trap", "chip")) - 0.05 * p["loose"] - 0.5 * p["triple"]
    valence = 0.1 - 0.7 * (p["minor"] - 0.5) + 0.07 * (p["key"] + p["register"]) + 0.8 * tempo + rng.normal(0, 0.3)
    energy = -0.3 + 0.5 * onsets + 0.7 * (p["squeeze"] - 0.25) + 0.2 * p["bright"] - 0.02 * (p["swell"] - 11)
    energy += rng.normal(0, 0.45)
    dance = 0.6 + pulse - 1.2 * abs(tempo) + rng.normal(0, 0.4)
    return tuple(round(1 / (1 + math.exp(-1.3 * value)), 3) for value in (valence, energy, dance))


def compose_track(genre, n_frames, rng):
    """A Track of `genre`, n_frames long."""
    p = parameters(genre, rng)
    grid = bar_grid(p, n_frames, rng)
    chords = chord_notes(p, grid, rng)
    voices = accompaniment(p, grid, chords, rng) + lead(p, grid, chords, rng)
    hits = drum_hits(p, grid, rng)
    axes = emotions(p, hits, voices, n_frames * HOP_LENGTH / SAMPLE_RATE, rng)
    return Track(
        genre,
        n_frames,
        tempo=p["tempo"],
        beats=found_beats(p, grid, n_frames, rng),
        gain=loudness(p, grid, n_frames, rng),
        voices=voices,
        hits=hits,
        emotions=axes,
        room=p["room"],
        room_seconds=0.3 + 1.5 * p["room"],
        squeeze=p["squeeze"],
        noise_db=p["noise"],
        tilt=p["tilt"],
        cutoff=p["cutoff"],
        lowcut=p["lowcut"],
        pump=p["pump"],
    )
