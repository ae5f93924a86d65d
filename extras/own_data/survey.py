"""A survey of a data folder: checks the files of the lab's four folders against the label files."""

import contextlib
import gzip
from collections import Counter

import numpy as np

from common.errors import LabError, reason
from common.features import N_MELS
from common.files import checksum
from common.labels import AXES, read_emotion_labels, read_genre_labels
from common.locations import EMOTIONS, FOLDERS, GENRES
from common.notes import EXPECTED, is_odd, similar_names
from common.progress import progress
from common.reading import find_spectrograms, parse_header, read_fused_spectrogram
from extras.own_data.audio import JOURNAL
from extras.own_data.kaggle import known_counts
from extras.writeup.expected import EMOTION_CLIPS, GENRE_CLIPS, SHARED_IDS

SPLITS = ("train", "test")
NAMED = 5  # missing files that are listed by name; the others are only counted
LISTED = 100  # likewise, ids in both sets


def survey_data(data, headers_only=False):
    """Counts and checks all files of the lab's four folders; an error does not stop it.

    Args:
        data: LabData.
        headers_only: check a file by header and size, without reading its values.
    Returns a dictionary for JSON: splits {"<folder>/<split>": see survey_split}, genres {genre: {class, train, test}},
    axes {axis: [min, mean, max, variance]}, which (is it the lab's set?), errors (missing folders, broken label files)
    and notes (what may be a surprise).
    """
    splits, labels, errors, left_out = {}, {}, [], sets_left_out(data)
    for folder in FOLDERS:
        if folder.removesuffix("_beat") in left_out:
            continue
        if not (data.path / folder).is_dir():
            errors.append(f"{data.path / folder}: each of the lab's four folders was expected, this one is missing")
            continue
        for split in SPLITS:
            key = f"{folder}/{split}"
            labels[key] = read_split_labels(data, folder, split, errors)
            splits[key] = survey_split(data.path / folder, split, labels[key], headers_only, errors)
    which = "another set: demo music" if data.demo else which_set(*counts_and_gaps(splits, labels))
    notes = [f"{name}: your own music has no clips for it" for name in left_out]
    return {
        "splits": splits,
        "genres": count_genres(labels, data.class_mapping),
        "axes": describe_axes(labels),
        "which": which,
        "errors": errors,
        "notes": [*notes, *odd_files(data, splits), *odd_names(data, labels), *compare_splits(splits, labels)],
    }


def sets_left_out(data):
    """The sets without a folder in --audio's data, because no clip has a genre, or none has emotions."""
    own = (data.path / JOURNAL).exists()
    return [name for name in (GENRES, EMOTIONS) if own and not any(data.path.glob(f"{name}*"))]


