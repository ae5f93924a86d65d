"""Progress bars with the time left, on stderr, so that stdout holds the log alone; log.txt; time and memory used."""

import os
import sys
import time
from contextlib import ExitStack, contextmanager, redirect_stdout

import numpy as np
import torch
from tqdm import tqdm

from common.errors import LabError, reason
from common.files import LOG, make_folder, unwritable

IN_SINGLE_FILE = False  # left out of the single file of a step: no number depends on it

MEMORY_ERRORS = (torch.cuda.OutOfMemoryError, MemoryError)  # PyTorch says it of the CPU by a RuntimeError


def progress(iterable, description, unit, inner=False, total=None):
    """The iterable with a progress bar: on a terminal; elsewhere a line every 10 s, and nothing for an inner bar.

    total: how many there are, where the iterable has no length; a resumed iterable has an attribute `done`.
    """
    terminal = sys.stderr.isatty()
    return tqdm(
        iterable,
        desc=description,
        unit=unit,
        total=total,
        initial=getattr(iterable, "done", 0),
        leave=not inner,
        disable=(inner and not terminal) or bars_are_off(),
        mininterval=0.1 if terminal else 10,
        dynamic_ncols=True,
    )


def note(text):
    """A line on stderr beside the bars."""
    if not bars_are_off():
        print(text, file=sys.stderr)


def bars_are_off():
    return bool(os.environ.get("TQDM_DISABLE"))  # tqdm's own variable, which it reads when it is imported alone


@contextmanager
def full_memory_in_a_sentence(arguments):
    """Raises LabError, naming --batch-size, where the memory cannot hold a batch."""
    try:
        yield
    except Exception as error:
        if "batch_size" in arguments and (isinstance(error, MEMORY_ERRORS) or "DefaultCPUAllocator" in str(error)):
            size = arguments["batch_size"]
            raise LabError(f"--batch-size {size}: a batch of fewer clips was expected, the memory is full") from error
        raise


@contextmanager
def logged(run):
    """Copies what is printed into <run's folder>/log.txt, by a Tee that is run.log. LabError if it cannot be written."""
    make_folder(run.folder)
    if (run.folder / LOG).is_symlink():
        raise LabError(f"{run.folder / LOG}: no link was expected there; remove it, or give another --out")
    with ExitStack() as held:
        try:
            log = held.enter_context(open(run.folder / LOG, "wb", buffering=0))
        except OSError as error:
            raise unwritable(run.folder, error) from error
        run.log = held.enter_context(redirect_stdout(Tee(sys.stdout, log)))
        yield


class Tee:
    """A stream that writes to the screen, without touching a progress bar, and to the log.

    log: an unbuffered binary file, so that nothing is lost when the process is killed; written: all texts so far.
    """

    def __init__(self, screen, log):
        self.screen, self.log, self.written = screen, log, []

    def write(self, text):
        try:
            with tqdm.external_write_mode(file=self.screen):
                self.screen.write(text)
        except BrokenPipeError:
            raise  # run_script's
        except OSError as error:
            raise LabError(f"the output could not be written where it goes ({reason(error)})") from error
        self.written.append(text)
        rest = text.encode("utf-8", "backslashreplace")
        try:
            while rest:
                rest = rest[self.log.write(rest) :]
        except OSError as error:
            why = f"the log cannot be written ({reason(error)})"
            raise LabError(f"{self.log.name}: {why}; --out DIR puts runs elsewhere") from error

    def flush(self):
        self.screen.flush()


class Clock:
    """When a run began, and how long each of its epochs took, in seconds."""

    def __init__(self):
        self.started, self.epoch_seconds = time.monotonic(), []


def used_by(clock):
    """Seconds since a Clock began, the median seconds of its epochs, and the process's peak memory in MB."""
    per_epoch = round(float(np.median(clock.epoch_seconds)), 3) if clock.epoch_seconds else None
    return {
        "seconds": round(time.monotonic() - clock.started, 1),
        "epoch_seconds": per_epoch,
        "peak_memory_mb": peak_memory_mb(),
    }


def note_used(folder, used):
    """A line on stderr: the time and memory of the run in a folder, as used_by gives them."""
    memory = f", peak memory {used['peak_memory_mb']} MB" if used["peak_memory_mb"] else ""
    note(f"{folder}: {used['seconds']} s{memory}")


def peak_memory_mb():
    """The peak resident size of this process, mapped files included; None where the system has no such number."""
    if os.name != "posix":
        return None
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak // (1024 * 1024 if sys.platform == "darwin" else 1024)
