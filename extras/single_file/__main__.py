"""Writes one file for coursework: a step with the definitions of common/ that it uses, independent of the project.

    python -m extras.single_file step7_cnn.py -o step7_single.py
    python -m extras.single_file --names SpectrogramDataset torch_train_val_split -o dataset.py

Statements are copied unchanged. Those that use extras/, or a module of common/ with IN_SINGLE_FILE = False, are left
out whole. The file gives the numbers of the step, up to rounding for a CNN, since extras/speed is left out.
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
    names_help = "definitions of common/ instead of a step, as a module to import"
    parser.add_argument("--names", nargs="+", metavar="NAME", help=names_help)
    parser.add_argument("-o", "--output", type=file_path, metavar="FILE", help="path of the single file")
    args = parser.parse_args(argv)
    if bool(args.step) == bool(args.names):
        parser.error(f"a step script ({SCRIPTS}) or --names NAME ... was expected, and -o FILE")
    if not args.output:
        parser.error("-o FILE was expected, the path of the single file")
    target = Path(args.output)
    check_output_path(target)
    if args.names:
        source, text = f"{', '.join(args.names)}"[:50], single_names(list(dict.fromkeys(args.names)))
    else:
        source = Path(args.step).name
        if source.removesuffix(".py") not in STEPS:
            raise LabError(f"{args.step}: one of the step scripts was expected: {SCRIPTS}")
        text = single_step(source.removesuffix(".py"), target.name)
    write(target, text, source)
    print(f"{target}: {len(text.splitlines()) + 1} lines")


def check_output_path(path):
    """LabError, naming the path, where another or an edited file would be overwritten, or where there is no folder."""
    if path.exists() and not is_ours(path):
        expected = "a new path, or an unedited file by this program, was expected"
        raise LabError(f"-o {path}: {expected}; nothing was written")
    if not path.absolute().parent.is_dir():
        raise LabError(f"-o {path}: a path in an existing folder was expected")


def write(path, text, source):
    """Writes the file with a first line that has its hash; LabError, naming it, where it cannot be written."""
    try:
        write_atomically(path, f"{heading(text, source)}\n{text}")
    except LabError as error:
        raise LabError(f"-o {path}: a file that can be written was expected ({reason(error.__cause__)})") from error


def heading(text, source):
    return f"# From {source} by extras/single_file; sha256 of the lines below: {digest(text)}"


def digest(text):
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def is_ours(path):
    """Whether a file was written by this program and not edited since."""
    try:
        first, _, text = path.read_text(encoding="utf-8").partition("\n")
    except (OSError, ValueError):
        return False
    return first.startswith("# From ") and first.endswith(f": {digest(text)}")


if __name__ == "__main__":
    run_script(main)
