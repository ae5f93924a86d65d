"""The songs to import: a folder of genres, or a CSV table, becomes a list of Song with clip ids."""

import contextlib
import csv
import hashlib
import io
import math
import os
import re
import unicodedata
from collections import Counter
from pathlib import Path
from typing import NamedTuple

from common.errors import LabError, reason, shown
from common.labels import AXES, normal_name
from extras.own_data.sound import ONLY_FFMPEG, opened

SUFFIXES = (".mp3", ".wav", ".flac", ".ogg", ".au")  # taken for audio before they are opened
LIBSNDFILE = (".opus", ".oga", ".aif", ".aiff", ".aifc", ".caf", ".mp2", ".mp1", ".snd", ".w64", ".rf64", ".voc")
NO_GENRE = "it is not in the folder of a genre"
SPLITS = ("train", "test")
SPLIT_NAMES = {"train", "training", "test", "testing", "val", "valid", "validation", "dev"}
COLUMNS = ("file", "genre", *AXES, "artist", "split")
LARGEST_TABLE = 2**26  # bytes
LONGEST_STEM = 60  # characters of the file name in a clip id; file systems allow 255 bytes, a Greek letter takes two
FMA_WITHOUT_SOUND = (99134, 108925, 133297)  # mp3 files without any audio: https://github.com/mdeff/fma/wiki


class Song(NamedTuple):
    """One audio file.

    file: its name relative to the source. emotions: (valence, energy, danceability) in 0..1; () for a clip to be
    predicted, None where the source has no emotions. genre, artist and split: None where the source does not give them.
    stem: the id without what keeps two files of one name apart.
    """

    file: str
    ident: str
    genre: str | None
    emotions: tuple | None
    artist: str | None
    split: str | None = None
    stem: str = ""


class Listing(NamedTuple):
    """What a source holds: [Song], [(file, why it was skipped)], and [sentence on what may be a surprise]."""

    songs: list
    skipped: list
    notes: list


def list_folder(source):
    """The Listing of a folder <genre>/*.mp3: each file below it is a Song or skipped with its reason."""
    expected = f"--audio {source}: a folder with a folder for each genre, or a CSV table, was expected"
    if not source.is_dir():
        raise LabError(f"{expected}, {'but that is no file' if source.exists() else 'but there is nothing'}")
    rows, skipped, used = [], [], {}
    for path, problem in sorted(files_below(source)):
        parts = path.relative_to(source).parts
        file, target = "/".join(parts), (parts[0], os.path.realpath(path))
        problem = problem or reason_to_skip(path, parts)
        if not problem and target in used:
            problem = f"the same file as {used[target]}, by a link"
        if problem:
            skipped.append((file, problem))
        else:
            used[target] = file
            rows.append((file, normal_name(parts[0]), None, None, None))
    if not rows:
        beside = [file for file, problem in skipped if problem == NO_GENRE]
        print_skipped(skipped)
        found = f"none of its {len(skipped)} files is one, see above" if skipped else "it is empty"
        if beside:
            found = f"{len(beside)} lie in it directly: give the folder above"
        raise LabError(f"--audio {source}: genre folders with audio files were expected; {found}")
    notes = check_genre_folders(source, [row[0].split("/") for row in rows])
    return Listing(named_songs(rows, skipped), skipped, notes)


def print_skipped(skipped):
    """A line for each file that was skipped, with the reason."""
    for file, why in sorted(skipped):
        print(f"skipped       : {file}: {why}")


def files_below(source):
    """Yields (path, None or why it cannot be read) of all below a folder that is no folder; follows links.

    A folder that several links lead to is read once, by its own path if that lies below the source too.
    """
    waiting, links, visited = [source], [], set()
    while waiting or links:
        folder = waiting.pop() if waiting else links.pop(0)
        try:
            status = folder.stat()
            known = (status.st_dev, status.st_ino) in visited
            visited.add((status.st_dev, status.st_ino))
            entries = [] if known else sorted(folder.iterdir())
        except OSError as error:
            yield folder, f"the folder cannot be read ({reason(error)})"
            continue
        if known:
            yield folder, "a link to a folder that is read already"
        for path in entries:
            if os.path.isdir(path):
                (links if path.is_symlink() else waiting).append(path)
            elif not os.path.exists(path):
                yield path, "a link to nothing" if path.is_symlink() else "it cannot be looked at"
            else:
                yield path, None if os.path.isfile(path) else "no file but a pipe, a socket or a device"


