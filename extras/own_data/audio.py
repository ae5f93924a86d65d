"""Your own music in the lab's layout: a folder of audio files, or a table of them, becomes a data folder that every
step takes.

The Free Music Archive's own files are welcome too; three of its small set's tracks hold no sound and are passed over by
name.
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
JOURNAL = "audio.jsonl"  # a line for each file that is done; its presence says that --audio made this folder
STAGING = (
    ".extracted"  # features lie here until all are done, since only then is it known which clips there are to split
)
EXTRACTOR = 1  # rises when the features change, so that those of an older version are made anew


def import_audio(source, root, seconds=30.0, test_share=0.2, seed=0, processes=None):
    """Turns audio into a data folder in the lab's layout, and goes on where an earlier call was stopped.

    Args: source, a folder DIR/<genre>/*.mp3, or a CSV of these with columns among file, genre, valence, energy,
    danceability, artist; root, the data folder, new, empty or made here before; seconds, at most so much from the
    middle of each file; test_share, of each genre's clips, above 0 and below 1; seed, of the split; processes, by
    default one per core. A clip with a genre goes to the genre set. Where the table has emotions every clip also goes
    to the multitask set: to its train split with them, and without them to its test split, to be predicted. An artist
    with clips on both splits there is not. Returns {"clips": how many, "skipped": [(file, why)]}. Raises LabError where
    nothing is left, or nothing may be written.
    """
    require_audio()
    source, root = Path(source).expanduser().resolve(), Path(root).expanduser().resolve()
    songs, skipped = list_table(source) if source.is_file() else list_folder(source)
    refuse_single_genre(songs)
    try:
        root.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(root.with_name(f".{root.name}.lock")):
            root.mkdir(exist_ok=True)
            refuse_foreign(root)
            done = extract_all(
                songs, source if source.is_dir() else source.parent, root, float(seconds), processes, skipped
            )
            if not done:
                raise LabError(
                    f"{source}: audio that can be read was expected, but of {len(skipped)} files none can: {why(skipped)}"
                )
            lay_out(done, root, test_share, seed)
    except (OSError, concurrent.futures.BrokenExecutor) as error:
        raise LabError(
            f"{root}: the data folder could not be written ({reason(error)}); what is done is kept, run again"
        ) from error
    return {"clips": len(done), "skipped": sorted(skipped)}


def why(skipped):
    """The first reasons, in a few words."""
    return "; ".join(f"{file}: {text}" for file, text in skipped[:3]) + ("; ..." if len(skipped) > 3 else "")


def refuse_foreign(root):
    """LabError where the folder holds anything that was not made here."""
    names = {path.name for path in root.iterdir()}
    if names and JOURNAL not in names:
        raise LabError(
            f"--data {root}: a new folder or one that --audio made was expected, but it holds {min(names)}; nothing was changed"
        )


def extract_all(songs, folder, root, seconds, processes, skipped):
    """Extracts what is not done yet and unchanged; returns the songs that have features, those without are added to
    `skipped`.

    The journal is read, brought to what still holds, and then grows by a line whenever a file is done.
    """
    (root / STAGING).mkdir(exist_ok=True)
    earlier, wanted, waiting = read_journal(root), {}, []
    for song in songs:
        try:
            status = (folder / song.file).stat()
        except (OSError, ValueError) as error:  # the second for a name with a NUL in it
            skipped.append((song.file, f"there is no such file to read ({reason(error)})"))
            continue
        metadata = {"bytes": status.st_size, "mtime_ns": status.st_mtime_ns, "seconds": seconds, "extractor": EXTRACTOR}
        wanted[song] = {"id": song.ident, "file": song.file, **metadata}
        if earlier.get(song.ident) != wanted[song] or not all(where_is(root, song.ident, tail) for tail in TAILS):
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
    """Yields (song, None or why it has no features) as they are finished."""
    work = functools.partial(extract_one, folder=folder, staging=root / STAGING, seconds=seconds)
    processes = min(processes or os.cpu_count() or 1, len(songs))
    if processes <= 1:
        yield from ((song, work(song)) for song in progress(songs, "extracting features", "file"))
        return
    compile_extractor()
    with concurrent.futures.ProcessPoolExecutor(processes, initializer=start_worker) as pool:
        futures = {pool.submit(work, song): song for song in songs}
        try:
            for future in progress(
                concurrent.futures.as_completed(futures), "extracting features", "file", total=len(songs)
            ):
                yield futures[future], future.result()
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise


def compile_extractor():
    """Lets librosa compile what it compiles at its first use, and keep it, before several processes do so at once.

    After that each of them may crash for good: their halves of numba's cache on disk do not always fit together.
    """
    fused_spectrograms(np.random.default_rng(0).normal(size=SAMPLE_RATE).astype(np.float32))


def extract_one(song, folder, staging, seconds):
    """Writes one file's features, full and beat-synced, into the staging folder; returns why not, in words, where it
    cannot be read.
    """
    try:
        with threadpool_limits(1):  # the cores are taken by files, and more threads would round otherwise
            arrays = fused_spectrograms(read_sound(folder / song.file, seconds))
    except LabError as error:
        return str(error).removeprefix(f"{folder / song.file}: ")
    except Exception as error:  # one odd file among thousands must not end the rest
        return f"no features could be extracted from it ({reason(error)})"
    for tail, array in zip(TAILS, arrays, strict=True):
        unfinished = staging / f"{song.ident}{tail}.part"
        with open(unfinished, "wb") as file:
            np.save(file, array)
        os.replace(unfinished, staging / f"{song.ident}{tail}.npy")
    return None


def read_journal(root):
    """{clip id: what was done for it}; a last line that was cut off is as good as not there."""
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


def homes(root, ident, tail):
    """{(set, split): path} of the four places where a clip's file may lie, at full length or (tail "_beat") beat-synced."""
    return {
        (name, split): root / f"{name}{tail}" / split / f"{ident}.fused.full.npy"
        for name in (GENRES, EMOTIONS)
        for split in SPLITS
    }


def where_is(root, ident, tail):
    """A file with the clip's features, the newest first; None where there is none."""
    places = [root / STAGING / f"{ident}{tail}.npy", *homes(root, ident, tail).values()]
    return next((path for path in places if path.exists()), None)


def remove(root, ident):
    for tail in TAILS:
        for path in [root / STAGING / f"{ident}{tail}.npy", *homes(root, ident, tail).values()]:
            path.unlink(missing_ok=True)


def refuse_single_genre(songs):
    genres = {song.genre for song in songs} - {None}
    if len(genres) == 1:
        raise LabError(f"at least two genres were expected, but all that can be read is {min(genres)}")


def lay_out(songs, root, test_share, seed):
    """Brings every clip to its split, and writes label files and class table; a set without clips has no folder."""
    refuse_single_genre(songs)
    held_out = choose_test_ids(songs, test_share, seed)
    clips, emotions = [], []
    for song in sorted(songs, key=lambda song: song.ident):
        places = []
        if song.genre:
            places.append((GENRES, "test" if song.ident in held_out else "train"))
        if song.emotions is not None:
            places.append((EMOTIONS, "train" if song.emotions else "test"))
        bring(root, song.ident, places)
        clips += [Clip(*place, song.ident, song.genre) for place in places]
        emotions += [song.emotions or ()] * len(places)
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
        known = load_class_mapping(root) if table.exists() else {}  # what somebody has merged there stays merged
        write_whole(
            table, json.dumps({genre: known.get(genre, genre) for genre in genres}, ensure_ascii=False, indent=1) + "\n"
        )


def bring(root, ident, places):
    """Puts a clip's two files where `places`, [(set, split)], says, and nowhere else; whoever is killed here leaves a
    copy to go on from.
    """
    for tail in TAILS:
        source, staged, goals = (
            where_is(root, ident, tail),
            root / STAGING / f"{ident}{tail}.npy",
            homes(root, ident, tail),
        )
        for name, split in places:
            goal = goals[name, split]
            for each in SPLITS:
                goals[name, each].parent.mkdir(parents=True, exist_ok=True)
            if source == staged or not goal.exists():
                shutil.copyfile(source, goal.with_name(goal.name + ".part"))
                os.replace(goal.with_name(goal.name + ".part"), goal)
        for place in goals.keys() - set(places):
            goals[place].unlink(missing_ok=True)
        staged.unlink(missing_ok=True)


def choose_test_ids(songs, test_share, seed):
    """The ids of the test split: of every genre about `test_share` of the clips, at least one of several, and an artist
    whole or not at all.

    A song without an artist is split by itself. Artists come in an order that depends on seed and name alone, so that a
    song more leaves nearly every other where it is; one goes to the test split when that brings its genres nearer to
    their shares.
    """
    sizes = Counter(song.genre for song in songs if song.genre)
    shares = {genre: min(max(1, round(size * test_share)), size - 1) for genre, size in sizes.items()}
    groups = {}
    for song in songs:
        if song.genre:
            artist = f"artist {normal_name(song.artist).casefold()}" if song.artist else f"song {song.ident}"
            groups.setdefault(artist, []).append(song)
    held_out, have = set(), Counter()
    for artist in sorted(groups, key=lambda name: hashlib.sha256(f"{seed} {name}".encode()).digest()):
        counts = Counter(song.genre for song in groups[artist])
        gain = sum(
            abs(shares[genre] - have[genre]) - abs(shares[genre] - have[genre] - count)
            for genre, count in counts.items()
        )
        if gain > 0 and all(have[genre] + count < sizes[genre] for genre, count in counts.items()):
            have += counts
            held_out |= {song.ident for song in groups[artist]}
    if sizes and not held_out:
        raise LabError("clips for a test split were expected, but no genre has two songs of different artists")
    return held_out


def write_whole(path, text):
    path.with_name(path.name + ".part").write_text(text, encoding="utf-8", errors="backslashreplace")  # as files.py
    os.replace(path.with_name(path.name + ".part"), path)
