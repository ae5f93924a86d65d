"""The songs to import: a folder of genres, or a CSV table, becomes a list of Song with clip ids."""

import csv
import hashlib
import math
import os
import re
from collections import Counter
from pathlib import Path
from typing import NamedTuple

from common.errors import LabError, reason, shown
from common.labels import AXES, normal_name

SUFFIXES = (".mp3", ".wav", ".flac", ".ogg", ".au")
LONGEST_STEM = 60  # characters of the file name in a clip id; file systems allow 255 bytes, a Greek letter takes two
FMA_WITHOUT_SOUND = (99134, 108925, 133297)  # mp3 files without any audio: https://github.com/mdeff/fma/wiki


class Song(NamedTuple):
    """One audio file.

    file: its name relative to the source. emotions: (valence, energy, danceability) in 0..1; () for a clip to be
    predicted, None where the source has no emotions. genre and artist: None where the source does not give them.
    """

    file: str
    ident: str
    genre: str | None
    emotions: tuple | None
    artist: str | None


def list_folder(source):
    """([Song] of a folder <genre>/*.mp3, [(file, why it was skipped)]), sorted by name."""
    if not source.is_dir():
        raise LabError(f"--audio {source}: a folder with a folder for each genre, or a CSV table, was expected")
    rows, skipped = [], []
    for path in sorted(source.rglob("*")):
        parts = path.relative_to(source).parts
        if path.suffix.lower() in SUFFIXES and not any(part.startswith(".") for part in parts) and path.is_file():
            if len(parts) == 1:
                skipped.append((parts[0], "it is not in the folder of a genre"))
            else:
                rows.append(("/".join(parts), normal_name(parts[0]), None, None))
    if not rows:
        raise LabError(f"--audio {source}: genre folders with audio files ({', '.join(SUFFIXES)}) were expected")
    return named_songs(rows, skipped), skipped


def list_table(table):
    """([Song] of a CSV table, [(file, why it was skipped)]).

    The first line names the columns. The delimiter is a comma, a semicolon or a TAB.
    """
    try:
        text = table.read_text(encoding="utf-8-sig")
    except (OSError, ValueError) as error:
        raise LabError(f"{table}: a table in UTF-8 was expected ({reason(error)})") from error
    first = text.split("\n", 1)[0]
    reader = csv.reader(text.splitlines(), delimiter=max("\t;,", key=first.count))
    try:
        (names, _), *numbered = [(fields, reader.line_num) for fields in reader] or [([], 0)]
    except csv.Error as error:
        raise LabError(f"{table}, line {reader.line_num}: a row of the table was expected ({reason(error)})") from error
    names = [name.strip().lower() for name in names]
    axes = [axis for axis in AXES if axis in names]
    if "file" not in names or len(set(names)) < len(names) or len(axes) not in (0, 3) or not (axes or "genre" in names):
        columns = f"file, genre or all of {', '.join(AXES)}, and optionally artist"
        raise LabError(f"{table}: the columns {columns} were expected, not {shown(first)}")
    rows, lines = [], {}
    for fields, number in numbered:
        if not any(field.strip() for field in fields):
            continue
        row = {name: field.strip() for name, field in zip(names, fields, strict=False)}
        where = f"{table}, line {number}"
        file = row.get("file")
        if len(fields) > len(names) or not file:
            raise LabError(f"{where}: {len(names)} columns with a file name were expected")
        if file in lines:
            raise LabError(f"{where}: each file once was expected, but line {lines[file]} names {shown(file)} too")
        lines[file] = number
        genre = normal_name(row.get("genre", "")) or None
        rows.append((file, genre, read_emotions(row, axes, where), row.get("artist") or None))
    if not rows:
        raise LabError(f"{table}: at least one file below the first line was expected")
    if not any(emotions for _, _, emotions, _ in rows):
        rows = [(file, genre, None, artist) for file, genre, _, artist in rows]
    skipped = []
    return named_songs(rows, skipped), skipped


def read_emotions(row, axes, where):
    """The three values of a table row, in 0..1, with decimal point or comma.

    None where the table has no such columns; () where it has them and the row leaves all three empty.
    """
    if not axes:
        return None
    texts = [row.get(axis, "").replace(",", ".") for axis in AXES]
    if not any(texts):
        return ()
    try:
        values = tuple(float(text) for text in texts)
    except ValueError:
        values = (math.nan,)
    if not all(math.isfinite(value) and 0 <= value <= 1 for value in values):
        raise LabError(f"{where}: a number within 0..1 for each of {', '.join(AXES)}, or none of them, was expected")
    return values


def named_songs(rows, skipped):
    """[Song] with clip ids, from rows [(file, genre, emotions, artist)].

    An id is the file name, in characters that every label file takes. Where two files share it, or it is cut, a short
    hash of the path is added. FMA's tracks without sound are added to `skipped`.
    """
    songs = []
    stems = [re.sub(r"[^\w-]+", "_", normal_name(Path(file).stem)).strip("_") or "song" for file, *_ in rows]
    counts = Counter(stem.casefold() for stem in stems)  # some file systems take Song and song for one name
    for stem, (file, *rest) in zip(stems, rows, strict=True):
        if Path(file).suffix.lower() == ".mp3" and stem.isdecimal() and int(stem) in FMA_WITHOUT_SOUND:
            skipped.append((file, "one of the FMA tracks that hold no sound, by its name"))
            continue
        ambiguous = counts[stem.casefold()] > 1 or len(stem) > LONGEST_STEM
        tag = f"-{hashlib.sha256(os.fsencode(file)).hexdigest()[:6]}" if ambiguous else ""
        if rest[0] and ("\t" in rest[0] or "\n" in rest[0] or not is_utf8(rest[0])):
            raise LabError(f"{file}: a genre in UTF-8 without TAB or line break was expected, not {shown(rest[0])}")
        songs.append(Song(file, stem[:LONGEST_STEM] + tag, *rest))
    return songs


def is_utf8(name):
    """Whether a file name is UTF-8; Python keeps the bytes of another encoding as lone surrogates."""
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True
