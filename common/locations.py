"""Where the data are: --data, the repository's data/, Kaggle, or the demo music; and what tells one data set from another."""

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path

from common.demo_music import demo_folder, read_marker
from common.errors import LabError
from common.labels import CLASS_MAPPING_FILE, load_class_mapping

REPOSITORY = Path(__file__).resolve().parent.parent
KAGGLE_ROOTS = (
    "/kaggle/input/patreco3-multitask-affective-music/data",
    "../input/patreco3-multitask-affective-music/data",  # as the kernels of the course write it
)
GENRES, EMOTIONS = "fma_genre_spectrograms", "multitask_dataset"
FOLDERS = (GENRES, f"{GENRES}_beat", EMOTIONS, f"{EMOTIONS}_beat")


@dataclass(frozen=True)
class LabData:
    """One data folder in the lab's layout: its path, how it was found, its class table, and the demo music's marker where it is that."""

    path: Path
    origin: str
    class_mapping: dict
    own_table: bool
    demo: dict | None

    def genres(self, beat=False):
        return self.path / (f"{GENRES}_beat" if beat else GENRES)

    def emotions(self, beat=False):
        return self.path / (f"{EMOTIONS}_beat" if beat else EMOTIONS)

    def description(self):
        """A sentence for the header: what the data are, where they lie, and how they came to be taken."""
        text = f"{self.path} ({self.origin})"
        if self.demo:
            text = f"DEMO MUSIC, composed by program: it stands in for the pipeline, not for music; {text}"
        if self.own_table:
            text += f", classes by its {CLASS_MAPPING_FILE}"
        return text

    def fingerprint(self):
        """A short hash of label files, class table, demo marker, file names and each folder's first file size: equal for equal data."""
        digest = hashlib.sha256(json.dumps([self.class_mapping, self.demo], sort_keys=True).encode())
        for folder in FOLDERS:
            for side in ("train", "test"):
                names = sorted(path.name for path in (self.path / folder / side).glob("*.npy*"))
                size = (self.path / folder / side / names[0]).stat().st_size if names else 0
                digest.update(json.dumps([folder, side, names, size]).encode())
                labels = self.path / folder / f"{side}_labels.txt"
                digest.update(labels.read_bytes() if labels.exists() else b"")
        return digest.hexdigest()[:16]

    def cache_folder(self, root=None):
        """Where the packed cache of this data lies: a folder of its own under `root`, which is cache/ in the repository unless given."""
        name = hashlib.sha256(str(self.path).encode()).hexdigest()[:8]
        return Path(root or REPOSITORY / "cache") / f"{self.path.parent.name or 'data'}-{name}"


def find_data(path=None):
    """The data that a step works on, as LabData.

    path: the lab's data folder as the user gave it; its parent and its children are recognised. None takes data/ in the
    repository, else Kaggle's folder, else the demo music in demo_data/, composed when it is first needed.
    Raises LabError when `path` is no such folder.
    """
    if path:
        return lab_data(*recognise(Path(path).expanduser()))
    for place, origin in [(REPOSITORY / "data", "data/ in the repository"), *((root, "Kaggle's input") for root in KAGGLE_ROOTS)]:
        if holds_lab(Path(place)):
            return lab_data(place, origin)
    return lab_data(demo_folder(REPOSITORY / "demo_data"), "no --data given, none in data/ or Kaggle's input")


def recognise(path):
    """(the data folder, how it was found) for a path that is it, its parent, one of its four folders or one of their sides."""
    path = path.resolve()
    if holds_lab(path):
        return path, "--data"
    if holds_lab(path / "data"):
        return path / "data", "data/ under --data"
    for folder in (path, path.parent):
        if folder.name in FOLDERS and folder.is_dir():
            return folder.parent, "--data names a folder in it"
    raise LabError(f"--data {path}: the lab's data folder was expected, with {GENRES} or {EMOTIONS} in it")


def holds_lab(path):
    return any((path / folder).is_dir() for folder in FOLDERS)


def lab_data(path, origin):
    path = Path(path).resolve()
    return LabData(path, origin, load_class_mapping(path), (path / CLASS_MAPPING_FILE).exists(), read_marker(path))
