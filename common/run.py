"""A run's folder, ROOT/<step>/<variant>/: what a step writes, so that every figure of its report can be found and recomputed."""

import csv
import io
import json
import os
import shutil
import sys
import time
from contextlib import ExitStack, contextmanager, redirect_stdout
from pathlib import Path

import numpy as np
import torch
from filelock import FileLock, Timeout
from tqdm import tqdm

from common.checkpoints import save_checkpoint
from common.errors import LabError, reason
from common.files import write_atomically, write_json
from common.metrics import mean_or_none
from common.plots import png
from common.progress import note
from common.recipes import recipe_of
from common.resume import read_states
from common.versions import versions

MEMORY_ERRORS = (torch.cuda.OutOfMemoryError, MemoryError)  # PyTorch says it of the CPU by a RuntimeError
METRICS = "metrics.json"  # written last: a folder without it is a run that did not end


class Run:
    """One run's folder and what is known of it. `facts` go into its checkpoint and metrics: data, classes, mode, architecture, ids.

    arguments: as resolved_arguments gives them; log: the Tee behind sys.stdout; saved: the states to go on from, as read_states gives them.
    """

    def __init__(self, folder, facts, arguments, log, saved):
        self.folder, self.facts, self.arguments, self.log, self.saved = folder, facts, arguments, log, saved
        self.started, self.epoch_seconds = time.monotonic(), []

    def save_best(self, best, name="best"):
        """The best epoch's weights, a BestEpoch, as <name>.pt with the run's facts."""
        save_checkpoint(self.folder / f"{name}.pt", best.weights, {**self.facts, "epoch": best.epoch})

    def save_figure(self, name, figure):
        """A matplotlib Figure as <name>.png; on demo music it says so itself."""
        if self.facts["demo"]:
            figure.text(0.998, 0.002, "demo music", ha="right", va="bottom", fontsize=8, color="grey")
        write_atomically(self.folder / f"{name}.png", png(figure))

    def save_predictions(self, rows, suffix=""):
        """predictions<suffix>.csv from [{column: value}], every row with the same columns."""
        text = io.StringIO()
        writer = csv.DictWriter(text, rows[0].keys(), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
        write_atomically(self.folder / f"predictions{suffix}.csv", text.getvalue())

    def finish(self, result, metrics=None, history=None):
        """Writes history.json where something was trained and, last of all, metrics.json with `result`, the RESULT line's figures.

        Returns the result. The ids that the network has seen stand in its checkpoint alone.
        """
        if history:
            write_json(self.folder / "history.json", history)
        per_epoch = round(float(np.median(self.epoch_seconds)), 3) if self.epoch_seconds else None
        used = {"seconds": round(time.monotonic() - self.started, 1), "epoch_seconds": per_epoch, "peak_memory_mb": peak_memory_mb()}
        facts = {name: value for name, value in self.facts.items() if name != "seen"}
        write_json(self.folder / METRICS, {"result": result, **facts, "used": used, "metrics": metrics})
        memory = f", peak memory {used['peak_memory_mb']} MB" if used["peak_memory_mb"] else ""
        note(f"{self.folder}: {used['seconds']} s{memory}")
        return result


@contextmanager
def open_run(args, step, variant, data):
    """A fresh folder for one run, its log teed into log.txt. An earlier run there is renamed to <variant>.old-<n>, and back again
    where this one fails before it has saved anything. With --resume a folder that holds a state of training is gone on with instead.

    args: the resolved arguments; data: LabData. Raises LabError where the folder cannot be written or another process is writing it, where
    the state is of other arguments or data, and where the memory holds no batch; a KeyboardInterrupt says that --resume would help.
    """
    folder = Path(args.out).resolve() / step / variant
    arguments, resume = resolved_arguments(args, data), getattr(args, "resume", False)
    facts = {"step": step, "variant": variant, "mode": args.mode, "seed": args.seed, "demo": data.demo}
    facts |= {"recipe": recipe_of(args), "data": data.fingerprint, "data_path": str(data.path), "class_mapping": data.class_mapping}
    with ExitStack() as held:
        try:
            folder.parent.mkdir(parents=True, exist_ok=True)
            held.enter_context(FileLock(folder.parent / f".{variant}.lock", timeout=0))
            saved = read_states(folder, arguments, data.fingerprint) if resume else {}
            earlier = None if saved else keep_earlier(folder)
            folder.mkdir(exist_ok=True)
            log = held.enter_context(open(folder / "log.txt", "wb", buffering=0))
        except Timeout as error:
            raise LabError(f"{folder}: another process is writing this run; wait for it, or give another --out") from error
        except OSError as error:
            raise LabError(f"{folder}: the run cannot be written there ({reason(error)}); --out DIR puts runs elsewhere") from error
        try:
            with redirect_stdout(Tee(sys.stdout, log)) as tee:
                write_json(folder / "arguments.json", {"arguments": arguments, "versions": versions()})
                yield Run(folder, facts, arguments, tee, saved)
        except BaseException as error:
            if holds_nothing(folder):
                log.close()  # Windows removes no open file
                shutil.rmtree(folder, ignore_errors=True)
                if earlier and not folder.exists():
                    earlier.rename(folder)
            if hasattr(args, "batch_size") and (isinstance(error, MEMORY_ERRORS) or "DefaultCPUAllocator" in str(error)):
                raise LabError(f"--batch-size {args.batch_size}: a batch of fewer clips was expected, the memory is full") from error
            if isinstance(error, KeyboardInterrupt) and args.mode == "full" and hasattr(args, "resume"):
                raise KeyboardInterrupt("--resume goes on") from error
            raise


def resolved_arguments(args, data):
    """The arguments as they were used: whole paths in place of what was left to the defaults; --resume, which changes nothing, left out."""
    given = {name: value for name, value in vars(args).items() if name != "resume"}
    return {**given, "data": str(data.path), "out": str(Path(args.out).resolve())}


def keep_earlier(folder):
    """Renames a folder that is there already to the first free <name>.old-<n>; returns its new path, None where there was none.

    What a process left that was killed before it had saved anything is removed.
    """
    if folder.is_dir() and holds_nothing(folder):
        shutil.rmtree(folder)
    if not folder.exists():
        return None
    number = 1
    while folder.with_name(f"{folder.name}.old-{number}").exists():
        number += 1
    return folder.rename(folder.with_name(f"{folder.name}.old-{number}"))


def holds_nothing(folder):
    """Whether a run's folder has neither weights nor metrics in it."""
    return not any(folder.glob("*.pt")) and not (folder / METRICS).exists()


class Tee:
    """A stream that writes to the screen and to the log, with any progress bar out of the way.

    log: an unbuffered binary file, so that nothing waits in memory when the process is killed; written: all texts so far.
    """

    def __init__(self, screen, log):
        self.screen, self.log, self.written = screen, log, []

    def write(self, text):
        with tqdm.external_write_mode(file=self.screen):
            self.screen.write(text)
        self.written.append(text)
        rest = text.encode("utf-8", "backslashreplace")
        try:
            while rest:
                rest = rest[self.log.write(rest) :]
        except OSError as error:
            raise LabError(f"{self.log.name}: the log cannot be written ({reason(error)}); --out DIR puts runs elsewhere") from error

    def flush(self):
        self.screen.flush()


def read_runs(root, step, data, recipe="writeup", **facts):
    """The metrics of the finished runs of a step that were made on the same data, by this recipe, and agree in the facts given."""
    found = []
    for path in sorted(Path(root).glob(f"{step}/*/{METRICS}")):
        if ".old-" in path.parent.name:
            continue
        try:
            run = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError, RecursionError) as error:
            raise LabError(f"{path}: the metrics of a finished run were expected ({reason(error)})") from error
        if not isinstance(run, dict):
            raise LabError(f"{path}: the metrics of a finished run were expected, a JSON object")
        if all(run.get(name) == value for name, value in {"data": data.fingerprint, "recipe": recipe, **facts}.items()):
            found.append({**run, "folder": str(path.parent)})
    return found


