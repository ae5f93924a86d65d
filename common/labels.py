"""The lab's labels: genres and how they merge to classes, the three emotion axes, and the label files."""

import json
import numbers
import unicodedata
from pathlib import Path

from common.errors import LabError, reason

AXES = ("valence", "energy", "danceability")

# The lab's table, the same in every year's starter code: genre on disk -> class, None drops the genre.
CLASS_MAPPING = {
    "Rock": "Rock", "Psych-Rock": "Rock", "Indie-Rock": None, "Post-Rock": "Rock", "Psych-Folk": "Folk",
    "Folk": "Folk", "Metal": "Metal", "Punk": "Metal", "Post-Punk": None, "Trip-Hop": "Trip-Hop", "Pop": "Pop",
    "Electronic": "Electronic", "Hip-Hop": "Hip-Hop", "Classical": "Classical", "Blues": "Blues",
    "Chiptune": "Electronic", "Jazz": "Jazz", "Soundtrack": None, "International": None, "Old-Time": None,
}  # fmt: skip
CLASS_MAPPING_FILE = "class_mapping.json"


class LabelTransformer:
    """Class names to the integers 0..C-1 in sorted order, and back.

    fit(labels) learns the names; transform(labels) gives a list of integers, and inverse(labels) the names again.
    Both also take a single label. A name that was not there at fit is a LabError, a number out of range an IndexError.
    """

    def __init__(self, classes=()):
        self.classes_ = sorted(set(classes))

    def fit(self, labels):
        self.classes_ = sorted(set(labels))
        return self

    def fit_transform(self, labels):
        return self.fit(labels).transform(labels)

    def transform(self, labels):
        if isinstance(labels, str):
            if labels not in self.classes_:
                raise LabError(f"class '{labels}' has no training clip; classes are {', '.join(self.classes_)}")
            return self.classes_.index(labels)
        return [self.transform(label) for label in labels]

    def inverse(self, labels):
        if isinstance(labels, numbers.Integral) or getattr(labels, "ndim", None) == 0:
            if not 0 <= labels < len(self.classes_):
                raise IndexError(f"class number {labels} lies outside 0..{len(self.classes_) - 1}")
            return self.classes_[int(labels)]
        return [self.inverse(label) for label in labels]


def clip_id(name):
    """A clip's id, the text before the first dot of a file name: 1042.fused.full.npy.gz and 1042 are one clip.

    In composed characters (NFC), since label files and disks disagree on how an accented letter is written.
    """
    return unicodedata.normalize("NFC", name.strip()).split(".")[0]


def load_class_mapping(data):
    """The class table of a data folder: its class_mapping.json {genre: class or null} if it has one, else the lab's.

    Raises LabError when the file is no such table or leaves fewer than two classes.
    """
    path = Path(data) / CLASS_MAPPING_FILE
    if not path.exists():
        return CLASS_MAPPING
    try:
        table = json.loads(path.read_text(encoding="utf-8-sig"))
    except (OSError, ValueError, RecursionError) as error:
        raise LabError(f"{path}: a JSON object of genre to class was expected ({reason(error)})") from error
    classes = table.values() if isinstance(table, dict) else [False]
    if not all(name is None or (isinstance(name, str) and name.strip()) for name in classes):
        raise LabError(f"{path}: a JSON object whose values are class names, or null to drop a genre, was expected")
    composed = {normal_name(genre): value and normal_name(value) for genre, value in table.items()}
    if len(composed) < len(table):
        raise LabError(f"{path}: two of its genres are the same name")
    if len(set(composed.values()) - {None}) < 2:
        raise LabError(f"{path}: at least two classes were expected")
    return composed


def read_genre_labels(path, class_mapping):
    """A genre label file (name, TAB or comma, genre) -> [(clip id, genre, line number)] in the file's order.

    class_mapping: table whose keys are the genres allowed, None for any. A first line is taken for the header if its
    name has no digit and no .npy in it, and its genre is not in the table. Raises LabError, naming file and line, for
    a line of another form, an id that stands twice, or a genre that is not in the table.
    """
    rows, header = [], False
    for number, line in label_lines(path):
        name, separator, genre = line.partition("\t" if "\t" in line else ",")
        ident, genre = clip_id(name), genre.strip()
        allowed = class_mapping is None or genre in class_mapping
        is_file = ".npy" in name or any(letter.isdigit() for letter in name)
        if not rows and not header and not is_file and not (class_mapping and allowed):
            header = True
            continue  # Id<TAB>Genre
        where = f"{path}, line {number}"
        if not separator or not ident or not genre or "\t" in genre:
            raise LabError(f"{where}: a file name, TAB or comma, and a genre were expected, not {line[:60]!r}")
        if not allowed:
            table = f"a {CLASS_MAPPING_FILE} in the data folder, genre to class or null, would replace this table"
            raise LabError(f"{where}: genre {genre[:60]!r} is not one of {', '.join(sorted(class_mapping))}; {table}")
        rows.append((ident, genre, number))
    return each_once(path, rows)


def read_emotion_labels(path):
    """A multitask label file (id, valence, energy, danceability; comma or TAB) -> [(clip id, (v, e, d), line number)].

    The first line that is not blank is skipped unread, as the starter code does. Raises LabError, naming file and line,
    for anything but three numbers within 0..1 behind an id that has not stood before.
    """
    rows = []
    for number, line in label_lines(path)[1:]:
        name, *fields = line.split("\t" if "\t" in line else ",")
        try:
            values = tuple(float(field) for field in fields)
        except ValueError:
            values = ()
        if not clip_id(name) or len(values) != len(AXES) or not all(0 <= value <= 1 for value in values):
            expected = f"an id and a number within 0..1 for each of {', '.join(AXES)} were expected"
            raise LabError(f"{path}, line {number}: {expected}, not {line[:60]!r}")
        rows.append((clip_id(name), values, number))
    return each_once(path, rows)


def label_lines(path):
    """[(line number from 1, text)] of the lines that are not blank. Raises LabError for a file that is no UTF-8 text.

    In composed characters (NFC), see clip_id.
    """
    try:
        text = unicodedata.normalize("NFC", Path(path).read_text(encoding="utf-8-sig"))
    except OSError as error:
        raise LabError(f"{path}: a label file was expected there ({error.strerror})") from error
    except ValueError as error:
        raise LabError(f"{path}: text in UTF-8 was expected ({error})") from error
    return [(number, line.strip("\r\n ")) for number, line in enumerate(text.split("\n"), start=1) if line.strip()]


def each_once(path, rows):
    """The rows (id, label, line number) of a label file. Raises LabError if there are none, or an id stands twice."""
    if not rows:
        raise LabError(f"{path}: at least one labelled clip below the header was expected")
    lines: dict = {}
    for ident, _, number in rows:
        if ident in lines:
            twice = f"each clip once was expected, but '{ident}' stands in line {lines[ident]} too"
            raise LabError(f"{path}, line {number}: {twice}")
        lines[ident] = number
    return rows


def normal_name(text):
    if any("\ud800" <= letter <= "\udfff" for letter in text):
        raise LabError(f"{CLASS_MAPPING_FILE}: names of whole characters were expected, {text!a} holds half of one")
    return unicodedata.normalize("NFC", text.strip())
