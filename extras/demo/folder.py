"""Demo music: tracks composed by program and laid out as the lab's data, so that every step runs where the real data
set is not at hand.

It stands in for the pipeline, not for music: scores on it say that the code works, and nothing about hearing.
"""

import concurrent.futures
import functools
import glob
import json
import math
import multiprocessing
import os
import shutil
import threading
from dataclasses import dataclass
from pathlib import Path

import filelock
import numpy as np
from threadpoolctl import threadpool_limits

from common.errors import LabError, reason
from common.labels import AXES
from common.locations import EMOTIONS, GENRES, MARKER, read_marker
from common.progress import progress as progress_bar
from extras.demo.compose import compose_track
from extras.demo.render import HOP_LENGTH, SAMPLE_RATE, render
from extras.writeup.expected import EMOTION_CLIPS, GENRE_CLIPS

FORMAT = 1  # rises when the composer changes, so that demo music of an older version is composed anew
# part of every seed; of a few values the one with which the test split of seed 0 is about as hard as cross-validation
DRAW = 1
NOTICE = "Computer-composed demo music in the lab's layout: it stands in for the pipeline, not for music, and scores on it mean nothing."
FULL_SCALE = 4.5  # the `scale` that gives exactly the lab's counts; 1.0 gives 2/9 of them
LARGEST_SCALE = 20.0  # more would run out of four-digit ids
ID_RANGES = {GENRES: (145, 124864), EMOTIONS: (1004, 9860)}  # the lab's smallest and largest
SPLITS = ("train", "test")


@dataclass(frozen=True)
class Clip:
    """One clip to compose: its set (a folder name), split ("train" or "test"), id and genre."""

    set: str
    split: str
    id: int
    genre: str


def clip_counts(scale):
    """Clips per genre and split, {genre: (train, test)}, and of the emotion set, (train, test), at `scale`: at least 2
    of each.
    """

    def scaled(counts):
        return tuple(max(2, round(count * scale / FULL_SCALE)) for count in counts)

    return {genre: scaled(counts) for genre, counts in sorted(GENRE_CLIPS.items())}, scaled(EMOTION_CLIPS)


def plan_clips(scale, seed):
    """Every clip of the four folders, in the order of the label files; ids are drawn without repetition within a set."""
    genres, emotion = clip_counts(scale)
    rng = np.random.default_rng([DRAW, seed, 0])
    names = {
        (GENRES, split): [g for g, counts in genres.items() for _ in range(counts[k])] for k, split in enumerate(SPLITS)
    }
    names |= {
        (EMOTIONS, split): [str(g) for g in rng.choice(list(genres), emotion[k])] for k, split in enumerate(SPLITS)
    }
    clips = []
    for name in (GENRES, EMOTIONS):
        low, high = ID_RANGES[name]
        ids = rng.choice(np.arange(low, high + 1), sum(len(names[name, split]) for split in SPLITS), replace=False)
        drawn = iter(ids.tolist())
        for split in SPLITS:
            clips += sorted(
                (Clip(name, split, next(drawn), genre) for genre in names[name, split]), key=lambda clip: str(clip.id)
            )
    return clips


def compose_clip(clip, seconds, seed):
    """A clip's track, and the generator of random numbers that the rendering goes on with.

    Its random numbers depend on seed, set and id alone, so that neither the order nor the number of processes changes a
    byte.
    """
    rng = np.random.default_rng([DRAW, seed, 1 + (clip.set == EMOTIONS), clip.id])
    n_frames = (
        1 + int(seconds * SAMPLE_RATE / HOP_LENGTH) + int(rng.integers(-1, 2))
    )  # the lab's 30 s are 1291 to 1293 frames
    return compose_track(clip.genre, n_frames, rng), rng


def write_clip(clip, root, seconds, seed):
    """Composes, renders and saves one clip, full and beat-synced; returns its (valence, energy, danceability)."""
    track, rng = compose_clip(clip, seconds, seed)
    full, synced = render(track, rng)
    np.save(root / clip.set / clip.split / f"{clip.id}.fused.full.npy", full)
    np.save(root / f"{clip.set}_beat" / clip.split / f"{clip.id}.fused.full.npy", synced)
    return track.emotions


def start_worker():
    """Called at the start of each worker: one thread, and no life without the parent, of whose death a pool tells
    nobody.

    Small matrices gain nothing from threads, and their number could change the last bit.
    """
    threadpool_limits(1)
    threading.Thread(target=end_with, args=(multiprocessing.parent_process(),), daemon=True).start()


def end_with(process):
    """Ends this process when `process` has ended."""
    process.join()
    os._exit(1)


def write_clips(clips, root, seconds, seed, processes, progress):
    """Writes every clip's two files with `processes` workers (1: in this process); returns the emotions in the order of
    `clips`.
    """
    work = functools.partial(write_clip, root=root, seconds=seconds, seed=seed)

    def bar(done):
        return progress_bar(done, "composing demo music", "clip", total=len(clips)) if progress else done

    if processes == 1:
        with threadpool_limits(1):
            return list(bar(map(work, clips)))
    with concurrent.futures.ProcessPoolExecutor(processes, initializer=start_worker) as pool:
        try:
            return list(bar(pool.map(work, clips, chunksize=8)))
        except BaseException:
            pool.shutdown(
                cancel_futures=True
            )  # without this a full disk is only reported after every other clip has failed too
            raise


