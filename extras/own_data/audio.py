"""Your own music in the lab's layout: audio files become a data folder that every step can read.

The Free Music Archive's files work too; three tracks of its small set hold no sound and are skipped by name.
"""

import concurrent.futures
import contextlib
import functools
import json
import os
import shutil
from pathlib import Path

import numpy as np
from filelock import FileLock
from threadpoolctl import threadpool_limits

from common.errors import LabError, reason, shown
from common.features import SAMPLE_RATE
from common.labels import CLASS_MAPPING_FILE, load_class_mapping
from common.locations import EMOTIONS, FOLDERS, GENRES
from common.progress import note, progress
from extras.demo.folder import Clip, start_worker, write_labels
from extras.own_data.extract import SHORTEST, fused_spectrograms, read_sound, require_audio
from extras.own_data.listing import SPLITS, list_folder, list_table, print_skipped
from extras.own_data.split import choose_test_ids, describe_split, refuse_single_genre

TAILS = ("", "_beat")
JOURNAL = "audio.jsonl"  # a line for each file whose features are there; it also marks a folder that --audio made
STAGING = ".extracted"  # keeps new features and their journal until all are done: finished ones stay until then
EXTRACTOR = 2  # to be raised when the features change, so that older ones are extracted again


def import_audio(source, root, seconds=30.0, test_fraction=None, seed=0, processes=None):
    """Extracts features of audio files into a data folder in the lab's layout; resumes where it was stopped.

    Args:
        source: a folder DIR/<genre>/*.mp3, or a CSV table with columns among file, genre, valence, energy,
            danceability, artist, split.
        root: the data folder; new, empty, or made by an earlier call. What is in it stays until all that is new is done.
        seconds: at most this much from the middle of each file; at least 2.
        test_fraction: of each genre's clips, above 0 and below 1; by default 0.2. Not with a column split.
        seed: of the split.
        processes: by default one per core.
    A clip with a genre goes to the genre set. Where the table has emotions, every clip also goes to the multitask set:
    with emotions to its training split, without to its test split, to be predicted. In the genre set, all clips of an
    artist are in one split, unless the column split says otherwise.
    Returns {"clips": how many, "skipped": [(file, why)], "notes": [sentence on what may be a surprise]}. Raises LabError
    where no file can be read, or `root` cannot be written.
    """
    require_audio()
    if seconds < SHORTEST:
        raise LabError(f"--seconds {seconds:g}: clips of at least {SHORTEST:g} s were expected")
    source, root = Path(source).expanduser().resolve(), Path(root).expanduser().resolve()
    songs, skipped, notes = list_table(source) if source.is_file() else list_folder(source)
    refuse_single_genre(songs)
    choose_test_ids(songs, test_fraction, seed)  # what it refuses is not to be refused after an hour
    folder = source if source.is_dir() else source.parent
    try:
        root.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(root.with_name(f".{root.name}.lock")):
            root.mkdir(exist_ok=True)
            refuse_foreign(root)
            done = extract_all(songs, folder, root, float(seconds), processes, skipped, notes)
            if not done:
                print_skipped(skipped)
                found = f"none of {len(skipped)} files can be read, see above; {': '.join(min(skipped))}"
                raise LabError(f"{source}: readable audio was expected, but {found}")
            notes += write_layout(done, root, test_fraction, seed)
    except KeyboardInterrupt:
        note(f"{root}: what is done is kept, the same command goes on")
        raise
    except concurrent.futures.BrokenExecutor as error:
        found = "the system ended a process of the extraction, usually for want of memory"
        raise LabError(f"{root}: {found}; what is done is kept, run again") from error
    except OSError as error:
        kept = "what is done is kept, run again"
        raise LabError(f"{root}: the data folder could not be written ({reason(error)}); {kept}") from error
    if source.is_dir():
        folders = {path.name for path in source.glob("[!.]*") if os.path.isdir(path)}
        lost = sorted(folders - {song.file.split("/")[0] for song in done})
        notes += [f"{shown(name)}: no file in it could be used" for name in lost]
    return {"clips": len(done), "skipped": sorted(skipped), "notes": notes}


