"""Flags of earlier versions: each is an error that names what replaces it."""

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
        hidden = {"help": argparse.SUPPRESS, "default": argparse.SUPPRESS}
        parser.add_argument(flag, nargs="*", action=Gone, metavar=instead, **hidden)


class Gone(argparse.Action):
    """A flag of an earlier version: an error that names what replaces it."""

    def __call__(self, parser, namespace, values, option_string=None):
        parser.error(f"{option_string} is no flag of this script any more; {self.metavar}")
