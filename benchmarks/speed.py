"""Speed and memory against a usual implementation: prints, and updates speed.json and the table of RESULTS.md.

    python -m benchmarks.speed                     # everything, about a quarter of an hour on 2 cores
    python -m benchmarks.speed --rows cnn_train ready --repeats 5

Each version runs in a process of its own with the same number of threads. They take turns, so that other load on the
computer slows both alike. The ratio is the median over the turns, with the smallest and the largest in brackets. The
clips are noise in the lab's format: speed does not depend on music, but on lengths, which differ as much as the lab's
(PyTorch is faster on packed clips of equal length).
"""

import argparse
import datetime
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np

from common.files import write_atomically, write_json
from common.run import versions

HERE = Path(__file__).resolve().parent
FULL, BEAT = (1285, 1292), (30, 90)  # shortest and longest, frames of full clips and of beat-synced ones
# row: what, clips, frames, dtypes of the usual implementation, target
ROWS = {
    "cnn_train": ("CNN 16-32-64-128, training epoch", 64, FULL, ("float64", "float32"), "5x, 3x"),
    "cnn_floor": ("the same, against matrix products of its arithmetic", 64, FULL, (), "at most 3"),
    "cnn_resident": ("the same, against its steps on a resident batch", 64, FULL, (), "at most 1.15"),
    "cnn_inference": ("CNN, inference", 64, FULL, ("float32",), "3x"),
    "lstm_one": ("LSTM 2 x 128, training step on 1292 frames", 32, FULL, ("float32",), "30x"),
    "lstm_both": ("the same in two directions", 32, FULL, ("float32",), "60x"),
    "lstm_beat": ("LSTM 2 x 128, epoch on 60 beats in the mean", 512, BEAT, ("float64",), "6x"),
    "ready": ("2305 full clips ready", 2305, FULL, ("float64",), "30x"),
    "memory_data": ("the same, memory of the data", 2305, FULL, ("float64",), "a quarter"),
    "memory_all": ("memory of training on them", 2305, FULL, ("float64",), "half"),
    "growth_time": ("ms a clip of one pass, 500, 2000, 8000 clips", None, FULL, (), "within 10 %"),
    "growth_memory": ("MB that no file backs, the same", None, FULL, (), "flat"),
    "help": ("step7_cnn.py --help, seconds above import torch", None, None, (), "0.5"),
}


def main(argv=None):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", nargs="+", choices=ROWS, default=list(ROWS), help="rows to measure (default: all)")
    repeats = "turns of each version after a warm-up (default: %(default)s)"
    parser.add_argument("--repeats", type=int, default=5, help=repeats)
    parser.add_argument("--threads", type=int, default=2, help="of each version (default: %(default)s)")
    args = parser.parse_args(argv)
    kept = HERE / "speed.json"
    results = json.loads(kept.read_text(encoding="utf-8")) if kept.exists() else {}
    with tempfile.TemporaryDirectory() as scratch:
        for row in args.rows:
            results[row] = measure_row(row, Path(scratch), args)
            print(f"{ROWS[row][0]}: {results[row]['said']} (target {ROWS[row][4]})", flush=True)
    results["made"] = {
        "date": datetime.date.today().isoformat(),
        "processor": processor(),
        "threads": args.threads,
        **versions(),
    }
    write_json(kept, results)
    write_table(results)
    return results


def measure_row(row, scratch, args):
    _, clips, frames, others, _ = ROWS[row]
    if row == "help":
        return starting_time(args.repeats)
    if row.startswith("growth"):
        found = [
            take_turns({"ours": [row, "ours", noise_folder(scratch, count, frames)]}, args)["ours"]
            for count in (500, 2000, 8000)
        ]
        values = [statistics.median(turns) for turns in found]
        return {"values": values, "said": ", ".join(f"{value:.2f}" for value in values)}
    folder = noise_folder(scratch, clips, frames)
    if row in ("cnn_floor", "cnn_resident"):
        turns = take_turns({"ours": ["cnn_train", "ours", folder], "other": [row, "ours", folder]}, args)
        ratios = [ours / other for ours, other in zip(turns["ours"], turns["other"], strict=True)]
        return {
            **summary(ratios),
            "turns": turns,
            "said": f"{spread(ratios)} times {statistics.median(turns['other']):.2f} s",
        }
    turns = take_turns({version: [row, version, folder] for version in ("ours", *others)}, args)
    texts, ratios = [], {}
    for version in others:
        pairs = [other / max(ours, 1e-9) for ours, other in zip(turns["ours"], turns[version], strict=True)]
        ratios[version] = summary(pairs)
        unit = "MB" if row.startswith("memory") else "s"
        texts.append(f"{spread(pairs)}x ({version} {statistics.median(turns[version]):.2f} {unit})")
    return {"ratios": ratios, "turns": turns, "said": f"{statistics.median(turns['ours']):.3g}; " + ", ".join(texts)}