def refuse_foreign(root):
    """LabError where the folder has files in it and --audio did not make it."""
    names = {path.name for path in root.iterdir()}
    if names and JOURNAL not in names:
        found = f"it holds {min(names)}; nothing was changed"
        raise LabError(f"--data {root}: a new folder, or one that --audio made, was expected, but {found}")


def extract_all(songs, folder, root, seconds, processes, skipped, notes):
    """Extracts the features of all new or changed files; returns {song: its line of the journal} for all with features.

    The others are added to `skipped`. New features go to the staging folder, whose own journal gets a line for each file
    that is done. A file that cannot be found keeps finished features, with a sentence in `notes`.
    """
    (root / STAGING).mkdir(exist_ok=True)
    (root / JOURNAL).touch()
    finished, staged = read_journal(root), read_journal(root / STAGING)
    idents = {song.ident for song in songs}
    done, wanted, kept = {}, {}, [line for ident, line in staged.items() if ident not in idents]
    for song in songs:
        settings = {"id": song.ident, "file": song.file, "seconds": seconds, "extractor": EXTRACTOR}
        before = (placed_paths(root, song.ident) and finished.get(song.ident)) or {}
        try:
            status = (folder / song.file).stat()
        except (OSError, ValueError) as error:  # ValueError: a name with a NUL in it
            problem = f"it cannot be found ({reason(error)})"
            if before.items() >= settings.items():
                done[song] = before
                notes.append(f"{song.file}: {problem}; its features of an earlier run are kept")
            else:
                skipped.append((song.file, problem))
            continue
        wanted[song] = settings | {"bytes": status.st_size, "mtime_ns": status.st_mtime_ns}
        line = staged.get(song.ident, {})
        if before.items() >= wanted[song].items():
            done[song] = before
        elif line.items() >= wanted[song].items() and existing_paths(root, song.ident):
            done[song] = line
            kept.append(line)
    waiting = [song for song in wanted if song not in done]
    usable = {staged_path(root, line["id"], tail) for line in kept for tail in TAILS}
    for path in {*(root / STAGING).glob("*.npy")} - usable:
        path.unlink()
    write_whole(root / STAGING / JOURNAL, "".join(map(json_line, kept)))
    with open(root / STAGING / JOURNAL, "a", encoding="utf-8", errors="backslashreplace") as journal:
        for song, found in extracted(waiting, folder, root, seconds, processes):
            if isinstance(found, str):
                skipped.append((song.file, found))
                continue
            done[song] = wanted[song] | {"notes": found}
            journal.write(json_line(done[song]))
            journal.flush()
    return {song: done[song] for song in songs if song in done}


def extracted(songs, folder, root, seconds, processes):
    """Yields (song, what extract_one returns), each as soon as it is done."""
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
    """Writes a file's features, full and beat-synced, to the staging folder; returns notes, or why it has none, a text."""
    notes = []
    try:
        with threadpool_limits(1):  # one file per core; with more threads the last bits would differ
            arrays = fused_spectrograms(read_sound(folder / song.file, seconds, notes))
    except LabError as error:
        return str(error).removeprefix(f"{folder / song.file}: ")
    except Exception as error:  # one odd file must not stop the others
        return f"no features could be extracted from it ({reason(error)})"
    for tail, array in zip(TAILS, arrays, strict=True):
        unfinished = staging / f"{song.ident}{tail}.part"
        with open(unfinished, "wb") as file:
            np.save(file, array)
        os.replace(unfinished, staging / f"{song.ident}{tail}.npy")
    return notes


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


def staged_path(root, ident, tail):
    return root / STAGING / f"{ident}{tail}.npy"


def placed_paths(root, ident):
    """[the clip's full file, its beat-synced one] in a split; [] unless both are there."""
    found = [
        next((path for path in possible_paths(root, ident, tail).values() if path.exists()), None) for tail in TAILS
    ]
    return [path for path in found if path] if all(found) else []


