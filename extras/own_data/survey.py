"""What lies in a data folder: each file of the lab's four folders beside its label file, so that whatever is amiss has
a name.
"""

import contextlib
import gzip
from collections import Counter

import numpy as np

from common.errors import LabError, reason
from common.features import N_MELS
from common.labels import AXES, read_emotion_labels, read_genre_labels
from common.locations import EMOTIONS, FOLDERS, GENRES
from common.progress import progress
from common.reading import find_spectrograms, parse_header, read_fused_spectrogram
from extras.own_data.audio import JOURNAL
from extras.own_data.kaggle import known_counts
from extras.writeup.expected import EMOTION_CLIPS, GENRE_CLIPS, SHARED_IDS

SPLITS = ("train", "test")
NAMED = 5  # files that the lab's set lacks, before they are only counted
LISTED = 100  # ids that two sets share, likewise


def survey_data(data, headers_only=False):
    """Counts and checks all that the lab's four folders hold, and goes on behind whatever is wrong.

    data: LabData; headers_only: judge a file by header and size instead of reading its values. Returns a dictionary
    that JSON can hold: splits {"<folder>/<split>": see survey_split}, genres {genre: {class, train, test}}, axes {axis:
    [min, mean, max, variance]}, which (is it the lab's set?), errors (sentences: folders absent, label files broken)
    and notes (what may surprise).
    """
    splits, labels, errors, left_out = {}, {}, [], sets_left_out(data)
    for folder in FOLDERS:
        if folder.removesuffix("_beat") in left_out:
            continue
        if not (data.path / folder).is_dir():
            errors.append(
                f"{data.path / folder}: each of the lab's four folders was expected, but this one is not there"
            )
            continue
        for split in SPLITS:
            key = f"{folder}/{split}"
            labels[key] = read_split_labels(data, folder, split, errors)
            splits[key] = survey_split(data.path / folder, split, labels[key], headers_only, errors)
    return {
        "splits": splits,
        "genres": count_genres(labels, data.class_mapping),
        "axes": describe_axes(labels),
        "which": "another set: demo music, composed by program"
        if data.demo
        else which_set(*counts_and_gaps(splits, labels)),
        "errors": errors,
        "notes": [
            *(f"{name}: your own music has no clips for it" for name in left_out),
            *compare_splits(splits, labels),
        ],
    }


def sets_left_out(data):
    """The sets that --audio made no folders for, since no clip had a genre, or none an emotion."""
    return [
        name for name in (GENRES, EMOTIONS) if (data.path / JOURNAL).exists() and not any(data.path.glob(f"{name}*"))
    ]


def read_split_labels(data, folder, split, errors):
    """[(clip id, label, line number)] of one split; None where it has no labels or its file is broken, which `errors`
    then tells.
    """
    label_file = data.path / folder / f"{split}_labels.txt"
    is_emotions = folder.startswith(EMOTIONS)
    if is_emotions and split == "test":
        return None  # the competition's split
    try:
        return read_emotion_labels(label_file) if is_emotions else read_genre_labels(label_file, data.class_mapping)
    except LabError as error:
        errors.append(str(error))
    if not is_emotions:
        with contextlib.suppress(LabError):
            return read_genre_labels(
                label_file, None
            )  # where only the table lacks a genre, the clips can still be counted
    return None


def survey_split(folder, split, rows, headers_only, errors):
    """One split of one folder: ids, bytes, labelled, missing, unlabelled, unreadable; frames [min, mean, max], dtypes
    {name: files}.

    rows: its labels, None where there are none. mel and chroma are [smallest, largest value], None unless the values
    were read.
    """
    try:
        files = find_spectrograms(folder / split)
    except LabError as error:
        errors.append(str(error))
        files = {}
    measured, unreadable = [], []
    for path in progress(files.values(), f"reading {folder.name}/{split}", "clip"):
        try:
            measured.append(measure_file(path, headers_only))
        except LabError as error:
            unreadable.append(str(error))
    frames = [metadata["frames"] for metadata in measured]
    labelled = {ident: line for ident, _, line in rows or []}
    label_file = f"{split}_labels.txt"
    return {
        "ids": list(files),
        "bytes": sum(metadata["bytes"] for metadata in measured),
        "frames": [min(frames), sum(frames) / len(frames), max(frames)] if frames else None,
        "dtypes": dict(Counter(metadata["dtype"] for metadata in measured)),
        "mel": value_range(measured, "mel"),
        "chroma": value_range(measured, "chroma"),
        "labelled": len(labelled),
        "missing": [
            f"{folder / split / ident}.fused.full.npy ({label_file}, line {line})"
            for ident, line in labelled.items()
            if ident not in files
        ],
        "unlabelled": [] if rows is None else [str(path) for ident, path in files.items() if ident not in labelled],
        "unreadable": unreadable,
    }


