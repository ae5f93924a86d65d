"""One file for coursework: a step, and just the definitions of common/ that it uses, with no import from the project.

    python -m extras.single_file step7_cnn.py -o step7_single.py
    python -m extras.single_file --names SpectrogramDataset torch_train_val_split -o dataset.py

The statements stand there as in the project. What is left out are whole statements: those that mention extras/, or a
module of common/ that says IN_SINGLE_FILE = False. The numbers are the step's, but for rounding in a CNN, since
extras/speed is left out.
"""

import hashlib
from pathlib import Path

from common.cli import OneSentenceParser, file_path, run_script
from common.errors import LabError, reason
from common.files import write_atomically
from extras.single_file.bundle import STEPS, single_names, single_step

SCRIPTS = ", ".join(f"{step}.py" for step in STEPS)


def main(argv=None):
    parser = OneSentenceParser(prog="python -m extras.single_file", description=__doc__)
    parser.add_argument("step", nargs="?", help=f"a step script: {SCRIPTS}")
    parser.add_argument(
        "--names", nargs="+", metavar="NAME", help="definitions of common/ instead of a step, for a file to import"
    )
    parser.add_argument("-o", "--output", type=file_path, metavar="FILE", help="the single file to write")
    args = parser.parse_args(argv)
    if bool(args.step) == bool(args.names):
        parser.error(f"a step script ({SCRIPTS}) or --names NAME ... was expected, and -o FILE")
    if not args.output:
        parser.error("-o FILE was expected, the single file to write")
    target = Path(args.output)
    check_submit_path(target)
    if args.names:
        source, text = f"{', '.join(args.names)}"[:50], single_names(list(dict.fromkeys(args.names)))
    else:
        source = Path(args.step).name
        if source.removesuffix(".py") not in STEPS:
            raise LabError(f"{args.step}: one of the step scripts was expected: {SCRIPTS}")
        text = single_step(source.removesuffix(".py"), target.name)
    write(target, text, source)
    print(f"{target}: {len(text.splitlines()) + 1} lines")


def check_submit_path(path):
    """LabError, naming the file, where another file is there, where it was edited since, or where its folder is not
    there.
    """
    if path.exists() and not is_ours(path):
        raise LabError(
            f"-o {path}: a file that this program wrote and nobody has edited, or none, was expected there; nothing was written"
        )
    if not path.absolute().parent.is_dir():
        raise LabError(f"-o {path}: a file in a folder that is there was expected")


def write(path, text, source):
    """Writes the file below a line with its hash; LabError, naming it, where the disk refuses."""
    try:
        write_atomically(path, f"{heading(text, source)}\n{text}")
    except LabError as error:
        raise LabError(f"-o {path}: a file that can be written was expected ({reason(error.__cause__)})") from error


def heading(text, source):
    return f"# From {source} by extras/single_file; sha256 of the lines below: {digest(text)}"


def digest(text):
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def is_ours(path):
    """Whether a file is as this program wrote it."""
    try:
        first, _, text = path.read_text(encoding="utf-8").partition("\n")
    except (OSError, ValueError):
        return False
    return first.startswith("# From ") and first.endswith(f": {digest(text)}")


if __name__ == "__main__":
    run_script(main)