def existing_paths(root, ident):
    """As placed_paths, but a file in the staging folder comes first: that is the newer one."""
    found = []
    for tail in TAILS:
        paths = [staged_path(root, ident, tail), *possible_paths(root, ident, tail).values()]
        found += [path for path in paths if path.exists()][:1]
    return found if len(found) == len(TAILS) else []


def write_layout(done, root, test_fraction, seed):
    """Moves every clip to its split, removes those of an earlier run that are gone, writes label files and class table.

    done: {song: its line of the journal}. A set without clips gets no folder. Returns notes.
    """
    refuse_single_genre(done)
    test_ids, table = choose_test_ids(done, test_fraction, seed), root / CLASS_MAPPING_FILE
    existing = load_class_mapping(root) if table.exists() else {}  # the user's merged classes stay merged
    notes = [f"{song.file}: {text}" for song, line in done.items() for text in line.get("notes", ())]
    notes += describe_split(done, test_ids, test_fraction)
    finished, clips, emotions = read_journal(root) | read_journal(root / STAGING), [], []
    gone = sorted(finished.keys() - {song.ident for song in done})
    still = [
        line for song, line in done.items() if not any(staged_path(root, song.ident, tail).exists() for tail in TAILS)
    ]
    write_whole(root / JOURNAL, "".join(map(json_line, still)))  # true also if this is stopped halfway
    for song in sorted(done, key=lambda song: song.ident):
        splits = []  # [(set, split)]
        if song.genre:
            splits.append((GENRES, "test" if song.ident in test_ids else "train"))
        if song.emotions is not None:
            splits.append((EMOTIONS, "train" if song.emotions else "test"))
        move_clip(root, song.ident, splits)
        clips += [Clip(*split, song.ident, song.genre) for split in splits]
        emotions += [song.emotions or ()] * len(splits)
    for ident in gone:
        move_clip(root, ident, [])
    if gone:
        listed = ", ".join(finished[ident]["file"] for ident in gone[:3]) + ", ..." * (len(gone) > 3)
        notes.append(f"removed: {len(gone)} of an earlier run's clips, whose files are not used now: {listed}")
    for folder in FOLDERS:
        (root / STAGING / folder).mkdir(exist_ok=True)
    write_labels(clips, emotions, root / STAGING)
    for path in (root / STAGING).glob("*/*_labels.txt"):
        folder = root / path.parent.name
        if path.parent.name.removesuffix("_beat") in {clip.set for clip in clips}:
            os.replace(path, folder / path.name)
        else:
            remove_set(folder)
    write_whole(root / JOURNAL, "".join(map(json_line, done.values())))
    shutil.rmtree(root / STAGING)
    genres = sorted({song.genre for song in done} - {None})
    if genres:
        mapping = {genre: existing.get(genre, genre) for genre in genres}
        write_whole(table, json.dumps(mapping, ensure_ascii=False, indent=1) + "\n")
    return notes


def remove_set(folder):
    """Removes the label files and the empty folders of a set that has no clips now."""
    for split in SPLITS:
        (folder / f"{split}_labels.txt").unlink(missing_ok=True)
    for path in (*(folder / split for split in SPLITS), folder):
        with contextlib.suppress(OSError):  # it does not exist, or holds what --audio did not write
            path.rmdir()


def move_clip(root, ident, splits):
    """Moves a clip's two files to exactly these splits, [(set, split)].

    If the process is killed at any point, a copy of each file is left to continue from.
    """
    for tail, source in zip(TAILS, existing_paths(root, ident) or [None, None], strict=True):
        staged, targets = staged_path(root, ident, tail), possible_paths(root, ident, tail)
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


def write_whole(path, text):
    path.with_name(path.name + ".part").write_text(text, encoding="utf-8", errors="backslashreplace")  # as files.py
    os.replace(path.with_name(path.name + ".part"), path)