def measure_file(path, headers_only):
    """{bytes, frames, dtype} of a spectrogram file, and unless headers_only the ranges of its values; LabError when it
    is damaged.
    """
    metadata = read_header(path)
    if not headers_only:
        clip = read_fused_spectrogram(path)
        for name, part in (("mel", clip[:, :N_MELS]), ("chroma", clip[:, N_MELS:])):
            metadata[name] = [float(part.min()) + 0.0, float(part.max()) + 0.0]  # + 0.0 makes a 0 of -0
    return metadata


def read_header(path):
    """{bytes, frames, dtype} of a .npy or .npy.gz file from its header; LabError unless a whole (140, T) array of
    floats can lie in it.

    What a gzipped file holds behind its header is only known to whoever reads it.
    """
    try:
        size = path.stat().st_size
        with (gzip.open if path.name.endswith(".gz") else open)(path, "rb") as file:
            shape, _, dtype, body = parse_header(file)
            expected = file.tell() + body
    except LabError as error:
        raise LabError(f"{path}: {error}") from error
    except Exception as error:  # damaged bytes make numpy and zlib raise nearly anything
        raise LabError(f"{path}: a readable .npy file was expected ({reason(error)})") from error
    if size != expected and not path.name.endswith(".gz"):
        raise LabError(f"{path}: {expected} bytes were expected by its header, but there are {size}")
    return {"bytes": size, "frames": shape[1], "dtype": dtype.name}


def value_range(measured, part):
    ranges = [metadata[part] for metadata in measured if part in metadata]
    return [min(low for low, _ in ranges), max(high for _, high in ranges)] if ranges else None


def count_genres(labels, class_mapping):
    """{genre: {"class": its class, None where it is dropped, "?" where the table lacks it; "train": clips, "test":
    clips}} by name.

    Counted in the label files of full length, or in the beat-synced ones where there are no others.
    """
    folder = next(
        (folder for folder in (GENRES, f"{GENRES}_beat") if any(labels.get(f"{folder}/{split}") for split in SPLITS)),
        GENRES,
    )
    counts = {split: Counter(genre for _, genre, _ in labels.get(f"{folder}/{split}") or []) for split in SPLITS}
    return {
        genre: {"class": class_mapping.get(genre, "?"), **{split: counts[split][genre] for split in SPLITS}}
        for genre in sorted(counts["train"] | counts["test"])
    }


def counts_and_gaps(splits, labels):
    """What which_set asks for, from the splits and the labels of a survey.

    files: {"<folder>/<split>": number of spectrograms}; labelled: {"<folder>/<split>": clips with a label, {genre: clips}
    for genres}, of the label files that could be read; gaps: {"<folder>/<split>": names of files that should be there,
    as its labels or its twin, full or beat-synced, say}.
    """
    files = {key: len(split["ids"]) for key, split in splits.items()}
    readable = {key: rows for key, rows in labels.items() if rows is not None}
    labelled = {
        key: Counter(genre for _, genre, _ in rows) if key.startswith(GENRES) else len(rows)
        for key, rows in readable.items()
    }
    gaps = {}
    for key in known_counts():
        folder, split = key.split("/")
        twin = f"{folder.removesuffix('_beat') if folder.endswith('_beat') else folder + '_beat'}/{split}"
        there = {name: set(splits[name]["ids"]) if name in splits else set() for name in (key, twin)}
        expected = there[twin] | {ident for ident, *_ in readable.get(key, [])}
        gaps[key] = [f"{key}/{ident}.fused.full.npy" for ident in sorted(expected - there[key])]
    return files, labelled, gaps


