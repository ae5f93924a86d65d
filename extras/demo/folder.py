"""Demo music: computer-composed tracks in the lab's layout, so that every step runs without the lab's data.

It only tests the pipeline: scores on it show that the code works, and nothing about real music.
"""

import concurrent.futures
import functools
import glob
import json
import math
import multiprocessing
import os
import re
import shutil
import signal
import threading
from dataclasses import dataclass
from pathlib import Path

import filelock
import numpy as np
from threadpoolctl import threadpool_limits

from common.errors import LabError, reason
from common.files import checksum
from common.labels import AXES
from common.locations import EMOTIONS, FOLDERS, GENRES, MARKER, read_marker
from common.progress import progress as progress_bar
from extras.demo.compose import compose_track
from extras.demo.render import HOP_LENGTH, SAMPLE_RATE, render
from extras.writeup.expected import EMOTION_CLIPS, GENRE_CLIPS

FORMAT = 1  # to be raised when the composer changes, so that older demo music is composed again
DRAW = 1  # part of every seed; chosen so that the test split of seed 0 is about as hard as cross-validation
# not to be changed: a folder with another notice is composed again
NOTICE = "Computer-composed demo music in the lab's layout: it stands in for the pipeline, not for music, and scores on it mean nothing."
FULL_SCALE = 4.5  # the `scale` that gives exactly the lab's counts; 1.0 gives 2/9 of them
LARGEST_SCALE = 20.0  # beyond it there are not enough four-digit ids
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
    """({genre: (train, test)}, (train, test) of the emotion set): the numbers of clips at `scale`, at least 2 each."""

    def scaled(counts):
        return tuple(max(2, round(count * scale / FULL_SCALE)) for count in counts)

    return {genre: scaled(counts) for genre, counts in sorted(GENRE_CLIPS.items())}, scaled(EMOTION_CLIPS)


def plan_clips(scale, seed):
    """Every clip of both sets, in the order of the label files; ids are random and unique within a set."""
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
            new = [Clip(name, split, next(drawn), genre) for genre in names[name, split]]
            clips += sorted(new, key=lambda clip: str(clip.id))
    return clips


def compose_clip(clip, seconds, seed):
    """A clip's Track, and the random generator to render it with.

    The random numbers depend only on seed, set and id: neither the order nor the number of processes changes a byte.
    """
    rng = np.random.default_rng([DRAW, seed, 1 + (clip.set == EMOTIONS), clip.id])
    # the lab's 30 s are 1291 to 1293 frames
    n_frames = 1 + int(seconds * SAMPLE_RATE / HOP_LENGTH) + int(rng.integers(-1, 2))
    return compose_track(clip.genre, n_frames, rng), rng


def write_clip(clip, root, seconds, seed):
    """Composes, renders and saves one clip, full and beat-synced; returns its (valence, energy, danceability)."""
    track, rng = compose_clip(clip, seconds, seed)
    full, synced = render(track, rng)
    np.save(root / clip.set / clip.split / f"{clip.id}.fused.full.npy", full)
    np.save(root / f"{clip.set}_beat" / clip.split / f"{clip.id}.fused.full.npy", synced)
    return track.emotions


def start_worker():
    """Initialises a worker process: one thread, and an end when the parent has ended, which the pool does not see to.

    Threads do not speed up small matrices, and their number could change the last bit.
    """
    threadpool_limits(1)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)  # a fork has inherited run_script's
    threading.Thread(target=end_with, args=(multiprocessing.parent_process(),), daemon=True).start()


def end_with(process):
    """Ends this process when `process` has ended."""
    process.join()
    os._exit(1)


def write_clips(clips, root, seconds, seed, processes, progress):
    """Writes every clip's two files and returns the emotions in the order of `clips`; 1 process: this one."""
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
            pool.shutdown(cancel_futures=True)  # or a full disk is only reported after all other clips have failed
            raise


def write_labels(clips, emotions, root):
    """Writes the label files, with the lab's names in them, which are not the names on disk.

    The test split of the emotion set has no label file.
    """
    endings = {GENRES: {"train": "fused.full.npy.gz", "test": "full.fused.npy.gz"}}
    endings[f"{GENRES}_beat"] = dict.fromkeys(SPLITS, "beatsync.fused.npy.gz")
    for folder, by_split in endings.items():
        for split, ending in by_split.items():
            rows = [f"{clip.id}.{ending}\t{clip.genre}" for clip in clips if (clip.set, clip.split) == (GENRES, split)]
            write_lines(root / folder / f"{split}_labels.txt", ["Id\tGenre", *rows])
    rows = [
        f"{clip.id}," + ",".join(np.format_float_positional(value, min_digits=3) for value in values)
        for clip, values in zip(clips, emotions, strict=True)
        if (clip.set, clip.split) == (EMOTIONS, "train")
    ]
    for folder in (EMOTIONS, f"{EMOTIONS}_beat"):
        write_lines(root / folder / "train_labels.txt", [",".join(("Id", *AXES)), *rows])


def write_lines(path, lines):
    """Writes a text file with Unix line breaks on every system."""
    path.write_bytes(("\n".join(lines) + "\n").encode())


def marker_of(clips, seconds, scale, seed):
    """The content of demo_music.json: the parameters of the music, and the numbers of clips."""
    counts = {
        f"{name}/{split}": sum((clip.set, clip.split) == (name, split) for clip in clips)
        for name in ID_RANGES
        for split in SPLITS
    }
    return {"notice": NOTICE, "format": FORMAT, "seconds": seconds, "scale": scale, "seed": seed, "clips": counts}


