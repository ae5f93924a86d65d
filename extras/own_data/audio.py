"""Your own music in the lab's layout: audio files become a data folder that every step can read.

The Free Music Archive's files work too; three tracks of its small set hold no sound and are skipped by name.
"""

import concurrent.futures
import functools
import hashlib
import json
import os
import shutil
from collections import Counter
from pathlib import Path

import numpy as np
from filelock import FileLock
from threadpoolctl import threadpool_limits

from common.errors import LabError, reason
from common.features import SAMPLE_RATE
from common.labels import CLASS_MAPPING_FILE, load_class_mapping, normal_name
from common.locations import EMOTIONS, FOLDERS, GENRES
from common.progress import progress
from extras.demo.folder import Clip, start_worker, write_labels
from extras.own_data.extract import fused_spectrograms, read_sound, require_audio
from extras.own_data.listing import list_folder, list_table

SPLITS = ("train", "test")
TAILS = ("", "_beat")
JOURNAL = "audio.jsonl"  # a line for each file that is done; it also marks a folder that --audio made
STAGING = ".extracted"  # keeps the features until all files are done: only then are the clips to split known
EXTRACTOR = 1  # to be raised when the features change, so that older ones are extracted again


def import_audio(source, root, seconds=30.0, test_fraction=0.2, seed=0, processes=None):
    """Extracts features of audio files into a data folder in the lab's layout; resumes where it was stopped.

    Args:
        source: a folder DIR/<genre>/*.mp3, or a CSV table with columns among file, genre, valence, energy,
            danceability, artist.
        root: the data folder; new, empty, or made by an earlier call.
        seconds: at most this much from the middle of each file.
        test_fraction: of each genre's clips, above 0 and below 1.
        seed: of the split.
        processes: by default one per core.
    A clip with a genre goes to the genre set. Where the table has emotions, every clip also goes to the multitask set:
    with emotions to its training split, without to its test split, to be predicted. In the genre set, all clips of an
    artist are in one split.
    Returns {"clips": how many, "skipped": [(file, why)]}. Raises LabError where no file can be read, or `root` cannot
    be written.
    """
    require_audio()
    source, root = Path(source).expanduser().resolve(), Path(root).expanduser().resolve()
    songs, skipped = list_table(source) if source.is_file() else list_folder(source)
    refuse_single_genre(songs)
    folder = source if source.is_dir() else source.parent
    try:
        root.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(root.with_name(f".{root.name}.lock")):
            root.mkdir(exist_ok=True)
            refuse_foreign(root)
            done = extract_all(songs, folder, root, float(seconds), processes, skipped)
            if not done:
                found = f"none of {len(skipped)} files can be read: {first_reasons(skipped)}"
                raise LabError(f"{source}: readable audio was expected, but {found}")
            write_layout(done, root, test_fraction, seed)
    except (OSError, concurrent.futures.BrokenExecutor) as error:
        kept = "what is done is kept, run again"
        raise LabError(f"{root}: the data folder could not be written ({reason(error)}); {kept}") from error
    return {"clips": len(done), "skipped": sorted(skipped)}


def first_reasons(skipped):
    """Why the first three files were skipped."""
    return "; ".join(f"{file}: {text}" for file, text in skipped[:3]) + ("; ..." if len(skipped) > 3 else "")


def refuse_foreign(root):
    """LabError where the folder has files in it and --audio did not make it."""
    names = {path.name for path in root.iterdir()}
    if names and JOURNAL not in names:
        found = f"it holds {min(names)}; nothing was changed"
        raise LabError(f"--data {root}: a new folder, or one that --audio made, was expected, but {found}")


