"""Progress bars with the time left, on stderr, so that stdout holds the logs alone."""

import sys

from tqdm import tqdm


def progress(iterable, description, unit, inner=False, total=None, initial=0):
    """The iterable behind a bar. Where stderr is no terminal the bar writes a line every 10 s, and an inner bar nothing at all.

    initial: how many of `total` were done before the first of the iterable.
    """
    terminal = sys.stderr.isatty()
    return tqdm(
        iterable,
        desc=description,
        unit=unit,
        total=total,
        initial=initial,
        leave=not inner,
        disable=inner and not terminal,
        mininterval=0.1 if terminal else 10,
        dynamic_ncols=True,
    )
