"""A data folder in the lab's layout, small enough to make anew for every test."""

import json
import os
import sys

os.environ["OMP_NUM_THREADS"] = "1"  # before torch is there; on a busy machine threads wait for each other
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)  # else every process of hundreds would compile the project anew
sys.dont_write_bytecode = False

import numpy as np
import pytest
import torch

from common import comparison, run
from common.dataset import SpectrogramDataset
from common.plots import png

TINY_GENRES = {"Rock": "Rock", "Ρεμπέτικο": "Ελληνικά", "Chiptune": None}  # one of them Greek, one dropped


def random_clip(rng, frames, brightness=0.0):
    """(140, T) float64 in the lab's ranges: mel in -80..0 dB with its maximum at 0, chroma in 0..1."""
    mel = rng.normal(-45 + brightness * np.linspace(-10, 10, 128)[:, None], 8, (128, frames)).clip(-80, None)
    chroma = rng.uniform(0, 1, (12, frames))
    return np.vstack([mel - mel.max(), chroma / chroma.max(axis=0)])


def write_tiny_data(root, train=12, test=6, frames=40, seed=0):
    """Writes the lab's four folders under `root`: `train` and `test` clips of every genre, and as many clips with
    emotions.
    """
    rng = np.random.default_rng(seed)
    root.mkdir(parents=True, exist_ok=True)
    emotions = [f"{9000 + k},{rng.uniform():.3f},{k / (2 * train):.3f},{rng.uniform():.3f}" for k in range(2 * train)]
    (root / "class_mapping.json").write_text(json.dumps(TINY_GENRES, ensure_ascii=False), encoding="utf-8")
    for tail, word, length in (("", "fused.full", frames), ("_beat", "beatsync.fused", max(1, frames // 5))):
        rows = {"train": [], "test": []}
        for split, count in (("train", train), ("test", test)):
            for folder in ("fma_genre_spectrograms", "multitask_dataset"):
                (root / f"{folder}{tail}" / split).mkdir(parents=True, exist_ok=True)
            for genre_number, genre in enumerate(TINY_GENRES):
                for k in range(count):
                    ident = 1000 * (1 + genre_number) + (0 if split == "train" else 500) + k
                    clip = random_clip(
                        rng, int(rng.integers(length * 3 // 4, length + 1)) or 1, brightness=genre_number - 1
                    )
                    np.save(root / f"fma_genre_spectrograms{tail}" / split / f"{ident}.fused.full.npy", clip)
                    rows[split].append(f"{ident}.{word}.npy.gz\t{genre}")
        for split, count in (("train", 2 * train), ("test", test)):
            for k in range(count):
                ident = 9000 + (0 if split == "train" else 500) + k
                clip = random_clip(rng, int(rng.integers(length * 3 // 4, length + 1)) or 1, brightness=k / train - 1)
                np.save(root / f"multitask_dataset{tail}" / split / f"{ident}.fused.full.npy", clip)
        for split, lines in rows.items():
            text = "\r\n".join(["Id\tGenre", *lines, "", ""])  # Windows line ends and blank last lines
            (root / f"fma_genre_spectrograms{tail}" / f"{split}_labels.txt").write_bytes(text.encode())
        text = "\n".join(["Id,valence,energy,danceability", *emotions]) + "\n"
        (root / f"multitask_dataset{tail}" / "train_labels.txt").write_text(text)
    return root


def contents(root):
    """{path below root: bytes} of all files of the runs, without what a clock or the memory wrote, and without locks
    and earlier runs.
    """
    found = {}
    for path in sorted(root.rglob("*")):
        name = str(path.relative_to(root))
        if path.is_file() and ".old-" not in name and not name.endswith((".lock", ".part")):
            found[name] = path.read_bytes()
            if path.name == "metrics.json":
                found[name] = {key: value for key, value in json.loads(found[name]).items() if key != "used"}
    return found


# intervals of few draws: what they hold is tested where they are made
comparison.ROUNDS = 20
# Pictures are not drawn, which takes half of a tiny run: figures have tests of their own, and steps that run as scripts
# draw them.
run.png = lambda figure: b"not drawn"


# A file is one worker's: the longest ones begin first, so that none is left for the end.
LONGEST = ("test_numbers_tuned", "test_sentences", "test_numbers_single_file", "test_step7a", "test_audio")
LONGEST += ("test_numbers_baselines", "test_numbers_page", "test_resume", "test_fuzz", "test_evaluate", "test_steps")
LONGEST += (
    "test_choices",
    "test_numbers_genres",
    "test_pretend_gpu",
    "test_bundle",
    "test_faults",
    "test_numbers_step9",
)


def pytest_collection_modifyitems(items):
    first = {name: number for number, name in enumerate(LONGEST)}
    items.sort(key=lambda item: first.get(item.path.stem, len(first)))


@pytest.fixture
def tiny_data(tmp_path):
    """The path of a tiny data folder: classes Rock and Ελληνικά, 12 + 6 clips of each, 24 + 6 clips with emotions,
    about 40 frames.
    """
    return write_tiny_data(tmp_path / "data")


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """The path of such a folder that all tests of a file share; they leave it as it is."""
    return write_tiny_data(tmp_path_factory.mktemp("shared") / "data")


@pytest.fixture(scope="module")
def emotions(data):
    """The clips of that folder that have emotions, labelled with their energy."""
    return SpectrogramDataset(data / "multitask_dataset_beat", axis="energy")


@pytest.fixture
def drawn(monkeypatch):
    """Pictures are drawn: for runs with names or values that no picture was made for."""
    monkeypatch.setattr(run, "png", png)


@pytest.fixture
def same_weights_in_every_run():
    torch.manual_seed(0)


@pytest.fixture(scope="session")
def shared_folder(tmp_path_factory):
    """A folder that all processes of this test session share, for what is made once: see tests/runs.py."""
    base = tmp_path_factory.getbasetemp()
    return (base.parent if os.environ.get("PYTEST_XDIST_WORKER") else base) / "shared-runs"


@pytest.fixture(scope="session")
def small(shared_folder):
    """The small data that the tests of numbers share, as tests/small_data.py says; they leave it as it is."""
    import pickle

    from filelock import FileLock
    from small_data import Small, write_small_data

    shared_folder.mkdir(parents=True, exist_ok=True)
    with FileLock(shared_folder / "small.lock"):
        kept = shared_folder / "small.pickle"
        if not kept.exists():
            kept.write_bytes(pickle.dumps(tuple(write_small_data(shared_folder / "small"))))
    return Small(*pickle.loads(kept.read_bytes()))