def reason_to_skip(path, parts):
    """Why a file is no song, or None where it is one, or has to be decoded to see it."""
    suffix = path.suffix.lower()
    if any(part.startswith(".") for part in parts):
        return "hidden, since its name or its folder's begins with a dot"
    if suffix not in SUFFIXES:
        try:
            with opened(path):
                pass
        except LabError as error:
            is_audio = suffix in (*LIBSNDFILE, *ONLY_FFMPEG)
            return str(error).removeprefix(f"{path}: ") if is_audio else "no audio that libsndfile reads"
    return NO_GENRE if len(parts) == 1 else None


def check_genre_folders(source, rows):
    """Notes on folders that hardly are genres; LabError where they certainly are none. rows: the parts of each path."""
    genres = sorted({normal_name(parts[0]) for parts in rows})
    below = {genre: {parts[1] for parts in rows if len(parts) > 2 and parts[0] == genre} for genre in genres}
    numbers = [genre for genre in genres if re.fullmatch(r"\d{1,3}", genre)]
    expected = f"--audio {source}: a folder for each genre was expected"
    table = "give a CSV table with the columns file and genre"
    if numbers:
        raise LabError(f"{expected}, but {numbers[0]} is a number, as in FMA's layout; {table}")
    if {genre.casefold() for genre in genres} <= SPLIT_NAMES:
        raise LabError(f"{expected}, but {', '.join(genres)} are splits; {table}, and with the column split")
    if len(genres) == 1 and len(below[genres[0]]) > 1 and all(len(parts) > 2 for parts in rows):
        names = ", ".join(sorted(below[genres[0]])[:3])
        raise LabError(f"{expected}, but it holds {genres[0]} alone, with {names}: give {source / genres[0]}")
    shared = set.intersection(*below.values()) if len(genres) > 1 else set()
    if shared:
        return [f"each genre's folder has a folder {min(shared)}; the genres are {', '.join(genres)}"]
    return []


def list_table(table):
    """The Listing of a CSV table, whose first line names the columns; delimiter: a comma, a semicolon or a TAB.

    File names are relative to the table's folder. A first line sep=; names the delimiter, as Excel writes it.
    """
    lines = [*io.StringIO(table_text(table), newline="")] or [""]
    skip = lines[0].lower().startswith("sep=")
    delimiter = lines[0].rstrip("\r\n")[4:5] if skip else max("\t;,", key=lines[0].count)
    first = lines[skip].rstrip("\r\n") if len(lines) > skip else ""
    reader = csv.reader(lines[skip:], delimiter=delimiter or ",", strict=True)
    try:
        (names, _), *numbered = [(fields, reader.line_num + skip) for fields in reader] or [([], 0)]
    except csv.Error as error:
        where = f"{table}, line {reader.line_num + skip}"
        raise LabError(f"{where}: a row of the table was expected ({reason(error)})") from error
    names, notes = column_names(table, names, first)
    axes = [axis for axis in AXES if axis in names]
    rows, seen = [], {}
    for fields, number in numbered:
        if not any(field.strip() for field in fields):
            continue
        row = {name: field.strip() for name, field in zip(names, fields, strict=False)}
        where = f"{table}, line {number}"
        file = row.get("file")
        if len(fields) > len(names) or not file:
            raise LabError(f"{where}: {len(names)} columns with a file name were expected")
        file = existing_name(table.parent, file)
        target = file if "\0" in file else os.path.realpath(table.parent / file)
        if target in seen:
            raise LabError(f"{where}: each file once was expected, but line {seen[target]} names {shown(file)} too")
        seen[target] = number
        genre = normal_name(row.get("genre", "")) or None
        split = read_split(row, genre, where) if "split" in names else None
        rows.append((file, genre, read_emotions(row, axes, where), row.get("artist") or None, split))
    if not rows:
        raise LabError(f"{table}: at least one file below the first line was expected")
    skipped = []
    if not any(emotions for _, _, emotions, *_ in rows):
        skipped = [(file, "it has no genre in the table") for file, genre, *_ in rows if not genre]
        rows = [(file, genre, None, *rest) for file, genre, _, *rest in rows if genre]
    elif any(split for *_, split in rows):
        notes.append("the column split is for the genre set; steps 8 to 10 split the clips with emotions themselves")
    return Listing(named_songs(rows, skipped), skipped, notes)