def read_split_labels(data, folder, split, errors):
    """[(clip id, label, line number)] of one split; None if it has no labels or they cannot be read.

    What is wrong with a label file is added to `errors`. Genres that only the class table lacks are still returned.
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
        with contextlib.suppress(LabError):  # if only the class table lacks a genre, the clips can still be counted
            return read_genre_labels(label_file, None)
    return None


def survey_split(folder, split, rows, headers_only, errors):
    """Counts and checks one split of one folder.

    rows: its labels as read_split_labels returns them, or None. Returns ids, checksums {id: of its values}, bytes,
    frames [min, mean, max], dtypes {name: files}, mel and chroma [min, max] or, if only headers are read, None, the
    number of labelled clips, and the files that are missing, unlabelled, unreadable, of odd values (see
    common.notes.is_odd), or none of a clip.
    """
    try:
        files = find_spectrograms(folder / split)
        used = {path.name for path in files.values()}
        names = sorted(path.name for path in (folder / split).iterdir())
        unused = [name for name in names if name not in used and not name.startswith(".")]
    except LabError as error:
        errors.append(str(error))
        files, unused = {}, []
        rows = None if (folder / split).is_dir() else rows  # where names clash, no clip is missing
    measured, unreadable, checksums = [], [], {}
    for ident, path in progress(files.items(), f"reading {folder.name}/{split}", "clip"):
        try:
            measured.append({"path": str(path), **measure_file(path, headers_only)})
            checksums[ident] = measured[-1].pop("checksum", None)
        except LabError as error:
            unreadable.append(str(error))
    frames = [metadata["frames"] for metadata in measured]
    lines = {ident: line for ident, _, line in rows or []}
    missing = [ident for ident in lines if ident not in files]
    label_file = f"{split}_labels.txt"
    return {
        "ids": list(files),
        "checksums": {} if headers_only else checksums,
        "bytes": sum(metadata["bytes"] for metadata in measured),
        "frames": [min(frames), sum(frames) / len(frames), max(frames)] if frames else None,
        "dtypes": dict(Counter(metadata["dtype"] for metadata in measured)),
        "mel": value_range(measured, "mel"),
        "chroma": value_range(measured, "chroma"),
        "labelled": len(lines),
        "missing": [f"{folder / split / i}.fused.full.npy ({label_file}, line {lines[i]})" for i in missing],
        "unlabelled": [] if rows is None else [str(path) for ident, path in files.items() if ident not in lines],
        "unreadable": unreadable,
        "odd": [metadata["path"] for metadata in measured if metadata.get("odd")],
        "unused": unused,
    }


def measure_file(path, headers_only):
    """{bytes, frames, dtype} of a spectrogram file; unless headers_only, also mel and chroma [min, max], odd?, a checksum.

    Raises LabError if the file is damaged.
    """
    metadata = read_header(path)
    if not headers_only:
        clip = read_fused_spectrogram(path)
        metadata["checksum"] = checksum(clip.astype(np.float16))  # as SpectrogramDataset keeps it
        for name, part in (("mel", clip[:, :N_MELS]), ("chroma", clip[:, N_MELS:])):
            metadata[name] = [float(part.min()) + 0.0, float(part.max()) + 0.0]  # + 0.0 turns -0 into 0
        metadata["odd"] = is_odd(clip)
    return metadata


def read_header(path):
    """{bytes, frames, dtype} of a .npy or .npy.gz file from its header.

    Raises LabError unless it is a (140, T) array of floats and the file has the size that the header implies. The size
    of a gzipped file is not checked.
    """
    try:
        size = path.stat().st_size
        with (gzip.open if path.name.endswith(".gz") else open)(path, "rb") as file:
            shape, _, dtype, body = parse_header(file)
            expected = file.tell() + body
    except LabError as error:
        raise LabError(f"{path}: {error}") from error
    except Exception as error:  # a damaged file can make numpy and zlib raise anything
        raise LabError(f"{path}: a readable .npy file was expected ({reason(error)})") from error
    if size != expected and not path.name.endswith(".gz"):
        raise LabError(f"{path}: {expected} bytes were expected from its header, but there are {size}")
    return {"bytes": size, "frames": shape[1], "dtype": dtype.name}


def value_range(measured, part):
    ranges = [metadata[part] for metadata in measured if part in metadata]
    return [min(low for low, _ in ranges), max(high for _, high in ranges)] if ranges else None


def count_genres(labels, class_mapping):
    """{genre: {"class", "train": clips, "test": clips}}, sorted by name.

    The class is None if the genre is dropped and "?" if the table lacks it. Counts the label files of the full-length
    clips, or of the beat-synced ones if there are no others.
    """
    folders = (GENRES, f"{GENRES}_beat")
    folder = next((each for each in folders if any(labels.get(f"{each}/{split}") for split in SPLITS)), GENRES)
    counts = {split: Counter(genre for _, genre, _ in labels.get(f"{folder}/{split}") or []) for split in SPLITS}
    return {
        genre: {"class": class_mapping.get(genre, "?"), **{split: counts[split][genre] for split in SPLITS}}
        for genre in sorted(counts["train"] | counts["test"])
    }


def counts_and_gaps(splits, labels):
    """The arguments of which_set, (files, labelled, gaps), from the splits and labels of a survey.

    files: {"<folder>/<split>": number of spectrograms}.
    labelled: {"<folder>/<split>": number of labelled clips, {genre: clips} for genres}, of all readable label files.
    gaps: {"<folder>/<split>": files that are missing although a label, or the full or beat-synced twin folder, has the
    clip}.
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
        ids = {name: set(splits[name]["ids"]) if name in splits else set() for name in (key, twin)}
        expected = ids[twin] | {ident for ident, *_ in readable.get(key, [])}
        gaps[key] = [f"{key}/{ident}.fused.full.npy" for ident in sorted(expected - ids[key])]
    return files, labelled, gaps


