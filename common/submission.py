"""The competition's file: a line for each clip of the unlabelled test split."""

import math

from common.errors import LabError, shown
from common.files import check_own, file_path, write_own
from common.labels import AXES

IN_SINGLE_FILE = False  # left out of the single file of a step: it reports on clips with labels

HANDOUT_HEADER = "Id.fused.full.npy.gz"  # as the course's handout prints it; other years' differ
HANDOUT_SUFFIX = ".fused.full.npy.gz"


def add_submit_flags(parser):
    """Adds the flags for the competition's file."""
    text = "write the competition's file for the unlabelled test split"
    parser.add_argument("--submit", type=file_path, metavar="FILE", help=text)
    text = "its first column's name (default: %(default)s)"
    parser.add_argument("--submit-header", default=HANDOUT_HEADER, metavar="TEXT", help=text)
    text = "what follows an id in it (default: %(default)s)"
    parser.add_argument("--submit-suffix", default=HANDOUT_SUFFIX, metavar="TEXT", help=text)


def check_submit_path(path, *names):
    """Raises LabError where the file may not be written there, or with these names; a step asks before it trains."""
    check_own(path, "--submit")
    for text in names:
        if "," in text or len(f"|{text}|".splitlines()) > 1:
            expected = "names without comma and line break were expected"
            raise LabError(f"{path}: {expected}, not {shown(text)}; nothing was written")


def write_submission(path, ids, values, header=HANDOUT_HEADER, suffix=HANDOUT_SUFFIX):
    """Writes <id><suffix>,<valence>,<energy>,<danceability> in plain decimals below a header line, whole or not at all.

    ids: clip ids, each once; values: (n, 3) finite numbers. Raises LabError where a value is not finite, where an axis
    is equal for all clips (rank correlation, by which the competition is judged, is undefined then), or where a comma
    or line break would split a line.
    """
    if len(set(ids)) != len(ids) or len(ids) != len(values):
        raise ValueError("one row of values for each clip, and each clip once, was expected")
    check_submit_path(path, header, suffix, *ids)
    for axis, column in zip(AXES, zip(*values, strict=True), strict=True):
        if not all(math.isfinite(value) for value in column):
            raise LabError(f"{path}: finite predictions were expected, but {axis} has others; nothing was written")
        if len({f"{value:.6f}" for value in column}) == 1:
            equal = f"{axis} is predicted equal for all clips, which has no rank correlation"
            raise LabError(f"{path}: {equal}; nothing was written")
    rows = [
        ",".join([f"{ident}{suffix}", *(f"{value:.6f}" for value in row)])
        for ident, row in zip(ids, values, strict=True)
    ]
    write_own(path, "\n".join([",".join([header, *AXES]), *rows]) + "\n", "--submit")
