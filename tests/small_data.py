"""Small data whose parts differ wherever a program could mistake one for another; everything about them is known here.

Label files are in no order of ids, and beside the beat-synced clips in another one; splits have unequal shares of the
classes; two genres are one class and one is dropped; clips differ in length, and those of the genres in brightness, so
that a network learns something; the three axes differ in mean and spread; some clips have genre and emotions both.
Nothing here imports the project.
"""

import json
from pathlib import Path
from typing import NamedTuple

import numpy as np

GENRES, EMOTIONS = "fma_genre_spectrograms", "multitask_dataset"
AXES = ("valence", "energy", "danceability")
MAPPING = {"Rock": "Rock", "Punk": "Rock", "Ρεμπέτικο": "Ελληνικά", "Jazz": "Jazz", "Chiptune": None}
CLASSES = ["Jazz", "Rock", "Ελληνικά"]  # sorted, as the steps number them
CLIPS = {
    "train": {"Rock": 7, "Punk": 4, "Ρεμπέτικο": 9, "Jazz": 13, "Chiptune": 3},
    "test": {"Rock": 6, "Punk": 2, "Ρεμπέτικο": 5, "Jazz": 4, "Chiptune": 2},
}
TILT = {
    "Rock": 9.0,
    "Punk": 7.0,
    "Ρεμπέτικο": -8.0,
    "Jazz": 0.0,
    "Chiptune": 3.0,
}  # dB between the lowest and the highest band
LABELLED, HIDDEN = 36, 11  # clips with emotions, and those of the competition
SHARED = 6  # so many of the clips with emotions are training clips of the genres too


class Small(NamedTuple):
    """What was written: paths, and what every clip is. genres[split] and emotions: {id: class}, {id: (v, e, d)} in the
    label file's order.

    frames[(folder, split)]: {id: array (140, T)}, folder one of the lab's four.
    """

    path: Path
    genres: dict
    emotions: dict
    hidden: list
    frames: dict


def clip(rng, frames, tilt, level=0.0):
    """(140, T) float64: mel in dB re clip maximum, within -80..0, and chroma in 0..1 with 1 in every frame."""
    bands = np.linspace(-0.5, 0.5, 128)[:, None]
    mel = rng.normal(-40 + level + tilt * bands, 7 + 3 * bands, (128, frames)).clip(-80, None)
    chroma = rng.uniform(0.05, 1, (12, frames))
    return np.vstack([mel - mel.max(), chroma / chroma.max(axis=0)])


def write_small_data(root, seed=0):
    """Writes the lab's four folders below `root` and returns what they hold."""
    rng = np.random.default_rng(seed)
    root = Path(root)
    root.mkdir(parents=True)
    (root / "class_mapping.json").write_text(json.dumps(MAPPING, ensure_ascii=False), encoding="utf-8")
    named = {
        split: [
            (f"{rng.integers(10, 99)}{first + k}", genre)
            for k, genre in enumerate(g for g, n in counts.items() for _ in range(n))
        ]
        for (split, counts), first in zip(CLIPS.items(), (100, 500), strict=True)
    }
    kept = {split: {ident: MAPPING[genre] for ident, genre in rows if MAPPING[genre]} for split, rows in named.items()}
    shared = [str(ident) for ident in rng.permutation(list(kept["train"]))[:SHARED]]
    labelled = [*shared, *(f"{rng.integers(10, 99)}{700 + k}" for k in range(LABELLED - SHARED))]
    hidden = [f"{rng.integers(10, 99)}{800 + k}" for k in range(HIDDEN)]
    energy = rng.uniform(0.05, 0.95, LABELLED)
    values = np.stack(
        [
            0.5 + 0.04 * rng.normal(size=LABELLED) + 0.1 * (energy - 0.5),
            energy,
            0.3 + 0.5 * rng.uniform(size=LABELLED) * energy,
        ],
        1,
    )
    emotions = {
        ident: tuple(float(f"{value:.4f}") for value in row)
        for ident, row in zip(labelled, values.clip(0, 1), strict=True)
    }
    frames, orders = {}, {}
    for tail, lengths in (("", (33, 71)), ("_beat", (17, 31))):
        for split, rows in named.items():
            folder = f"{GENRES}{tail}"
            frames[folder, split] = {
                ident: clip(rng, int(rng.integers(*lengths)), TILT[genre]) for ident, genre in rows
            }
            shuffled = [rows[k] for k in rng.permutation(len(rows))]
            orders[folder, split] = {ident: MAPPING[genre] for ident, genre in shuffled if MAPPING[genre]}
            write_clips(root / folder / split, frames[folder, split], packed=split == "test")
            word = "beatsync.fused" if tail else "fused.full"
            lines = ["Id\tGenre", *(f"{ident}.{word}.npy.gz\t{genre}" for ident, genre in shuffled), ""]
            (root / folder / f"{split}_labels.txt").write_bytes("\r\n".join(lines).encode())
        folder = f"{EMOTIONS}{tail}"
        levels = dict(zip(labelled, 12 * (energy - 0.5), strict=True))
        frames[folder, "train"] = {
            i: clip(rng, int(rng.integers(*lengths)), 25 * (emotions[i][2] - 0.3), levels[i]) for i in labelled
        }
        frames[folder, "test"] = {ident: clip(rng, int(rng.integers(*lengths)), 0.0) for ident in hidden}
        for split in ("train", "test"):
            write_clips(root / folder / split, frames[folder, split])
        orders[folder, "train"] = {i: emotions[i] for i in rng.permutation(labelled).tolist()}
        lines = [
            "Id,valence,energy,danceability",
            *(",".join([i, *map(str, row)]) for i, row in orders[folder, "train"].items()),
            "",
        ]
        (root / folder / "train_labels.txt").write_text("\n".join(lines), encoding="utf-8")
    genres = {(folder, split): rows for (folder, split), rows in orders.items() if folder.startswith(GENRES)}
    return Small(
        root,
        genres,
        {folder: rows for (folder, _), rows in orders.items() if folder.startswith(EMOTIONS)},
        hidden,
        frames,
    )


def write_clips(folder, clips, packed=False):
    """One .npy file a clip, called otherwise than in the label file; every second one gzipped where `packed`."""
    import gzip

    folder.mkdir(parents=True)
    for number, (ident, array) in enumerate(clips.items()):
        if packed and number % 2:
            with gzip.open(folder / f"{ident}.fused.full.npy.gz", "wb") as file:
                np.save(file, array)
        else:
            np.save(folder / f"{ident}.fused.full.npy", array)
