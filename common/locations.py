"""Where the data are: --data, data/ in the repository, Kaggle's input, or demo music."""

import json
import os
from dataclasses import dataclass
from pathlib import Path

from common.errors import LabError
from common.labels import CLASS_MAPPING_FILE, load_class_mapping
from common.versions import fingerprint_text

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
    """One data folder in the lab's layout: path, how it was found, class table, and the marker of demo music or None."""

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
        """A sentence for the header: what the data are, their path, and why they were taken."""
        text = f"{self.path} ({self.origin})"
        if self.demo:
            text = f"DEMO MUSIC, composed by program: it stands in for the pipeline, not for music; {text}"
        if self.own_table:
            text += f", classes by its {CLASS_MAPPING_FILE}"
        return text

    def metadata(self):
        """What a run's checkpoint and metrics keep of the data, beside the fingerprint of the folders that it reads."""
        return {"demo": self.demo, "data_path": str(self.path), "class_mapping": self.class_mapping}

    def require(self, *folders):
        """Raises LabError where one of these folders has no training labels; asked before any work."""
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

    @property
    def fingerprint(self):
        """Of all four folders, see common.versions.fingerprint_text; a run keeps that of the folders that it reads."""
        return fingerprint_text(self, FOLDERS)


def find_data(path=None, demo=None):
    """The LabData that a step works on.

    path: the lab's data folder as the user gave it; its parent and its children are recognised. None takes data/ in the
    repository, else Kaggle's input, else demo music in demo_data/.
    demo: a function that composes demo music into a folder, where it is not there yet, and returns the folder. Raises
    LabError where `path`, or a data/ that is not empty, is no such folder, and where there are no data and no `demo`.
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


def recognise(path, name):
    """(the data folder, how it was found) for a path that is it, its parent, or one of the folders in it.

    name: what gave the path. Of several children that could be meant, data/ is taken; LabError if that is not clear.
    """
    path = path.resolve()
    if holds_lab(path):
        return path, name
    children = [path / "data"] if holds_lab(path / "data") else [child for child in path.glob("*") if holds_lab(child)]
    if len(children) == 1:
        return children[0], f"{children[0].name}/ under {name}"
    for folder in (path, path.parent):
        if folder.name in FOLDERS and folder.is_dir():
            return folder.parent, f"{name} names a folder in it"
    raise LabError(f"{name} {path}: the lab's data folder was expected, with {GENRES} or {EMOTIONS} in it")


def holds_lab(path):
    # not Path.is_dir, which raises where the parent may not be read
    return any(os.path.isdir(path / folder) for folder in FOLDERS)


def lab_data(path, origin):
    path = Path(path).resolve()
    return LabData(path, origin, load_class_mapping(path), (path / CLASS_MAPPING_FILE).exists(), read_marker(path))


def read_marker(root):
    """The marker of a folder of demo music, None for any other folder. Raises LabError where it is damaged."""
    path = Path(root) / MARKER
    try:
        marker = json.loads(path.read_text(encoding="utf-8"))
        marker["format"], marker["notice"]
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise LabError(f"{path}: the marker of demo music is damaged; remove the folder to compose it again") from error
    return marker