def table_text(table):
    """A table as text; LabError where it is none, or not in UTF-8 (UTF-16 is read where a BOM says so)."""
    cure = "save it as CSV UTF-8 (Excel: File, Save as, CSV UTF-8)"
    try:
        with open(table, "rb") as file:
            content = file.read(LARGEST_TABLE + 1)
    except OSError as error:
        raise LabError(f"{table}: a table was expected ({reason(error)})") from error
    if table.suffix.lower() in (*SUFFIXES, *ONLY_FFMPEG) or content.startswith((b"PK", b"Rar!", b"\x1f\x8b", b"ID3")):
        expected = "a folder with a folder for each genre, or a CSV table, was expected"
        found = (
            "not an archive: unpack it, or save a spreadsheet as CSV UTF-8"
            if content.startswith((b"PK", b"Rar!", b"\x1f\x8b"))
            else "not one song"
        )
        raise LabError(f"--audio {table}: {expected}, {found}")
    try:
        text = content.decode("utf-16" if content.startswith((b"\xff\xfe", b"\xfe\xff")) else "utf-8-sig")
    except ValueError as error:
        line = 1 + content.count(b"\n", 0, getattr(error, "start", 0))
        raise LabError(f"{table}, line {line}: a table in UTF-8 was expected; {cure}") from error
    if len(content) > LARGEST_TABLE or text.count("\0") > len(text) // 4:
        raise LabError(f"{table}: a table in UTF-8 was expected; {cure}")
    return text.replace("\ufeff", "")  # as in label files: joined files have one in the middle


def column_names(table, names, first):
    """(the table's column names in lower case, notes); a column with artist in its name serves for `artist`."""
    names, notes = [name.strip().lower() for name in names], []
    axes = [axis for axis in AXES if axis in names]
    if "file" not in names or len(set(names)) < len(names) or len(axes) not in (0, 3) or not (axes or "genre" in names):
        columns = f"file, genre or all of {', '.join(AXES)}, and optionally artist and split"
        raise LabError(f"{table}: the columns {columns} were expected, not {shown(first)}")
    artists = [name for name in names if re.fullmatch(r"(track|song|album)?[ ._-]*artists?([ ._-]*(name|id))?", name)]
    if artists and "artist" not in names:
        names[names.index(artists[0])] = "artist"
        notes.append(f"the column {artists[0]} is taken for artist")
    others = [name for name in names if name not in COLUMNS]
    if others:
        notes.append(f"columns of the table that are not used: {', '.join(map(shown, others))}")
    return names, notes


def existing_name(folder, file):
    """A table's file name as the disk has it: with slashes for backslashes, and in its form of accented letters."""
    slashes = file.replace("\\", "/")
    for name in (file, slashes, *(unicodedata.normalize(form, slashes) for form in ("NFC", "NFD"))):
        with contextlib.suppress(OSError, ValueError):  # ValueError: a name with a NUL in it
            if (folder / name).exists():
                return os.path.normpath(name)
    return os.path.normpath(file)


def read_split(row, genre, where):
    """The split of a table row with a genre, train or test; None for a row without genre."""
    split = row.get("split", "").lower()
    if split in SPLITS or not (genre or split):
        return split if genre else None
    advice = "validation clips are taken out of train by each step"
    raise LabError(f"{where}: train or test was expected in the column split, not {shown(split)}; {advice}")


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
        values = tuple(float(text.replace("_", "?")) for text in texts)  # Python takes 0_5 for 5
    except ValueError:
        values = (math.nan,)
    if not all(math.isfinite(value) and 0 <= value <= 1 for value in values):
        expected = f"a number within 0..1 for each of {', '.join(AXES)}, or none of them, was expected"
        raise LabError(f"{where}: {expected}, not {shown('; '.join(texts))}")
    return values


def named_songs(rows, skipped):
    """[Song] with clip ids, from rows [(file, genre, emotions, artist, split)].

    An id is the file name, in characters that every label file takes. Where two files share it, or it is cut, a short
    hash of the path is added. FMA's tracks without sound are added to `skipped`.
    """
    songs = []
    stems = [re.sub(r"[^\w-]+", "_", normal_name(Path(file).stem)).strip("_") or "song" for file, *_ in rows]
    counts = Counter(stem.casefold() for stem in stems)  # some file systems take Song and song for one name
    for stem, (file, genre, emotions, artist, split) in zip(stems, rows, strict=True):
        if Path(file).suffix.lower() == ".mp3" and stem.isdecimal() and int(stem) in FMA_WITHOUT_SOUND:
            skipped.append((file, "one of the FMA tracks that hold no sound, by its name"))
            continue
        ambiguous = counts[stem.casefold()] > 1 or len(stem) > LONGEST_STEM
        tag = f"-{hashlib.sha256(os.fsencode(file)).hexdigest()[:6]}" if ambiguous else ""
        if genre and ("\t" in genre or "\n" in genre or not is_utf8(genre)):
            raise LabError(f"{file}: a genre in UTF-8 without TAB or line break was expected, not {shown(genre)}")
        ident = stem[:LONGEST_STEM] + tag
        songs.append(Song(file, ident, genre, emotions, artist, split, ident if len(stem) > LONGEST_STEM else stem))
    return songs


def is_utf8(name):
    """Whether a file name is UTF-8; Python keeps the bytes of another encoding as lone surrogates."""
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True