def which_set(files, labelled, gaps):
    """A sentence: the lab's set, the lab's set with missing files, or another set and why. Takes counts_and_gaps.

    It is the lab's set if every readable label file, at least one, has the lab's number of clips of every genre, and no
    split has more files than the lab's.
    """
    lab: dict[str, int | dict[str, int]] = {f"{EMOTIONS}{tail}/train": EMOTION_CLIPS[0] for tail in ("", "_beat")}
    for number, split in enumerate(SPLITS):
        by_genre = {genre: counts[number] for genre, counts in GENRE_CLIPS.items()}
        lab |= {f"{GENRES}/{split}": by_genre, f"{GENRES}_beat/{split}": by_genre}
    for key, counts in labelled.items():
        if counts != lab[key]:
            ours, theirs = (each if isinstance(each, int) else sum(each.values()) for each in (counts, lab[key]))
            genres = ", of other genres" * (ours == theirs)
            return f"another set: {key} has labels for {ours} clips, the lab's for {theirs}{genres}"
    more = [
        f"{key} has {count} files, the lab's has {known_counts()[key]}"
        for key, count in files.items()
        if count > known_counts()[key]
    ]
    if more or not labelled:
        return f"another set: {more[0] if more else 'no label file can be read'}"
    missing = [f"{key}_labels.txt" for key in lab if key not in labelled]
    count = len(missing)
    for key, expected in known_counts().items():
        lacking = expected - files.get(key, 0)
        missing += gaps[key][:lacking]
        count += lacking
    if not count:
        return "the lab's set"
    named = ", ".join(missing[:NAMED])
    rest = count - len(missing[:NAMED])
    others = f" and {rest} more" if named and rest else f"{rest} files" if rest else ""
    return f"the lab's set, with these files missing: {named}{others}"


def describe_axes(labels):
    """{axis: [min, mean, max, variance]} of the emotion labels; the variance is the MSE of the constant predictor."""
    rows = labels.get(f"{EMOTIONS}/train") or labels.get(f"{EMOTIONS}_beat/train")
    if not rows:
        return {}
    columns = np.array([values for _, values, _ in rows]).T
    statistics = (np.min, np.mean, np.max, np.var)
    return {name: [float(each(column)) for each in statistics] for name, column in zip(AXES, columns, strict=True)}


def odd_files(data, splits):
    """Sentences on files with odd values, files that are not read, and full-length clips as short as beat-synced ones."""
    notes = []
    for key, split in splits.items():
        if split["odd"]:
            count = f"{len(split['odd'])} of {len(split['ids'])} clips, among them {split['odd'][0]}"
            notes.append(f"{key}: {count}, do not have {EXPECTED}")
        if split["unused"]:
            names = ", ".join(split["unused"][:NAMED]) + " and others" * (len(split["unused"]) > NAMED)
            notes.append(
                f"{key}: {len(split['unused'])} more names are not read, a clip is one .npy or .npy.gz file: {names}"
            )
        beat = splits.get(key.replace("/", "_beat/"), {}).get("frames")
        if split["frames"] and beat and split["frames"][1] <= beat[1]:
            means = f"{split['frames'][1]:.1f} frames on average, those of its beat-synced folder {beat[1]:.1f}"
            notes.append(f"{key}: its clips have {means}; are full and beat-synced clips swapped?")
    for folder in (EMOTIONS, f"{EMOTIONS}_beat"):
        if (data.path / folder / "test_labels.txt").exists():
            notes.append(
                f"{folder}/test_labels.txt: it is not read, because the lab's test split has no emotion labels"
            )
    return notes


