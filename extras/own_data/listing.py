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
LONGEST_STEM = 60  # characters of a file's name in a clip's id; a disk takes 255 bytes, two for a Greek letter
FMA_WITHOUT_SOUND = (99134, 108925, 133297)  # mp3 files without any audio: https://github.com/mdeff/fma/wiki


class Song(NamedTuple):
    """One audio file: its name relative to the source, clip id, genre, (valence, energy, danceability) and artist, None
    where not told.
    """

    file: str
    ident: str
    genre: str | None
    emotions: tuple | None
    artist: str | None


def list_folder(source):
    """([Song] of a folder's genres, [(file, why skipped)]) in the order of their names."""
    if not source.is_dir():
        raise LabError(
            f"--audio {source}: a folder of genres with audio files in them, or a CSV table of such files, was expected"
        )
    rows, skipped = [], []
    for path in sorted(source.rglob("*")):
        parts = path.relative_to(source).parts
        if path.suffix.lower() in SUFFIXES and not any(part.startswith(".") for part in parts) and path.is_file():
            if len(parts) == 1:
                skipped.append((parts[0], "it lies in no genre's folder"))
            else:
                rows.append(("/".join(parts), normal_name(parts[0]), None, None))
    if not rows:
        raise LabError(
            f"--audio {source}: folders of genres with audio files ({', '.join(SUFFIXES)}) in them were expected"
        )
    return named_songs(rows, skipped), skipped


def list_table(table):
    """([Song] of a CSV table, [(file, why skipped)]). Its first line names the columns, parted by comma, semicolon or
    TAB.
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
        raise LabError(
            f"{table}: file, genre or all of {', '.join(AXES)}, and perhaps artist were expected as columns, not {shown(first)}"
        )
    rows, lines = [], {}
    for fields, number in numbered:
        if not any(field.strip() for field in fields):
            continue
        row = {name: field.strip() for name, field in zip(names, fields, strict=False)}
        place = f"{table}, line {number}"
        if len(fields) > len(names) or not row.get("file"):
            raise LabError(f"{place}: {len(names)} columns with a file's name among them were expected")
        if row["file"] in lines:
            raise LabError(
                f"{place}: each file once was expected, but {shown(row['file'])} stands in line {lines[row['file']]} too"
            )
        lines[row["file"]] = number
        rows.append(
            (
                row["file"],
                normal_name(row.get("genre", "")) or None,
                emotions_of(row, axes, place),
                row.get("artist") or None,
            )
        )
    if not rows:
        raise LabError(f"{table}: at least one file below the first line was expected")
    if not any(emotions for _, _, emotions, _ in rows):
        rows = [(file, genre, None, artist) for file, genre, _, artist in rows]
    skipped = []
    return named_songs(rows, skipped), skipped


def emotions_of(row, axes, place):
    """A row's three values, in 0..1, with decimal point or comma; () where the table has the columns and the row is
    empty there.
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
        raise LabError(f"{place}: a number within 0..1 for each of {', '.join(AXES)}, or none of them, was expected")
    return values


def named_songs(rows, skipped):
    """[Song] with clip ids: the file's name in letters that every label file takes; where two share it or it is cut, a
    tag of the path too.

    rows: [(file, genre, emotions, artist)]. FMA's tracks without sound go to `skipped`.
    """
    songs = []
    stems = [re.sub(r"[^\w-]+", "_", normal_name(Path(file).stem)).strip("_") or "song" for file, *_ in rows]
    counts = Counter(stem.casefold() for stem in stems)  # a disk may not tell Song from song
    for stem, (file, *rest) in zip(stems, rows, strict=True):
        if Path(file).suffix.lower() == ".mp3" and stem.isdecimal() and int(stem) in FMA_WITHOUT_SOUND:
            skipped.append((file, "by its name one of FMA's tracks that are known to hold no sound"))
            continue
        unclear = counts[stem.casefold()] > 1 or len(stem) > LONGEST_STEM
        tag = f"-{hashlib.sha256(os.fsencode(file)).hexdigest()[:6]}" if unclear else ""
        if rest[0] and ("\t" in rest[0] or "\n" in rest[0] or not is_text(rest[0])):
            raise LabError(f"{file}: a genre in UTF-8 without TAB or line end was expected, not {shown(rest[0])}")
        songs.append(Song(file, stem[:LONGEST_STEM] + tag, *rest))
    return songs


def is_text(name):
    """Whether a name is UTF-8 on the disk; Python keeps the bytes of another encoding as lone surrogates."""
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True
