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
KAGGLE_ROOTS = ("/kaggle/input", "../input")  # the second as the kernels of the course write it
SLUG = "patreco3-multitask-affective-music"  # the set's name there, in the root or below datasets/OWNER/ or d/OWNER/
DEEPEST, WIDEST = 8, 1000  # a search below a folder: its levels, and the folders of a level
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
            text = f"DEMO MUSIC, composed by a program: scores on it say nothing about real music; {text}"
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

    path: the lab's data folder as the user gave it, one of the folders in it, or a folder above it. None takes data/ in
    the repository, else Kaggle's input, else demo music in demo_data/; so does the path of demo_data/ itself.
    demo: a function that composes demo music into a folder, where it is not there yet, and returns the folder. Raises
    LabError where `path`, or a data/ or Kaggle's input that is not empty, has no such folder, and where there are no
    data and no `demo`.
    """
    own, music = REPOSITORY / "data", REPOSITORY / "demo_data"
    if path is not None:
        is_music = demo and path == str(music)
        return lab_data(demo(music), "--demo") if is_music else lab_data(*recognise(Path(path).expanduser(), "--data"))
    if any(own.glob("[!.]*")) or (os.path.lexists(own) and not os.access(own, os.R_OK)):  # a link to an absent disk
        return lab_data(*recognise(own, "data/ in the repository"))
    for root in map(Path, KAGGLE_ROOTS):
        for mount in [each for above in ("", "*/", "*/*/") for each in sorted(root.glob(above + SLUG))] + [root]:
            if labs_below(mount):
                return lab_data(*recognise(mount, "Kaggle's input"))
    if demo is None or any(Path(KAGGLE_ROOTS[0]).glob("[!.]*")):
        there = f"the lab's data folder was expected, there is none in {own} or in Kaggle's input"
        raise LabError(f"--data: {there}" + f"; add {SLUG} there, or --demo takes demo music" * bool(demo))
    return lab_data(demo(music), "no --data DIR given, also not on a mounted Drive, none in data/ or Kaggle's input")


def recognise(path, name):
    """(the data folder, how it was found) for a path that is it, is in it, or is above it.

    name: what gave the path. Of several that could be meant, the nearest is taken, or data/; LabError if that is not
    clear.
    """
    path = path.resolve()
    for folder in (path, path.parent):
        if folder.name in FOLDERS and os.path.isdir(folder):
            return folder.parent, f"{name} names a folder in it"
    found = labs_below(path)
    found = [path / "data"] if path / "data" in found else found
    if len(found) != 1:
        what = f"but there are {', '.join(map(str, found))}" if found else f"with {GENRES} or {EMOTIONS} in it"
        raise LabError(f"{name} {path}: the lab's data folder was expected, {what}")
    return found[0], name if found[0] == path else f"{found[0].relative_to(path)}/ under {name}"


def labs_below(root):
    """The data folders at a path or nearest below it, in DEEPEST levels; each once, however many links name it."""
    level = [root]
    for _ in range(DEEPEST):
        labs = [folder for folder in level if any(os.path.isdir(folder / name) for name in FOLDERS)]
        found = {os.path.realpath(folder): folder for folder in labs}  # Path.is_dir raises where it may not look
        if found:
            return list(found.values())
        level = [child for folder in level for child in sorted(folder.glob("[!.]*")) if os.path.isdir(child)][:WIDEST]
    return []


def lab_data(path, origin):
    path = Path(path).resolve()
    return LabData(path, origin, load_class_mapping(path), (path / CLASS_MAPPING_FILE).exists(), read_marker(path))


def read_marker(root):
    """The marker of a folder of demo music, None for any other folder. Raises LabError where it is damaged."""
    path = Path(root) / MARKER
    try:
        marker = json.loads(path.read_text(encoding="utf-8"))
        marker["format"], marker["notice"], marker.pop("content", None)  # content: a checksum, for the composer
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise LabError(f"{path}: the marker of demo music is damaged; remove the folder to compose it again") from error
    return marker
