"""Where the data are: --data, the repository's data/, Kaggle, or the demo music; and what tells one data set from
another.
"""

import json
import os
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from common.errors import LabError
from common.labels import CLASS_MAPPING_FILE, load_class_mapping
from common.versions import fingerprint

# the folder above common/; of a script that has all of it in itself, the one in which it lies
REPOSITORY = Path(__file__).resolve().parent.parent if __package__ else Path(__file__).resolve().parent
KAGGLE_ROOTS = (
    "/kaggle/input/patreco3-multitask-affective-music/data",
    "../input/patreco3-multitask-affective-music/data",  # as the kernels of the course write it
)
GENRES, EMOTIONS = "fma_genre_spectrograms", "multitask_dataset"
MARKER = "demo_music.json"  # in a folder of demo music: how it was composed
FOLDERS = (GENRES, f"{GENRES}_beat", EMOTIONS, f"{EMOTIONS}_beat")


@dataclass(frozen=True)
class LabData:
    """One data folder in the lab's layout: its path, how it was found, its class table, and the demo music's marker
    where it is that.
    """

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

    def metadata(self):
        """What a run's checkpoint and metrics tell of the data."""
        found = {"demo": self.demo, "data_path": str(self.path), "class_mapping": self.class_mapping}
        found["data"] = self.fingerprint
        return found

    def require(self, *folders):
        """LabError, naming the file, where the training labels of one of these folders are not there: said before any
        work.
        """
        for folder in folders:
            if not (folder / "train_labels.txt").is_file():
                raise LabError(f"{folder / 'train_labels.txt'}: a label file was expected there, this step needs it")

    def table_text(self):
        """The class table in a line: class < its genres; ...; dropped: the others."""
        genres = {}
        for genre, name in sorted(self.class_mapping.items()):
            genres.setdefault(name, []).append(genre)
        dropped = genres.pop(None, [])
        merged = [name if found == [name] else f"{name} < {', '.join(found)}" for name, found in sorted(genres.items())]
        return "; ".join(merged) + (f"; dropped: {', '.join(dropped)}" if dropped else "")

    @cached_property
    def fingerprint(self):
        """See common.versions.fingerprint. Taken once, so that a folder that changes during a run cannot change it."""
        return fingerprint(self, FOLDERS)


def find_data(path=None, demo=None):
    """The data that a step works on, as LabData.

    path: the lab's data folder as the user gave it; its parent and its children are recognised. None takes data/ in the
    repository, else Kaggle's folder, else demo music in demo_data/.
    demo: a function that composes demo music into a folder, where it is not there yet, and returns the folder; without
    one, data that are nowhere to be found are a LabError, and so is a `path`, or a data/ with something in it, that is
    no such folder.
    """
    if path is not None:
        return lab_data(*recognise(Path(path).expanduser(), "--data"))
    own = REPOSITORY / "data"
    if own.is_dir() and any(not entry.name.startswith(".") for entry in own.iterdir()):
        return lab_data(*recognise(own, "data/ in the repository"))
    for root in KAGGLE_ROOTS:
        if holds_lab(Path(root)):
            return lab_data(root, "Kaggle's input")
    if demo is None:
        raise LabError(f"--data: the lab's data folder was expected, there is none in {own} or in Kaggle's input")
    return lab_data(demo(REPOSITORY / "demo_data"), "no --data given, none in data/ or Kaggle's input")


def recognise(path, said):
    """(the data folder, how it was found) for a path that is it, its parent, one of its four folders or one of their
    splits.

    said: what named the path. Of several children that could be meant, data/ is; LabError where none is or no one knows
    which.
    """
    path = path.resolve()
    if holds_lab(path):
        return path, said
    children = [path / "data"] if holds_lab(path / "data") else [child for child in path.glob("*") if holds_lab(child)]
    if len(children) == 1:
        return children[0], f"{children[0].name}/ under {said}"
    for folder in (path, path.parent):
        if folder.name in FOLDERS and folder.is_dir():
            return folder.parent, f"{said} names a folder in it"
    raise LabError(f"{said} {path}: the lab's data folder was expected, with {GENRES} or {EMOTIONS} in it")


def holds_lab(path):
    return any(
        os.path.isdir(path / folder) for folder in FOLDERS
    )  # Path.is_dir raises where the folder above may not be read


def lab_data(path, origin):
    path = Path(path).resolve()
    return LabData(path, origin, load_class_mapping(path), (path / CLASS_MAPPING_FILE).exists(), read_marker(path))


def read_marker(root):
    """The metadata that a folder of demo music tells about itself, or None where it is none. Raises LabError where they
    are damaged.
    """
    path = Path(root) / MARKER
    try:
        marker = json.loads(path.read_text(encoding="utf-8"))
        marker["format"], marker["notice"]
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise LabError(
            f"{path}: the marker of demo music was expected, it is damaged; remove the folder to compose it anew"
        ) from error
    return marker
