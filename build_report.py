"""The write-up regenerated: every finished run of these data on one page, in its order and next to its numbers.

    python build_report.py
    python build_report.py --data DIR --out runs --seed 0 --seeds 5

The write-up is the report of 2020-21 that this repository makes reproducible. Needs runs of the steps in --out; for a
step without any the page shows the command that makes one. Takes seconds. Writes report.html, one file that contains
its pictures, and report.md, which links to them, into --out.
"""

import base64
import os
import re
from pathlib import Path
from urllib.parse import quote

from common.cache import cache_folder
from common.cli import run_script, step_parser, whole
from common.errors import LabError, reason
from common.files import check_own, write_own
from common.locations import REPOSITORY, find_data
from common.progress import explain
from common.report import result_line
from common.versions import keep_checksums
from extras.demo.folder import demo_folder
from extras.page.page import build_page
from extras.page.results import find_results

STEP = "build_report"
SCALE = 0.72  # of a picture's size in a browser, whose pixels are larger than the 110 per inch it is drawn with
TEMPLATES = {"report.html": "page_template.html", "report.md": "page_template.md"}  # in extras/page/


def main(argv=None):
    parser = step_parser(__doc__)
    parser.add_argument("--seeds", type=whole(1), metavar="N", help="runs of N seeds from --seed on (default: all)")
    seed, out = "first seed of the runs to show", "where the runs are and the page is written"
    kept = "where checksums of the files are kept (default: cache/)"
    explain(
        parser,
        seed=f"{seed} (default: %(default)s)",
        out=f"{out} (default: %(default)s)",
        cache=kept,
        no_cache="keep no checksums",
    )
    args = parser.parse_args(argv)
    data = find_data(args.data, demo=demo_folder)
    keep_checksums(data, cache_folder(args.cache, args.no_cache))
    results = find_results(data, args.data, args.out, args.seed, args.seeds)
    paths = [Path(args.out) / name for name in TEMPLATES]
    for path in paths:
        check_own(path, "--out")
    page = build_page(results)
    for path, text in zip(paths, [render(page, path) for path in paths], strict=True):
        write_own(path, text, "--out")
        print(f"report     : {path}")
    done = [step for step, groups in results.groups.items() if groups]
    runs = sum(len(results.runs(step)) for step in done)
    print(result_line(STEP, data, "full", {"steps": len(done), "of": len(results.groups), "runs": runs}))
    return paths


def render(page, path):
    """The text of the report at `path`, HTML or Markdown by its suffix, with all names escaped accordingly."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    environment = Environment(
        loader=FileSystemLoader(REPOSITORY / "extras" / "page"),
        autoescape=path.suffix == ".html",
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters |= {
        "embedded": embedded,
        "link": lambda picture: link(picture, path.parent),
        "plain": plain,
        "fenced": fenced,
    }
    return environment.get_template(TEMPLATES[path.name]).render(page)


def embedded(path):
    """A PNG file as {"source": data URL, "width": in a browser's pixels}; two scatter plots fit side by side."""
    try:
        content = path.read_bytes()
    except OSError as error:
        raise LabError(f"{path}: a readable picture was expected ({reason(error)})") from error
    width = int.from_bytes(content[16:20], "big")  # where a PNG file has it
    return {
        "source": "data:image/png;base64," + base64.b64encode(content).decode("ascii"),
        "width": round(SCALE * width),
    }


def link(path, folder):
    """A picture's path relative to the folder of the report, as a link in Markdown."""
    return quote(Path(os.path.relpath(path, folder)).as_posix())


def plain(text):
    """A text on one line, with all characters escaped that have a meaning in Markdown."""
    return re.sub(r"([\\`*<>\[\]|$&~]|(?<!\w)_|_(?!\w))", r"\\\1", " ".join(text.split()))


def fenced(text):
    """A log as a code block whose fence is longer than any run of backticks in it."""
    longest = max(map(len, re.findall(r"`+", text)), default=0)
    fence = "`" * max(3, longest + 1)
    return f"{fence}\n{text.rstrip() or '(log.txt is missing)'}\n{fence}"


if __name__ == "__main__":
    run_script(main)