def print_results(step, args, data, rows_by_seed):
    """The RESULT lines, last of all: one for each row of each seed and, where there are several seeds, the same rows as means.

    rows_by_seed: for each seed the same list of {key: value}. Returns the rows, as means where there are several seeds.
    """
    if len(rows_by_seed) == 1:
        for row in rows_by_seed[0]:
            print(result_line(step, data, args.mode, row))
        return rows_by_seed[0]
    for number, rows in enumerate(rows_by_seed):
        for row in rows:
            print(result_line(step, data, args.mode, {**row, "seed": args.seed + number}))
    means = mean_rows(rows_by_seed)
    for row in means:
        print(result_line(step, data, args.mode, row))
    return means


def mean_rows(rows_by_seed):
    """[[{key: value}] of each seed] -> [{key: mean, ..., "seeds": N, "<key>_sd": sample deviation}]; None where a seed has none.

    Words and counts on which the seeds differ, a verdict say, stand one after the other, learns/slow.
    """
    means = []
    for rows in zip(*rows_by_seed, strict=True):
        measured = [key for key, value in rows[0].items() if value is None or isinstance(value, float)]
        columns = {key: [row[key] for row in rows] for key in measured}
        told = {key: dict.fromkeys(row[key] for row in rows) for key in rows[0].keys() - columns.keys()}
        said = {key: "/".join(map(str, values)) for key, values in told.items() if len(values) > 1}
        row = {**rows[0], **said, **{key: mean_or_none(values) for key, values in columns.items()}, "seeds": len(rows)}
        deviations = {f"{key}_sd": None if None in values else float(np.std(values, ddof=1)) for key, values in columns.items()}
        means.append({**row, **deviations})
    return means


def result_line(step, data, mode, figures):
    """RESULT <step> key=value ...: floats with four decimals, None as undefined; demo music, dry runs and given checkpoints are marked."""
    marks = {"data": "demo"} if data.demo else {}
    if mode in ("quick", "score"):
        marks["mode"] = mode
    texts = {key: "undefined" if value is None else f"{value:.4f}" if isinstance(value, float) else value for key, value in figures.items()}
    return f"RESULT {step} " + " ".join(f"{key}={text}" for key, text in {**texts, **marks}.items())


def peak_memory_mb():
    """The largest resident size that this process has had, mapped files included; None where the system does not tell."""
    if os.name != "posix":
        return None
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak // (1024 * 1024 if sys.platform == "darwin" else 1024)