def which_set(files, labelled, gaps):
    """A sentence: the lab's set; the lab's set, with these files missing; or another set, and by what. See
    counts_and_gaps for all three.

    It is the lab's where every label file that can be read, one at least, has as many clips of every genre, and no split
    has a file more.
    """
    known: dict[str, int | dict[str, int]] = {f"{EMOTIONS}{tail}/train": EMOTION_CLIPS[0] for tail in ("", "_beat")}
    for number, split in enumerate(SPLITS):
        by_genre = {genre: counts[number] for genre, counts in GENRE_CLIPS.items()}
        known |= {f"{GENRES}/{split}": by_genre, f"{GENRES}_beat/{split}": by_genre}
    for key, counts in labelled.items():
        if counts != known[key]:
            ours, theirs = (each if isinstance(each, int) else sum(each.values()) for each in (counts, known[key]))
            return f"another set: {key} has labels for {ours} clips, the lab's for {theirs}{', of other genres' * (ours == theirs)}"
    more = [
        f"{key} has {count} files, the lab's has {known_counts()[key]}"
        for key, count in files.items()
        if count > known_counts()[key]
    ]
    if more or not labelled:
        return f"another set: {more[0] if more else 'no label file can be read'}"
    lacking = [f"{key}_labels.txt" for key in known if key not in labelled]
    count = len(lacking)
    for key, expected in known_counts().items():
        short = expected - files.get(key, 0)
        lacking += gaps[key][:short]
        count += short
    if not count:
        return "the lab's set"
    named = ", ".join(lacking[:NAMED])
    rest = count - len(lacking[:NAMED])
    return f"the lab's set, with these files missing: {named}{f' and {rest} more' if named and rest else f'{rest} files' if rest else ''}"


def describe_axes(labels):
    """{axis: [min, mean, max, variance]} of the emotion labels; a model that always says the mean has the variance as
    its squared error.
    """
    rows = labels.get(f"{EMOTIONS}/train") or labels.get(f"{EMOTIONS}_beat/train")
    if not rows:
        return {}
    columns = np.array([values for _, values, _ in rows]).T
    figures = (np.min, np.mean, np.max, np.var)
    return {name: [float(figure(column)) for figure in figures] for name, column in zip(AXES, columns, strict=True)}


def compare_splits(splits, labels):
    """Sentences on what the folders have in common and should not, or should and have not."""
    ids = {key: set(split["ids"]) for key, split in splits.items()}
    notes = []
    for folder in FOLDERS:
        shared = ids.get(f"{folder}/train", set()) & ids.get(f"{folder}/test", set())
        if shared:
            notes.append(f"{folder}: {len(shared)} clips lie on both splits, among them '{min(shared)}'")
    for key in [f"{folder}/{split}" for folder in (GENRES, EMOTIONS) for split in SPLITS]:
        beat = key.replace("/", "_beat/")
        if key in ids and beat in ids and ids[key] != ids[beat]:
            notes.append(
                f"{key}: {len(ids[key] ^ ids[beat])} clips lie there or in {beat} alone, among them '{min(ids[key] ^ ids[beat])}'"
            )
        full_labels, beat_labels = (
            {ident: label for ident, label, _ in labels.get(each) or []} for each in (key, beat)
        )
        unlike = [
            ident for ident in full_labels.keys() & beat_labels.keys() if full_labels[ident] != beat_labels[ident]
        ]
        if unlike:
            notes.append(f"{key}: {len(unlike)} clips have another label in {beat}, among them '{min(unlike)}'")
    in_genres, in_emotions = (
        set().union(*(ids.get(f"{folder}/{split}", set()) for split in SPLITS)) for folder in (GENRES, EMOTIONS)
    )
    if in_genres & in_emotions:
        both = sorted(in_genres & in_emotions)
        notes.append(
            f"ids that stand in the genre and in the multitask folders: {len(both)} ({SHARED_IDS} in the lab's set; an equal id need not "
            f"be an equal song): {', '.join(both[:LISTED])}{f' and {len(both) - LISTED} more' if len(both) > LISTED else ''}"
        )
    return notes
