"""make soak: what may happen to a run from outside, many times over. Prints what was tried and what came of it, and
fails where it must.

PYTHONPATH=. python tests/soak_runs.py [--kills 50] [--disks 60] [--changes 30] [--pairs 10] [--seed 0]
"""

import argparse
import random
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from pathlib import Path

import numpy as np
from conftest import contents, random_clip, write_tiny_data
from forked import session

import step5_lstm
import step7_cnn
import step8_regression
import step9_transfer
import step10_multitask

# Small jobs, several runs in most of them; the data are the tests' own.
JOBS = (
    (step7_cnn, ["--epochs", "6"]),
    (step5_lstm, ["--features", "beat", "chroma", "--epochs", "4"]),
    (step9_transfer, ["--epochs", "3", "--pretrain-epochs", "4"]),
    (step10_multitask, ["--epochs", "4", "--ensemble", "2"]),
    (step8_regression, ["--model", "cnn", "--axis", "valence", "energy", "--epochs", "4"]),
)
KILLS_IN_A_ROW = 5  # of one job, before it may end


def flags(root):
    places = ["--data", str(root / "data"), "--cache", str(root / "cache"), "--out", str(root / "runs")]
    return [*places, "--no-baselines", "--batch-size", "8"]


def never_stopped(root, step, more):
    """(contents, printed text, seconds) of a job that nothing happens to."""
    shutil.rmtree(root / "runs", ignore_errors=True)
    begun = time.monotonic()
    done = session(step, [*flags(root), *more])
    assert done.code == 0, done.err
    right = contents(root / "runs")
    shutil.rmtree(root / "runs")
    return right, done.out, time.monotonic() - begun


def ends_as(root, right, printed, done):
    """What came of a job that went on until it was done: "same", or what was lost or differs."""
    if done.code != 0:
        return f"exit {done.code}: {done.err.splitlines()[-1:]}"
    found = contents(root / "runs")
    differing = [name for name in {**right, **found} if found.get(name) != right.get(name)]
    return "same" if not differing and done.out == printed else f"differs in {differing or 'what it printed'}"


def kills(root, count, rng):
    """kill -9 at random moments of small jobs, each gone on with until it is done: {outcome: jobs}."""
    outcomes, where, killed, number = Counter(), Counter(), 0, 0
    while killed < count:
        step, more = JOBS[number % len(JOBS)]
        number += 1
        right, printed, seconds = never_stopped(root, step, more)
        in_this = min(KILLS_IN_A_ROW, count - killed)
        resumed = 0
        while in_this:
            done = session(step, [*flags(root), *more, "--resume"], kill_after=rng.uniform(0, seconds))
            resumed += done.err.count("resumed after")
            if done.code == -9:
                in_this, killed = in_this - 1, killed + 1
                lines = done.out.splitlines()
                where[
                    "after its report"
                    if any("RESULT" in line for line in lines)
                    else "in a run"
                    if lines
                    else "before a run"
                ] += 1
            else:  # it was done before the moment came
                outcomes[ends_as(root, right, printed, done)] += 1
                shutil.rmtree(root / "runs")
        done = session(step, [*flags(root), *more, "--resume"])
        outcomes[ends_as(root, right, printed, done)] += 1
        print(
            f"  {step.__name__}: {killed} kills so far, {resumed} epochs taken up, jobs so far: {dict(outcomes)}",
            flush=True,
        )
    print(
        f"kill -9: {killed} kills ({dict(where)}), {sum(outcomes.values())} jobs gone on with until done: {dict(outcomes)}"
    )
    return set(outcomes) <= {"same"}


def full_disks(root, count, rng):
    """Files that may not grow beyond a random size: one sentence or the right result, and the right result when there
    is room again.
    """
    outcomes, step, more = Counter(), *JOBS[0]
    right, printed, _ = never_stopped(root, step, more)
    largest = max(len(content) for content in right.values() if isinstance(content, bytes))
    sizes = [int(largest ** rng.uniform(0, 1.02)) for _ in range(count)]
    for number, size in enumerate(sizes):
        if number % 3 == 0:
            shutil.rmtree(root / "cache", ignore_errors=True)  # so that the cache has to be written too
        done = session(step, [*flags(root), *more], largest_file=size)
        if done.code == 0:
            outcomes[f"done: {ends_as(root, right, printed, done)}"] += 1
        else:
            sentences = [line for line in done.err.splitlines() if line.startswith("error: ")]
            one = len(sentences) == 1 and done.code == 1 and "Traceback" not in done.err
            name = (
                sentences[0].partition(": it cannot")[0].partition(": the ")[0].rpartition("/")[2] if one else done.err
            )
            outcomes[f"one sentence on {name}"] += 1
        done = session(step, [*flags(root), *more, "--resume"])
        outcomes[f"with room again: {ends_as(root, right, printed, done)}"] += 1
        shutil.rmtree(root / "runs", ignore_errors=True)
    print(f"full disk: {count} limits of 1 to {int(largest**1.02)} bytes a file:")
    return told(outcomes)


