"""Flags that the steps had in earlier versions: each an error that says what takes its place."""

import argparse

IN_SINGLE_FILE = False  # left out of the single file of a step: it has no earlier versions

FORMER = {
    "--recipe": "compete.py is the tuned recipe: python compete.py genres, or emotions",
    "--change": "compete.py is the tuned recipe; its numbers stand at the top of extras/tuned/train.py",
    "--checkpoint": "evaluate.py scores a checkpoint: python evaluate.py FILE",
}


def add_former_flags(parser):
    """Adds the flags of earlier versions, which --help does not show."""
    for flag, instead in FORMER.items():
        parser.add_argument(
            flag, nargs="*", action=Gone, help=argparse.SUPPRESS, default=argparse.SUPPRESS, metavar=instead
        )


class Gone(argparse.Action):
    """A flag of an earlier version: an error that says what takes its place."""

    def __call__(self, parser, namespace, values, option_string=None):
        parser.error(f"{option_string} is no flag of this script any more; {self.metavar}")
