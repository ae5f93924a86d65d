"""Does the suite notice wrong numbers? Plants the faults of tests/faults/ one at a time in a copy and runs the tests
that belong to each.

    python tests/planted.py
    python tests/planted.py --only step7 --jobs 2

Prints a line for each fault, noticed or MISSED, and a table by area. A fault whose text is no longer there, or stands
there twice, is an error and no pass: mend its entry. Exit code 1 where a fault was missed or does not apply. Not part
of make test: it takes an hour.
"""

import argparse
import ast
import os
import runpy
import shutil
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

REPOSITORY = Path(__file__).resolve().parent.parent
LONGEST = 900  # seconds of one fault's tests; whoever never ends is noticed too
LEFT = shutil.ignore_patterns(
    ".git", ".venv", "runs", "cache", "demo_data*", "data", "__pycache__", ".*_cache", ".hypothesis"
)


class Fault(NamedTuple):
    """A text in a definition, and what takes its place: a wrong number that looks right.

    place: "feature_mean_and_std", "BestEpoch.update" or a constant's name, wherever it is defined; "step7_cnn.py:train_and_test"
    in one file.
    find: stands exactly once in the definition. tests: files below tests/, or tests in them, separated by blanks, that
    have to notice.
    """

    area: str
    name: str
    place: str
    find: str
    put: str
    tests: str


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--only", default="", metavar="WORD", help="the faults whose file, area, name or place has this word"
    )
    parser.add_argument("--jobs", type=int, default=2, help="faults tried at the same time (default: %(default)s)")
    args = parser.parse_args()
    chosen = [fault for file, fault in all_faults() if args.only in f"{file} {fault.area} {fault.name} {fault.place}"]
    if not chosen:
        parser.error(f"--only {args.only}: no fault has this word")
    problems = [problem for fault in chosen if (problem := planted_source(REPOSITORY, fault)[2])]
    for problem in problems:
        print(f"ERROR   {problem}")
    with tempfile.TemporaryDirectory() as folder:
        clean = Path(folder) / "clean"
        shutil.copytree(REPOSITORY, clean, ignore=LEFT)
        code, said = run_tests(clean, " ".join(sorted({name for fault in chosen for name in fault.tests.split()})))
        if code:
            sys.exit(f"the tests fail without any fault\n{said[-3000:]}")
        with ThreadPoolExecutor(args.jobs) as pool:
            found = list(pool.map(lambda pair: try_fault(Path(folder) / str(pair[0]), pair[1]), enumerate(chosen)))
    for area in dict.fromkeys(fault.area for fault in chosen):
        noticed = [seen for fault, seen in zip(chosen, found, strict=True) if fault.area == area]
        print(f"{area:24} {sum(noticed):3d} of {len(noticed)}")
    print(f"{'all':24} {sum(found):3d} of {len(found)}")
    sys.exit(bool(problems) or not all(found))


def all_faults():
    """[(file's name, Fault)] of the lists in tests/faults/."""
    sys.modules.setdefault("planted", sys.modules[__name__])
    found = []
    for path in sorted((REPOSITORY / "tests" / "faults").glob("*.py")):
        found += [(path.stem, fault) for fault in runpy.run_path(str(path))["FAULTS"]]
    return found


def try_fault(copy, fault):
    """Whether the tests notice the fault in a copy of the repository; prints the verdict."""
    shutil.copytree(REPOSITORY, copy, ignore=LEFT)
    path, source, problem = planted_source(copy, fault)
    if problem:
        return False
    path.write_text(source, encoding="utf-8")
    code, said = run_tests(copy, fault.tests)
    shutil.rmtree(copy)
    first = next((line for line in said.splitlines() if line.startswith(("FAILED", "ERROR"))), "")
    print(f"{'noticed' if code else 'MISSED '} {fault.area}: {fault.name} {first[:120]}", flush=True)
    return bool(code)


def run_tests(folder, tests):
    """(exit code of pytest on these files below `folder`, what it printed)."""
    command = [sys.executable, "-m", "pytest", "-x", "-q", "-p", "no:cacheprovider", "--tb=line", "-m", ""]
    paths = [str(folder / "tests" / name) for name in tests.split()]
    try:
        done = subprocess.run(
            [*command, *paths],
            cwd=folder,
            capture_output=True,
            text=True,
            timeout=LONGEST,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
        )
    except subprocess.TimeoutExpired:
        return -1, "FAILED: it never ended"
    return done.returncode, done.stdout + done.stderr


def planted_source(root, fault):
    """(path, its text with the fault in it, None), or (None, None, what is wrong with the fault)."""
    script, _, function = fault.place.rpartition(":")
    paths = (
        [path for path in [root / script] if path.exists()]
        if script
        else sorted([*root.glob("common/**/*.py"), *root.glob("extras/**/*.py"), *root.glob("*.py")])
    )
    found = []
    for path in paths:
        text = path.read_text(encoding="utf-8")
        for start, end in definitions(text, function):
            found += [(path, text, start, end)] * text[start:end].count(fault.find)
    if len(found) != 1:
        return (
            None,
            None,
            f"{fault.area}: {fault.name}: {fault.find!r} stands {len(found)} times in {fault.place}, once was expected",
        )
    path, text, start, end = found[0]
    return path, text[:start] + text[start:end].replace(fault.find, fault.put) + text[end:], None


def definitions(text, name):
    """[(start, end)] in the text of the functions, classes, methods (Class.method) and top-level names that are called
    `name`.
    """
    offsets = [0]
    for line in text.splitlines(keepends=True):
        offsets.append(offsets[-1] + len(line))
    tree, found = ast.parse(text), []
    nodes = [(node, "") for node in tree.body]
    while nodes:
        node, above = nodes.pop()
        names = (
            [node.name]
            if hasattr(node, "name")
            else [t.id for t in getattr(node, "targets", []) if isinstance(t, ast.Name)]
        )
        if any(above + each == name for each in names):
            first = min([node.lineno, *(each.lineno for each in getattr(node, "decorator_list", []))])
            found.append((offsets[first - 1], offsets[node.end_lineno]))
        elif isinstance(node, ast.ClassDef):
            nodes += [(child, f"{node.name}.") for child in node.body]
    return found


if __name__ == "__main__":
    main()
