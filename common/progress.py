"""Progress bars with the time left, on stderr, so that stdout holds the logs alone."""

import os
import sys

from tqdm import tqdm


def progress(iterable, description, unit, inner=False, total=None):
    """The iterable behind a bar. Where stderr is no terminal the bar writes a line every 10 s, and an inner bar nothing at all.

    total: how many there are, where the iterable has no length; an iterable that goes on has an attribute `done`.
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