def extract_all(songs, folder, root, seconds, processes, skipped):
    """Extracts the features of all new or changed files; returns the songs that have features.

    The others are added to `skipped`. The journal first loses the lines that are out of date, then it gets one for each
    file that is done.
    """
    (root / STAGING).mkdir(exist_ok=True)
    earlier, wanted, waiting = read_journal(root), {}, []
    for song in songs:
        try:
            status = (folder / song.file).stat()
        except (OSError, ValueError) as error:  # ValueError: a name with a NUL in it
            skipped.append((song.file, f"it cannot be found ({reason(error)})"))
            continue
        metadata = {"bytes": status.st_size, "mtime_ns": status.st_mtime_ns, "seconds": seconds, "extractor": EXTRACTOR}
        wanted[song] = {"id": song.ident, "file": song.file, **metadata}
        if earlier.get(song.ident) != wanted[song] or not all(existing_path(root, song.ident, tail) for tail in TAILS):
            waiting.append(song)
    kept = [song for song in wanted if song not in set(waiting)]
    for ident in earlier.keys() - {song.ident for song in kept}:
        remove(root, ident)
    write_whole(root / JOURNAL, "".join(map(json_line, (wanted[song] for song in kept))))
    done = set(kept)
    with open(root / JOURNAL, "a", encoding="utf-8", errors="backslashreplace") as journal:
        for song, problem in extracted(waiting, folder, root, seconds, processes):
            if problem:
                skipped.append((song.file, problem))
                continue
            journal.write(json_line(wanted[song]))
            journal.flush()
            done.add(song)
    return [song for song in songs if song in done]


def extracted(songs, folder, root, seconds, processes):
    """Yields (song, None or why it has no features), each as soon as it is done."""
    work = functools.partial(extract_one, folder=folder, staging=root / STAGING, seconds=seconds)
    processes = min(processes or os.cpu_count() or 1, len(songs))
    if processes <= 1:
        yield from ((song, work(song)) for song in progress(songs, "extracting features", "file"))
        return
    compile_extractor()
    with concurrent.futures.ProcessPoolExecutor(processes, initializer=start_worker) as pool:
        futures = {pool.submit(work, song): song for song in songs}
        try:
            done = concurrent.futures.as_completed(futures)
            for future in progress(done, "extracting features", "file", total=len(songs)):
                yield futures[future], future.result()
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise


def compile_extractor():
    """Makes librosa compile its functions and cache them, before several processes do so at once.

    Processes that compile at the same time can corrupt numba's cache on disk, and then every later process crashes.
    """
    fused_spectrograms(np.random.default_rng(0).normal(size=SAMPLE_RATE).astype(np.float32))


def extract_one(song, folder, staging, seconds):
    """Writes a file's features, full and beat-synced, to the staging folder; returns None, or why it has none."""
    try:
        with threadpool_limits(1):  # one file per core; with more threads the last bits would differ
            arrays = fused_spectrograms(read_sound(folder / song.file, seconds))
    except LabError as error:
        return str(error).removeprefix(f"{folder / song.file}: ")
    except Exception as error:  # one odd file must not stop the others
        return f"no features could be extracted from it ({reason(error)})"
    for tail, array in zip(TAILS, arrays, strict=True):
        unfinished = staging / f"{song.ident}{tail}.part"
        with open(unfinished, "wb") as file:
            np.save(file, array)
        os.replace(unfinished, staging / f"{song.ident}{tail}.npy")
    return None


def read_journal(root):
    """{clip id: entry of its file}; a line that was cut off is ignored."""
    entries = {}
    path = root / JOURNAL
    for line in path.read_text(encoding="utf-8").splitlines() if path.exists() else ():
        try:
            entry = json.loads(line)
            entries[entry["id"]] = entry
        except (ValueError, TypeError, KeyError):
            continue
    return entries


def json_line(entry):
    return json.dumps(entry, ensure_ascii=False) + "\n"


def possible_paths(root, ident, tail):
    """{(set, split): path} of the four paths that a clip's file may have; tail: "", or "_beat" for beat-synced."""
    return {
        (name, split): root / f"{name}{tail}" / split / f"{ident}.fused.full.npy"
        for name in (GENRES, EMOTIONS)
        for split in SPLITS
    }


def existing_path(root, ident, tail):
    """The file with the clip's features, in the staging folder or in a split; None where there is none."""
    paths = [root / STAGING / f"{ident}{tail}.npy", *possible_paths(root, ident, tail).values()]
    return next((path for path in paths if path.exists()), None)


def remove(root, ident):
    for tail in TAILS:
        for path in [root / STAGING / f"{ident}{tail}.npy", *possible_paths(root, ident, tail).values()]:
            path.unlink(missing_ok=True)


