"""The lab's labels: genres and how they merge to classes, the three emotion axes, and the label files."""

import csv
import json
import numbers
import re
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

# what follows an id in a file's name, between dots: the lab's words, and the endings of arrays and of audio
ENDINGS = r"|fused|full|beatsync|beat|mel|chroma|power|np[yz]|gz|wav|mp[234]|flac|og[ga]|opus|au|aiff?|m4a|aac|wma|caf"
# what a header may call a label file's columns
HEADER = {
    "id": r"ids?|file|file_?name|(track|clip|song)_?id",
    "genre": r"genres?|genre_top|labels?|class|category",
    "valence": r"v|val|.*valence.*",
    "energy": r"e|.*energy.*",
    "danceability": r"d|dance|.*danceability.*",
}


class LabelTransformer:
    """Class names to the integers 0..C-1 in sorted order, and back.

    fit(labels) learns the names; transform(labels) gives a list of integers, and inverse(labels) or
    inverse_transform(labels) the names again.
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

    def inverse_transform(self, labels):
        return self.inverse(labels)


def clip_id(name):
    """A clip's id, a file name without the lab's endings: 1042.fused.full.npy.gz and 1042 are one clip.

    Other dots are part of the id: rock.00000.wav is rock.00000. Hidden files have none. In composed characters (NFC),
    since label files and disks disagree on how an accented letter is written.
    """
    parts = unicodedata.normalize("NFC", name.strip()).split(".")
    while len(parts) > 1 and re.fullmatch(ENDINGS, parts[-1].lower()):
        parts.pop()
    return ".".join(parts) if parts[0] else ""


def load_class_mapping(data):
    """The class table of a data folder: its class_mapping.json {genre: class or null} if it has one, else the lab's.

    Raises LabError when the file is no such table or leaves fewer than two classes.
    """
    path = Path(data) / CLASS_MAPPING_FILE
    if not path.exists() and not path.is_symlink():  # a link to an absent disk is no absence
        return CLASS_MAPPING
    expected = "a JSON object of genres to printable class names, or to null to drop a genre, was expected"
    try:
        table = json.loads(path.read_text(encoding="utf-8-sig"), object_pairs_hook=tuple)
    except (OSError, ValueError, RecursionError) as error:
        raise LabError(f"{path}: {expected} ({reason(error)})") from error
    names = [name for pair in table for name in pair if name is not None] if isinstance(table, tuple) else [""]
    if not all(isinstance(name, str) and name.strip() and name.isprintable() for name in names):
        raise LabError(f"{path}: {expected}")
    pairs = [[name and normal_name(name) for name in pair] for pair in table]
    genres = [genre for genre, _ in pairs]
    twice = [genre for genre in genres if genres.count(genre) > 1]
    if twice:
        raise LabError(f"{path}: each genre once was expected, but '{twice[0][:60]}' stands there twice")
    if len({name for _, name in pairs} - {None}) < 2:
        raise LabError(f"{path}: at least two classes were expected")
    return dict(pairs)


def read_genre_labels(path, class_mapping):
    """A genre label file (name, TAB or comma, genre) -> [(clip id, genre, line number)] in the file's order.

    class_mapping: table whose keys are the genres allowed, None for any. Raises LabError, naming file and line, for
    what label_rows refuses, or a genre that is not in the table.
    """
    rows = []
    for number, name, (genre,) in label_rows(path, ("genre",)):
        if class_mapping is not None and genre not in class_mapping:
            table = f"a {CLASS_MAPPING_FILE} in the data folder, genre to class or null, would replace this table"
            among = f"is not one of {', '.join(sorted(class_mapping))}"
            raise LabError(f"{path}, line {number}: genre {genre[:60]!r} {among}; {table}")
        rows.append((clip_id(name), genre, number))
    return rows


def read_emotion_labels(path):
    """A multitask label file (id, valence, energy, danceability; comma or TAB) -> [(clip id, (v, e, d), line number)].

    Raises LabError, naming file and line, for what label_rows refuses, or anything but three numbers within 0..1.
    """
    rows = []
    for number, name, fields in label_rows(path, AXES):
        try:
            values = tuple(float(field) for field in fields if "_" not in field)  # Python takes 0_5 for 5
        except ValueError:
            values = ()
        if len(values) != len(fields) or not all(0 <= value <= 1 for value in values):
            expected = f"an id and a number within 0..1 for each of {', '.join(AXES)} were expected"
            raise LabError(f"{path}, line {number}: {expected}, not {', '.join([name, *fields])[:60]!r}")
        rows.append((clip_id(name), values, number))
    return rows


def label_rows(path, columns):
    """Yields the clips of a label file: (line number from 1, file name, its fields of these columns).

    columns: ("genre",) or AXES. Fields stand between TABs or commas, quoted or not. A header, a first line that names
    these columns, is obeyed in any order; a first line that is no header is the first clip. Raises LabError, naming
    file and line, for a file that is no UTF-8 text or has no clips, a header that lacks a column, a line with too few
    or too many fields, or an id that stands twice.
    """
    try:
        text = unicodedata.normalize("NFC", Path(path).read_text(encoding="utf-8-sig")).replace("\ufeff", "")
        texts = [line.strip("\r\n ") for line in text.split("\n")]
        pairs = [(line, "\t" if "\t" in line else ",") for line in texts]
        rows = [next(csv.reader([line], delimiter=by, skipinitialspace=True), []) for line, by in pairs]
    except (OSError, ValueError, csv.Error) as error:
        raise LabError(f"{path}: a label file in UTF-8 was expected there ({error})") from error
    lines, header = {}, None
    for number, row in enumerate(rows, start=1):
        where, fields = f"{path}, line {number}", [field.strip() for field in row]
        if header is None and fields:
            (name, *places), width, is_header = header_columns(where, fields, columns)
            header = fields if is_header else []
        if not fields or fields == header:
            continue  # blank, or the header, again where files were joined
        if len(fields) != width or not clip_id(fields[name]) or not all(fields[place] for place in places):
            expected = f"a file name, TAB or comma, and {', '.join(columns)} were expected, in {width} fields"
            raise LabError(f"{where}: {expected}, not {', '.join(fields)[:60]!r}")
        ident = clip_id(fields[name])
        if ident in lines:
            raise LabError(f"{where}: each clip once was expected, but '{ident}' stands in line {lines[ident]} too")
        lines[ident] = number
        yield number, fields[name], [fields[place] for place in places]
    if not lines:
        raise LabError(f"{path}: at least one labelled clip below the header was expected")


def header_columns(where, fields, columns):
    """From a label file's first line: ([index of the name, indices of these columns], fields of a line, a header?).

    A first line that names no column is a header where numbers are expected and it has none; the columns then are in
    the lab's order, which is printed. Raises LabError where it names only some columns, or one of them twice.
    """
    words, line = [clip_id(field).lower() for field in fields], repr(", ".join(fields)[:60])
    places = {name: [i for i, word in enumerate(words) if re.fullmatch(HEADER[name], word)] for name in HEADER}
    taken = [place for column in columns for place in places[column]]
    numbers_in_it = columns == AXES and any(re.match(r"[-+.]*\d|nan$|inf$", field.lower()) for field in fields[1:])
    if taken and not numbers_in_it:
        name = set(places["id"]) - {*taken} or {*range(len(words))} - {*taken}
        if len({*taken}) != len(taken) or not all(len(places[column]) == 1 for column in columns) or len(name) != 1:
            expected = f"a header with one id and one column for each of {', '.join(columns)} was expected"
            raise LabError(f"{where}: {expected}, between TABs or commas, not {line}")
        return [*name, *taken], len(words), True
    is_header = not numbers_in_it and all(fields) if columns == AXES else places["id"] == [0]
    is_header = is_header and len(fields) == 1 + len(columns)
    if is_header:
        print(f"note       : {where}: a header that names no column, {line}; taken for a name, {', '.join(columns)}")
    return [*range(len(columns) + 1)], len(columns) + 1, is_header


def normal_name(text):
    return unicodedata.normalize("NFC", text.strip())
