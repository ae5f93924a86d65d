"""What a terminal shows: progress bars on stderr, so that stdout holds the log alone, header, --help; time and memory."""

import argparse
import io
import os
import re
import sys
import textwrap
import time
from contextlib import ExitStack, contextmanager, redirect_stdout

import numpy as np
import torch
from tqdm import tqdm

from common.errors import LabError, reason
from common.files import LOG, make_folder, unwritable

IN_SINGLE_FILE = False  # left out of the single file of a step: no number depends on it

FOLD = textwrap.TextWrapper(80, subsequent_indent=" " * 13, break_long_words=False, break_on_hyphens=False)
MEMORY_ERRORS = (torch.cuda.OutOfMemoryError, MemoryError)  # PyTorch says it of the CPU by a RuntimeError


def progress(iterable, description, unit, inner=False, total=None):
    """The iterable with a progress bar: on a terminal; elsewhere a line every 10 s, and nothing for an inner bar.

    total: how many there are, where the iterable has no length.
    """
    if sys.stderr.isatty() and not bars_are_off():
        return tqdm(iterable, description, total, leave=not inner, unit=unit, dynamic_ncols=True)
    return iterable if inner else noted(iterable, description, unit, total or len(iterable))


def noted(iterable, description, unit, total):
    """Yields the items of an iterable with a note every 10 s."""
    latest = time.monotonic()
    for number, item in enumerate(iterable):
        if time.monotonic() - latest >= 10:
            latest = time.monotonic()
            note(f"{description}: {number} of {total} {unit}s")
        yield item


def note(text):
    """A line beside the bars: on stderr, in a notebook, which colours that red, on its stdout; never in log.txt."""
    if not bars_are_off():
        screen = getattr(sys.stdout, "screen", sys.stdout)
        print(text, file=screen if "ipykernel" in sys.modules else sys.stderr)


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
        run.log.flush()


@contextmanager
def in_log_alone(run, alone=True):
    """What is printed within goes into the run's log.txt alone."""
    run.log.alone = alone
    try:
        yield
    finally:
        run.log.alone = False


def begin_network(run, args):
    """Takes the header off the screen, but not out of log.txt, where another network of the script has shown it."""
    args.shown -= {"data", "demo", "device", "out"}  # other lines of the header have them
    run.again, args.begun = getattr(args, "begun", False), True
    if run.again:
        run.log.show("\n")


@contextmanager
def header_lines(run, again=False):
    """Folds what is printed within at 80 columns, and shortens paths; again: into log.txt alone."""
    with redirect_stdout(io.StringIO()) as lines:
        yield
    with in_log_alone(run, again):
        for line in lines.getvalue().splitlines():
            print("\n".join(FOLD.wrap(short(line))))


def short(text):
    """A text whose paths begin at the current folder where they lie in it."""
    return re.sub(rf"(?<!\S){re.escape(os.getcwd() + os.sep)}", "", str(text))


class Paragraphs(argparse.HelpFormatter):
    """Wraps the description of --help at the terminal's width, paragraph by paragraph, but no indented commands."""

    def _fill_text(self, text, width, indent):
        fill = super()._fill_text
        return "\n\n".join(p if p.startswith(" ") else fill(p, width, indent) for p in text.strip("\n").split("\n\n"))


def explain(parser, **texts):
    """Other texts of --help, by name, for flags that mean something else in this script."""
    for action in parser._actions:
        action.help = texts.get(action.dest, action.help)


class Tee:
    """A stream that writes to the screen, in whole lines above a progress bar, and to the log.

    log: an unbuffered binary file, so that nothing is lost when the process is killed; written: all texts so far.
    """

    def __init__(self, screen, log):
        self.screen, self.log, self.written = screen, log, []
        self.line, self.alone = "", False  # an unfinished line; whether the screen is left out

    def write(self, text):
        if not self.alone:
            lines, end, self.line = (self.line + text).rpartition("\n")
            if end:
                self.show(lines + end)
        self.written.append(text)
        rest = text.encode("utf-8", "backslashreplace")
        try:
            while rest:
                rest = rest[self.log.write(rest) :]
        except OSError as error:
            why = f"the log cannot be written ({reason(error)})"
            raise LabError(f"{self.log.name}: {why}; --out DIR puts runs elsewhere") from error

    def show(self, text):
        try:
            with tqdm.external_write_mode(file=self):  # takes the bars away meanwhile
                self.screen.write(text)
                if not text.endswith("\n"):
                    self.screen.flush()
        except BrokenPipeError:
            raise  # run_script's
        except OSError as error:
            raise LabError(f"the output could not be written where it goes ({reason(error)})") from error

    def flush(self):
        rest, self.line = self.line, ""
        self.show(rest)


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
    note(f"{short(folder)}: {used['seconds']} s{memory}")


def peak_memory_mb():
    """The peak resident size of this process, mapped files included; None where the system has no such number."""
    if os.name != "posix":
        return None
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak // (1024 * 1024 if sys.platform == "darwin" else 1024)