def told(outcomes):
    """Prints {outcome: count}; whether each of them is an outcome that may be."""
    for outcome, times in sorted(outcomes.items()):
        print(f"  {times:4d} {outcome}")
    return all(
        outcome.endswith("same") or (outcome.startswith("one sentence") and "\n" not in outcome) for outcome in outcomes
    )


def read_only(root):
    """Output folders and caches that cannot be written."""
    outcomes = Counter()
    step, more = JOBS[0]
    for name in ("runs", "cache"):
        for what in ("missing", "there"):
            closed = root / f"closed {name} {what}"
            closed.mkdir(mode=0o555)
            if what == "there":
                (closed / "deep").mkdir(mode=0o555)
            places = flags(root)
            places[places.index({"runs": "--out", "cache": "--cache"}[name]) + 1] = str(closed / "deep")
            done = session(step, [*places, *more], powerless=True)
            shutil.rmtree(root / "runs", ignore_errors=True)
            good = done.code == 1 and done.err.splitlines()[-1].startswith(f"error: {closed}")
            outcomes["one sentence" if good else f"exit {done.code}: {done.err}"] += 1
    print("read-only folders:")
    return told(outcomes)


def change(path, way):
    if way == "removed":
        path.unlink()
    else:
        content = path.read_bytes()
        path.write_bytes(content[:-9] if way == "shortened" else content[::-1])


def changed_data(root, count, rng):
    """Clips and label files rewritten, shortened or removed while a run works: the right result on what it read, or one
    sentence.
    """
    outcomes, step, more = Counter(), *JOBS[0]
    right, printed, seconds = never_stopped(root, step, more)
    kept = root / "kept"
    shutil.copytree(root / "data", kept)
    for _ in range(count):
        shutil.rmtree(root / "cache", ignore_errors=True)
        files = sorted(path for path in (root / "data" / "fma_genre_spectrograms").rglob("*") if path.is_file())
        victim, way = rng.choice(files), rng.choice(["removed", "shortened", "other content"])
        changer = threading.Timer(
            rng.choice([0.1, 1]) * rng.uniform(0, seconds), change, (victim, way)
        )  # reading comes first
        changer.start()
        done = session(step, [*flags(root), *more])
        changer.join()
        if done.code == 0:
            outcomes[f"done: {ends_as(root, right, printed, done)}"] += 1
        else:
            one = (
                done.code == 1
                and "Traceback" not in done.err
                and done.err.splitlines()[-1].startswith(f"error: {root}")
            )
            outcomes["one sentence that names the place" if one else done.err] += 1
        shutil.rmtree(root / "runs", ignore_errors=True)
        shutil.rmtree(root / "data")
        shutil.copytree(kept, root / "data")
    shutil.rmtree(kept)
    print(f"data changed during a run: {count} times:")
    return told(outcomes)


def cold_caches(root, count):
    """Two processes at once on a cold cache: each file is read once, and both see the same values."""
    outcomes, rng = Counter(), np.random.default_rng(0)
    files = {str(number): str(root / f"{number}.npy") for number in range(60)}
    for path in files.values():
        np.save(path, random_clip(rng, 200))
    code = (
        "import common.cache as p\nread, number = p.read_fused_spectrogram, 0\n"
        "def counted(path):\n    global number; number += 1; return read(path)\n"
        "p.read_fused_spectrogram = counted\n"
        f"clips = p.open_clips({files!r}, {str(root / 'cold.json')!r})\n"
        "import hashlib; print(number, hashlib.sha256(b''.join(clips[name].tobytes() for name in sorted(clips.table))).hexdigest())\n"
    )
    for _ in range(count):
        (root / "cold.json").unlink(missing_ok=True)
        both = [
            subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
            for _ in "ab"
        ]
        counts, values = zip(*(child.communicate()[0].split() for child in both), strict=True)
        good = sorted(counts) == ["0", str(len(files))] and len(set(values)) == 1
        outcomes["read once, values the same" if good else f"{counts} {values}"] += 1
    print(f"cold caches: {count} pairs of processes:")
    return told(outcomes)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    for name, count in (("kills", 50), ("disks", 60), ("changes", 30), ("pairs", 10), ("seed", 0)):
        parser.add_argument(f"--{name}", type=int, default=count)
    args = parser.parse_args()
    rng = random.Random(args.seed)
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        write_tiny_data(root / "data")
        held = [
            kills(root, args.kills, rng),
            full_disks(root, args.disks, rng),
            read_only(root),
            changed_data(root, args.changes, rng),
            cold_caches(root, args.pairs),
        ]
    sys.exit(0 if all(held) else 1)


if __name__ == "__main__":
    main()