def odd_names(data, labels):
    """Sentences on genres of different classes, or classes, whose names differ only in case, hyphens or blanks."""
    rows = [row for key, found in labels.items() if key.startswith(GENRES) for row in found or []]
    classes = {genre: data.class_mapping.get(genre, "?") for _, genre, _ in rows}
    pairs = [pair for pair in similar_names(classes) if classes[pair[0]] != classes[pair[1]]]
    pairs += similar_names(set(classes.values()) - {None})
    return [f"{one!r} and {other!r} are two classes, but nearly the same name" for one, other in dict.fromkeys(pairs)]


def compare_splits(splits, labels):
    """Sentences on clips that are in both splits, in only one of two twin folders, in both sets, or labelled twice."""
    ids = {key: set(split["ids"]) for key, split in splits.items()}
    notes = []
    for folder in FOLDERS:
        shared = ids.get(f"{folder}/train", set()) & ids.get(f"{folder}/test", set())
        if shared:
            notes.append(f"{folder}: {len(shared)} clips are in both splits, among them '{min(shared)}'")
    for key in [f"{folder}/{split}" for folder in (GENRES, EMOTIONS) for split in SPLITS]:
        beat = key.replace("/", "_beat/")
        if key in ids and beat in ids and ids[key] != ids[beat]:
            single = ids[key] ^ ids[beat]
            notes.append(f"{key}: {len(single)} clips are only there or only in {beat}, among them '{min(single)}'")
        full_labels, beat_labels = (
            {ident: label for ident, label, _ in labels.get(each) or []} for each in (key, beat)
        )
        common = full_labels.keys() & beat_labels.keys()
        unlike = [ident for ident in common if full_labels[ident] != beat_labels[ident]]
        if unlike:
            notes.append(f"{key}: {len(unlike)} clips have another label in {beat}, among them '{min(unlike)}'")
    in_genres, in_emotions = (
        set().union(*(ids.get(f"{folder}/{split}", set()) for split in SPLITS)) for folder in (GENRES, EMOTIONS)
    )
    if in_genres & in_emotions:
        both = sorted(in_genres & in_emotions)
        listed = ", ".join(both[:LISTED]) + (f" and {len(both) - LISTED} more" if len(both) > LISTED else "")
        caveat = f"{SHARED_IDS} in the lab's set; the same id need not be the same song"
        notes.append(f"ids in both the genre and the multitask folders: {len(both)} ({caveat}): {listed}")
    return notes + compare_contents(splits, labels)


def compare_contents(splits, labels):
    """Sentences on clips with equal values under different ids: in both splits, with different labels, in both sets."""
    notes, contents = [], {}
    for folder in FOLDERS:
        found: dict = {}  # {checksum: [(split, id, label)]}
        for split in SPLITS:
            known = {ident: label for ident, label, _ in labels.get(f"{folder}/{split}") or []}
            for ident, content in splits.get(f"{folder}/{split}", {}).get("checksums", {}).items():
                found.setdefault(content, []).append((split, ident, known.get(ident)))
        groups = [rows for rows in found.values() if len({ident for _, ident, _ in rows}) > 1]
        kinds = {
            "are in both splits": [rows for rows in groups if len({split for split, *_ in rows}) > 1],
            "are in one split": [rows for rows in groups if len({split for split, *_ in rows}) == 1],
            "have different labels": [rows for rows in groups if len({label for *_, label in rows} - {None}) > 1],
        }
        for what, chosen in kinds.items():
            if chosen:
                count, ids = sum(map(len, chosen)), list(dict.fromkeys(ident for _, ident, _ in chosen[0]))[:2]
                example = f"among them '{ids[0]}' and '{ids[1]}'"
                notes.append(f"{folder}: {count} clips of equal content under different ids {what}, {example}")
        contents[folder] = {content: {ident for _, ident, _ in rows} for content, rows in found.items()}
    pairs = [
        (contents[GENRES][each], contents[EMOTIONS][each]) for each in contents[GENRES].keys() & contents[EMOTIONS]
    ]
    pairs = sorted((min(one), min(other)) for one, other in pairs if not one & other)
    if pairs:
        example = "for example '{}' and '{}'".format(*pairs[0])
        where = "in the genre and the multitask folders"
        notes.append(f"clips of equal content under different ids {where}: {len(pairs)}, {example}")
    return notes