def take_turns(versions, args):
    """{version: its measurements}, in turns; the first turn is a warm-up. versions: {name: contender's arguments}."""
    environment = {**os.environ, "OMP_WAIT_POLICY": "PASSIVE"}
    workers = {}
    for name, words in versions.items():
        command = [sys.executable, "-m", "benchmarks.contender", *map(str, words), str(args.threads)]
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
        workers[name] = subprocess.Popen(command, **pipes, env=environment, cwd=HERE.parent)
    turns: dict = {name: [] for name in versions}
    for _ in range(args.repeats + 1):
        for name, worker in workers.items():
            print("go", file=worker.stdin, flush=True)
            turns[name].append(float(worker.stdout.readline()))
    for worker in workers.values():
        worker.communicate()
    return {name: values[1:] for name, values in turns.items()}


def noise_folder(scratch, clips, frames):
    """A folder in the lab's format with so many clips of noise, made once: 64 files, and links to them."""
    shortest, longest = frames
    folder = scratch / f"{clips}x{longest}"
    train = folder / "train"
    if folder.exists():
        return folder
    train.mkdir(parents=True)
    rng = np.random.default_rng(0)
    originals = []
    for ident in range(clips):
        path = train / f"{ident}.fused.full.npy"
        if ident < 64:
            length = shortest + ident % 8 * (longest - shortest) // 7
            np.save(path, np.concatenate([rng.normal(-45, 15, (128, length)).clip(-80, 0), rng.random((12, length))]))
            originals.append(path)
        else:
            os.link(originals[ident % 64], path)
    rows = "".join(f"{ident}.fused.full.npy.gz\t{('Rock', 'Folk', 'Jazz')[ident % 3]}\n" for ident in range(clips))
    (folder / "train_labels.txt").write_text("Id\tGenre\n" + rows, encoding="utf-8")
    return folder


def starting_time(repeats):
    """CPU seconds of --help beyond those of import torch."""
    commands = {"torch": ["-c", "import torch"], "help": ["step7_cnn.py", "--help"]}
    turns: dict = {name: [] for name in commands}
    for _ in range(repeats + 1):
        for name, words in commands.items():
            before = os.times()
            subprocess.run([sys.executable, *words], cwd=HERE.parent, stdout=subprocess.DEVNULL, check=True)
            after = os.times()
            turns[name].append(
                after.children_user + after.children_system - before.children_user - before.children_system
            )
    above = [there - torch for there, torch in zip(turns["help"][1:], turns["torch"][1:], strict=True)]
    return {**summary(above), "said": spread(above)}


def summary(values):
    return {"median": statistics.median(values), "smallest": min(values), "largest": max(values)}


def spread(values):
    return f"{statistics.median(values):.2f} ({min(values):.2f} to {max(values):.2f})"


def processor():
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    return next((line.split(":")[1].strip() for line in lines if line.startswith("model name")), platform.machine())


def write_table(results):
    """Writes the table between the two marks of RESULTS.md."""
    path = HERE / "RESULTS.md"
    lines = ["| what | measured | target |", "|---|---|---|"]
    lines += [
        f"| {what} | {results[row]['said']} | {target} |" for row, (what, *_, target) in ROWS.items() if row in results
    ]
    made_on = ", ".join(f"{name} {value}" for name, value in results["made"].items())
    text = path.read_text(encoding="utf-8")
    start, end = "<!--table-->\n", "<!--/table-->"
    before, after = text.split(start)[0], text.split(end)[1]
    write_atomically(path, f"{before}{start}{made_on}\n\n" + "\n".join(lines) + f"\n{end}{after}")


if __name__ == "__main__":
    main()