def refuse_single_genre(songs):
    genres = {song.genre for song in songs} - {None}
    if len(genres) == 1:
        raise LabError(f"at least two genres were expected, but all readable files are {min(genres)}")


def write_layout(songs, root, test_fraction, seed):
    """Moves every clip to its split, and writes label files and class table; a set without clips gets no folder."""
    refuse_single_genre(songs)
    test_ids = choose_test_ids(songs, test_fraction, seed)
    clips, emotions = [], []
    for song in sorted(songs, key=lambda song: song.ident):
        splits = []  # [(set, split)]
        if song.genre:
            splits.append((GENRES, "test" if song.ident in test_ids else "train"))
        if song.emotions is not None:
            splits.append((EMOTIONS, "train" if song.emotions else "test"))
        move_clip(root, song.ident, splits)
        clips += [Clip(*split, song.ident, song.genre) for split in splits]
        emotions += [song.emotions or ()] * len(splits)
    for folder in FOLDERS:
        (root / STAGING / folder).mkdir(exist_ok=True)
    write_labels(clips, emotions, root / STAGING)
    for path in (root / STAGING).glob("*/*_labels.txt"):
        folder = root / path.parent.name
        if path.parent.name.removesuffix("_beat") in {clip.set for clip in clips}:
            os.replace(path, folder / path.name)
        else:
            shutil.rmtree(folder, ignore_errors=True)
    shutil.rmtree(root / STAGING)
    genres, table = sorted({song.genre for song in songs} - {None}), root / CLASS_MAPPING_FILE
    if genres:
        existing = load_class_mapping(root) if table.exists() else {}  # the user's merged classes stay merged
        mapping = {genre: existing.get(genre, genre) for genre in genres}
        write_whole(table, json.dumps(mapping, ensure_ascii=False, indent=1) + "\n")


def move_clip(root, ident, splits):
    """Moves a clip's two files to exactly these splits, [(set, split)].

    If the process is killed at any point, a copy of each file is left to continue from.
    """
    for tail in TAILS:
        source, staged = existing_path(root, ident, tail), root / STAGING / f"{ident}{tail}.npy"
        targets = possible_paths(root, ident, tail)
        for name, split in splits:
            target = targets[name, split]
            for each in SPLITS:
                targets[name, each].parent.mkdir(parents=True, exist_ok=True)
            if source == staged or not target.exists():
                shutil.copyfile(source, target.with_name(target.name + ".part"))
                os.replace(target.with_name(target.name + ".part"), target)
        for other in targets.keys() - set(splits):
            targets[other].unlink(missing_ok=True)
        staged.unlink(missing_ok=True)


def choose_test_ids(songs, test_fraction, seed):
    """The ids of the test split: about test_fraction of each genre's clips, all clips of an artist or none.

    A song without an artist counts as an artist of its own. The artists are ordered by a hash of seed and name, so that
    one more song changes the split of few others. An artist goes to the test split if that brings the genres closer to
    their test sizes, which are at least one clip of a genre with two or more.
    """
    sizes = Counter(song.genre for song in songs if song.genre)
    wanted = {genre: min(max(1, round(size * test_fraction)), size - 1) for genre, size in sizes.items()}
    groups = {}
    for song in songs:
        if song.genre:
            artist = f"artist {normal_name(song.artist).casefold()}" if song.artist else f"song {song.ident}"
            groups.setdefault(artist, []).append(song)
    test_ids, chosen = set(), Counter()
    for artist in sorted(groups, key=lambda name: hashlib.sha256(f"{seed} {name}".encode()).digest()):
        counts = Counter(song.genre for song in groups[artist])
        gain = sum(
            abs(wanted[genre] - chosen[genre]) - abs(wanted[genre] - chosen[genre] - count)
            for genre, count in counts.items()
        )
        if gain > 0 and all(chosen[genre] + count < sizes[genre] for genre, count in counts.items()):
            chosen += counts
            test_ids |= {song.ident for song in groups[artist]}
    if sizes and not test_ids:
        raise LabError("clips for a test split were expected, but no genre has two songs of different artists")
    return test_ids


def write_whole(path, text):
    path.with_name(path.name + ".part").write_text(text, encoding="utf-8", errors="backslashreplace")  # as files.py
    os.replace(path.with_name(path.name + ".part"), path)
