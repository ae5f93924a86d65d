"""`python -m common.bundle` of earlier versions: names what replaces it."""

import sys

IN_SINGLE_FILE = False  # left out of the single file of a step: it has no earlier versions

if __name__ == "__main__":
    sys.exit("error: python -m extras.single_file STEP -o FILE replaces common.bundle")