def check_arguments(seconds, scale, seed, processes):
    """LabError unless music can be composed with these arguments."""
    for name, value, low, high in (("seconds", seconds, 2, 120), ("scale", scale, 0, LARGEST_SCALE)):
        if not (isinstance(value, (int, float)) and math.isfinite(value) and low <= value <= high and value > 0):
            expected = f"a number {'above' if low == 0 else 'from'} {low} to {high:g} was expected"
            raise LabError(f"demo music: {name} is {value}, {expected}")
    for name, value, low in (("seed", seed, 0), ("processes", processes, 1)):
        if not isinstance(value, int) or value < low:
            raise LabError(f"demo music: {name} is {value}, a whole number of at least {low} was expected")


def demo_folder(root):
    """Returns `root` with demo music in it; composes the default music unless there is demo music of any size."""
    marker = read_marker(root)
    if marker is None or marker["format"] != FORMAT:
        compose_demo(root)
    return root


def compose_demo(root, seconds=10.0, scale=1.0, seed=0, processes=None, progress=True):
    """Composes demo music into the folder `root`, in the lab's layout, unless the same music is already there.

    Args:
        root: the data folder. It appears when it is complete; the next call removes what a stopped one left. Other
            demo music there gives way, if nothing was added to it or edited.
        seconds: length of a clip, 2..120.
        scale: multiplies the numbers of clips, above 0 to 20. 4.5 and 30 s give the lab's own size.
        seed: a whole number, at least 0. The same seed gives the same bytes on the same computer.
        processes: number of workers, by default one per core.
        progress: whether to show a progress bar on stderr.
    Returns the content of demo_music.json: parameters and numbers of clips. Raises LabError for arguments out of range,
    a folder with other files in it, and where the folder cannot be written.
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
                compose_and_rename(root, clips, marker, processes, progress)
    except concurrent.futures.BrokenExecutor as error:
        ended = "the system has ended a worker process, as it does where the memory is full; run it again"
        raise LabError(f"could not compose demo music into {root}: {ended}") from error
    except OSError as error:
        raise LabError(f"could not compose demo music into {root} ({reason(error)})") from error
    return marker


def refuse_foreign(root):
    """LabError where `root` exists and is neither an empty folder nor demo music and nothing else."""
    if not root.exists() or (root.is_dir() and not any(root.iterdir())):
        return
    marker, advice = read_marker(root), "use another folder; nothing was changed"
    if marker is None:
        raise LabError(f"{root} exists and is not demo music (it has no {MARKER}): {advice}")
    try:
        planned = {
            f"{name}/{clip.split}/{clip.id}.fused.full.npy"
            for clip in plan_clips(marker["scale"], marker["seed"])
            for name in (clip.set, f"{clip.set}_beat")
        }
    except (KeyError, TypeError, ValueError):
        planned = set()
    others = [name for name in files_in(root) if name not in planned and not is_label_file(name) and name != MARKER]
    if others:
        raise LabError(f"{root / others[0]}: only demo music was expected in the folder, move this away or {advice}")
    content = json.loads((root / MARKER).read_text(encoding="utf-8")).get("content")
    if content not in (None, content_checksum(root)):
        raise LabError(f"{root}: its files were edited since the demo music was composed: {advice}")


def files_in(folder):
    """The paths of all files and links in a folder, relative to it, in order."""
    paths = sorted(path for path in folder.rglob("*") if path.is_symlink() or not path.is_dir())
    return [path.relative_to(folder).as_posix() for path in paths]


def is_label_file(name):
    return name.removesuffix("/train_labels.txt").removesuffix("/test_labels.txt") in FOLDERS


def content_checksum(root):
    """A checksum of the names and contents of all files of a folder of demo music but its marker."""
    lines = [f"{name} {checksum((root / name).read_bytes())}" for name in files_in(root) if name != MARKER]
    return checksum("\n".join(lines).encode())


def is_ours(folder):
    """Whether a folder beside the demo music's is what a stopped run has left: empty, or its files and a marker."""
    if folder.is_symlink() or not folder.is_dir():
        return False
    names = files_in(folder)
    clip = rf"({'|'.join(FOLDERS)})/({'|'.join(SPLITS)})/\d+\.fused\.full\.npy"
    known = [name for name in names if re.fullmatch(clip, name) or is_label_file(name) or name == MARKER]
    return not names or (known == names and MARKER in names)


def compose_and_rename(root, clips, marker, processes, progress):
    """Composes into a temporary folder and renames it to `root`; first removes what killed runs left."""
    work, old = root.with_name(f".{root.name}.composing.{os.getpid()}"), root.with_name(f".{root.name}.old")
    for leftover in filter(is_ours, (*root.parent.glob(f".{glob.escape(root.name)}.composing.*"), old)):
        shutil.rmtree(leftover)
    if old.exists() or old.is_symlink():
        raise LabError(f"{old}: nothing was expected there, remove it or use another folder; nothing was changed")
    work.mkdir()
    try:
        write_lines(work / MARKER, [json.dumps(marker, indent=2)])  # what is_ours looks for, should this be killed
        for name in FOLDERS:
            for split in SPLITS:
                (work / name / split).mkdir(parents=True)
        emotions = write_clips(clips, work, marker["seconds"], marker["seed"], processes, progress)
        write_labels(clips, emotions, work)
        write_lines(work / MARKER, [json.dumps({**marker, "content": content_checksum(work)}, indent=2)])
        if root.exists():
            root.rename(old)
        work.rename(root)
        shutil.rmtree(old, ignore_errors=True)
    except BaseException:
        shutil.rmtree(work, ignore_errors=True)
        raise
