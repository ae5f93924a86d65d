"""README's numbers come from docs/figures.json, its commands are there, and its index names files that exist."""

import re
from pathlib import Path

from docs.fill_readme import MARKED, README, fill, numbers

TEXT = README.read_text(encoding="utf-8")
REPOSITORY = Path(__file__).resolve().parent.parent


def test_every_marked_number_is_the_measured_one():
    assert fill(TEXT) == TEXT and len(MARKED.findall(TEXT)) > 10


def test_every_measured_number_is_used():
    assert set(numbers()) == {key for key, _ in MARKED.findall(TEXT)}


def test_no_number_is_unmarked():
    theory = {"0.0900", "2.30"}  # losses of a uniform guess over ten classes
    assert set(re.findall(r"\d*\.\d{2,}", MARKED.sub("", TEXT))) <= theory, "put it into docs/figures.json"


def test_each_newcomers_command_is_one_line():
    for job, command in (("run", "make demo"), ("test", "make test")):
        found = re.search(rf"^<!-- newcomer:{job} -->\n```\n(.*?)\n```$", TEXT, re.MULTILINE | re.DOTALL)
        assert found and found[1] == command


def test_every_file_that_it_names_exists():
    for name in re.findall(r"`((?:common/|docs/|extras/\w+/)?[\w*]+\.(?:py|txt|json))(?:: \w+)?`", TEXT):
        known = [*REPOSITORY.glob(name), *(REPOSITORY / "common").glob(name)]
        assert known or name in WRITTEN, name


WRITTEN = {"metrics.json", "history.json", "arguments.json", "class_mapping.json", "log.txt"}


def test_every_function_of_the_index_exists():
    for path, name in re.findall(r"`((?:common|extras/\w+)/\w+\.py): (\w+)`", TEXT):
        assert re.search(
            rf"^(def|class) {name}\b|^{name} =", (REPOSITORY / path).read_text(encoding="utf-8"), re.MULTILINE
        ), name