def write_labels(clips, emotions, root):
    """The label files of the lab: names as it writes them, which are not the names on disk; none for the emotion set's
    test split.
    """
    endings = {GENRES: {"train": "fused.full.npy.gz", "test": "full.fused.npy.gz"}}
    endings[f"{GENRES}_beat"] = dict.fromkeys(SPLITS, "beatsync.fused.npy.gz")
    for folder, side_endings in endings.items():
        for split, ending in side_endings.items():
            rows = [f"{clip.id}.{ending}\t{clip.genre}" for clip in clips if (clip.set, clip.split) == (GENRES, split)]
            write_lines(root / folder / f"{split}_labels.txt", ["Id\tGenre", *rows])
    rows = [
        f"{clip.id}," + ",".join(f"{value:.3f}" for value in values)
        for clip, values in zip(clips, emotions, strict=True)
        if (clip.set, clip.split) == (EMOTIONS, "train")
    ]
    for folder in (EMOTIONS, f"{EMOTIONS}_beat"):
        write_lines(root / folder / "train_labels.txt", [",".join(("Id", *AXES)), *rows])


def write_lines(path, lines):
    """Writes a text file with Unix line ends on every system."""
    path.write_bytes(("\n".join(lines) + "\n").encode())


def marker_of(clips, seconds, scale, seed):
    """What stands in demo_music.json: the parameters that the music follows from, and the counts."""
    counts = {
        f"{name}/{split}": sum((clip.set, clip.split) == (name, split) for clip in clips)
        for name in ID_RANGES
        for split in SPLITS
    }
    return {"notice": NOTICE, "format": FORMAT, "seconds": seconds, "scale": scale, "seed": seed, "clips": counts}


def check_arguments(seconds, scale, seed, processes):
    """LabError unless the music can be composed."""
    for name, value, low, high in (("seconds", seconds, 2, 120), ("scale", scale, 0, LARGEST_SCALE)):
        if not (isinstance(value, (int, float)) and math.isfinite(value) and low <= value <= high and value > 0):
            raise LabError(
                f"demo music: {name} is {value}, expected a number {'above' if low == 0 else 'from'} {low} to {high:g}"
            )
    for name, value, low in (("seed", seed, 0), ("processes", processes, 1)):
        if not isinstance(value, int) or value < low:
            raise LabError(f"demo music: {name} is {value}, expected a whole number from {low} on")


def demo_folder(root):
    """`root` with demo music in it: what lies there, of whatever length and size, else the usual music composed now."""
    marker = read_marker(root)
    if marker is None or marker["format"] != FORMAT:
        compose_demo(root)
    return root


def compose_demo(root, seconds=10.0, scale=1.0, seed=0, processes=None, progress=True):
    """Composes demo music into the folder `root`, in the lab's layout, unless the same music already lies there.

    Args: seconds, length of a clip in 2..120; scale multiplies the counts, above 0 to 20 (4.5 and 30 s: the lab's own
    size); seed, a whole number from 0 on: the same seed gives the same bytes on the same machine; processes, number of
    workers, by default one per core; progress, whether to draw a bar on stderr. Returns the dictionary that stands in
    demo_music.json: parameters and counts. Raises LabError for impossible arguments, for a folder that holds anything
    else, and where the disk refuses. The music appears under its name when it is whole: whoever stops the composer
    leaves nothing that the next run would not clear away.
    """
    processes = min(os.cpu_count() or 1, 16) if processes is None else processes
    check_arguments(seconds, scale, seed, processes)
    root = Path(root).resolve()
    clips = plan_clips(scale, seed)
    marker = marker_of(clips, float(seconds), float(scale), seed)
    try:
        root.parent.mkdir(parents=True, exist_ok=True)
        with filelock.FileLock(root.with_name(f".{root.name}.lock")):
            if read_marker(root) != marker:
                refuse_foreign(root)
                compose_beside(root, clips, marker, processes, progress)
    except (OSError, concurrent.futures.BrokenExecutor) as error:
        raise LabError(f"could not compose demo music into {root} ({reason(error)})") from error
    return marker


def refuse_foreign(root):
    """LabError where `root` holds something that is not demo music; an empty folder may be filled."""
    if root.exists() and read_marker(root) is None and not (root.is_dir() and not any(root.iterdir())):
        raise LabError(
            f"{root} exists and is not demo music (no {MARKER} in it): name another folder, nothing was changed"
        )


def compose_beside(root, clips, marker, processes, progress):
    """Composes into a temporary folder beside `root`, then renames it to `root`; what an earlier, killed run left is
    removed first.
    """
    work, old = root.with_name(f".{root.name}.composing.{os.getpid()}"), root.with_name(f".{root.name}.old")
    for leftover in (*root.parent.glob(f".{glob.escape(root.name)}.composing.*"), old):
        shutil.rmtree(leftover, ignore_errors=not leftover.exists())
    try:
        for name in ID_RANGES:
            for folder in (name, f"{name}_beat"):
                for split in SPLITS:
                    (work / folder / split).mkdir(parents=True)
        emotions = write_clips(clips, work, marker["seconds"], marker["seed"], processes, progress)
        write_labels(clips, emotions, work)
        write_lines(work / MARKER, [json.dumps(marker, indent=2)])
        if root.exists():
            root.rename(old)
        work.rename(root)
        shutil.rmtree(old, ignore_errors=True)
    except BaseException:
        shutil.rmtree(work, ignore_errors=True)
        raise
