"""What a person sees in a terminal, in a pipe and in a notebook: bars and log lines, the header, --help."""

import io
import re
import sys
import time
from contextlib import redirect_stderr, redirect_stdout
from types import SimpleNamespace

import pytest
from tqdm import tqdm

import build_report
import compete
import evaluate
import predict
import step0_data
import step1_visualize
import step5_lstm
import step7_cnn
import step7a_look_inside
import step8_regression
import step9_transfer
import step10_multitask
from common.progress import Tee, note, progress

SCRIPTS = (
    build_report, compete, evaluate, predict, step0_data, step1_visualize, step5_lstm, step7_cnn, step7a_look_inside,
    step8_regression, step9_transfer, step10_multitask,
)  # fmt: skip


class Terminal(io.StringIO):
    """Both streams of a terminal; its rows are what stands there in the end."""

    def isatty(self):
        return True

    @property
    def rows(self):
        rows = []
        for line in self.getvalue().split("\n"):
            row = ""
            for part in line.split("\r"):
                row = part + row[len(part) :]
            rows.append(row.rstrip())
        return rows


def test_a_bar_and_a_log_line_never_share_a_row(tmp_path):
    terminal = Terminal()
    with (
        open(tmp_path / "log.txt", "wb", buffering=0) as log,
        redirect_stderr(terminal),
        redirect_stdout(Tee(terminal, log)),
    ):
        for epoch in tqdm(range(3), "epochs", disable=None, ncols=60):
            print(f"epoch : {epoch} ,training loss = {0.1}")
            print("half", end=" ")
            print("a line")
    said = [line for epoch in range(3) for line in (f"epoch : {epoch} ,training loss = 0.1", "half a line")]
    assert [row for row in terminal.rows if row and "|" not in row] == said
    assert [row[:12] for row in terminal.rows if "|" in row] == ["epochs: 100%"]
    assert (tmp_path / "log.txt").read_text().splitlines() == said


def test_without_a_terminal_a_line_every_ten_seconds(capsys, monkeypatch):
    now = iter(range(0, 1000, 4))
    monkeypatch.setattr(time, "monotonic", lambda: next(now))
    assert list(progress(range(6), "reading", "clip")) == list(range(6))
    assert list(progress(range(6), "hiding", "batch", inner=True)) == list(range(6))
    out, err = capsys.readouterr()
    assert not out and re.findall(r"^reading: (\d) of 6 clips$", err, re.MULTILINE) and not re.search(r"[\r\x1b]", err)
    assert 1 <= len(err.splitlines()) <= 2


def test_in_a_notebook_a_note_is_no_red_block(capsys, monkeypatch, tmp_path):
    note("on stderr")
    monkeypatch.setitem(sys.modules, "ipykernel", SimpleNamespace())
    with open(tmp_path / "log.txt", "wb", buffering=0) as log, redirect_stdout(Tee(sys.stdout, log)):
        note("on stdout")
    assert capsys.readouterr() == ("on stdout\n", "on stderr\n") and (tmp_path / "log.txt").read_text() == ""


def test_the_header_stands_once_and_fits_and_the_matrix_by_name_is_in_the_log(tiny_data, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    flags = ["--data", str(tiny_data), "--no-cache", "--out", str(tmp_path / "runs"), "--quick", "--batch-size", "8"]
    step5_lstm.main([*flags, "--features", "beat", "chroma"])
    out, err = capsys.readouterr()
    head, _, rest = out.partition("run folder : ")
    assert max(map(len, head.splitlines())) <= 80 and rest.startswith(
        "runs/step5_lstm/beat_cross-entropy_seed0_quick\n"
    )
    for word in ("epochs=2", "batch_size=8", "lr=0.0001", "seed=0"):
        assert word in head
    assert [out.count(f"\n{name}") for name in ("data   ", "arguments", "device", "run folder")] == [1, 1, 1, 2]
    assert "\n\nStep 5: an LSTM on chroma, cross-entropy\nrun folder : " in out
    assert "confusion matrix" not in out and not re.search(r"[\r\x1b]", out + err)
    for features in ("beat", "chroma"):
        log = (tmp_path / f"runs/step5_lstm/{features}_cross-entropy_seed0_quick/log.txt").read_text(encoding="utf-8")
        assert log.startswith(f"Step 5: an LSTM on {features}") and "\narguments  : " in log
        assert "\nconfusion matrix: rows true, columns predicted" in log
    step7_cnn.main(flags)
    out = capsys.readouterr().out
    assert re.search(r"^\(array\(\[\[.*\]\]\),\n \d\.\d+\)$", out, re.MULTILINE | re.DOTALL)
    assert "\ndata       : " in out and "confusion matrix" not in out


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda script: script.__name__)
def test_help_wraps_at_the_terminal(script, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "70")
    with pytest.raises(SystemExit):
        script.main(["--help"])
    text = capsys.readouterr().out
    prose = [line for line in text.splitlines() if not line.startswith("    python")]
    assert max(map(len, prose)) <= 70
    commands = [line for line in script.__doc__.splitlines() if line.startswith("    python")]
    assert commands and all(line in text.splitlines() for line in commands)


@pytest.mark.parametrize(
    ("script", "said"),
    [
        (step0_data, "--seed SEED of --demo's music and of --audio's test split"),
        (step1_visualize, "--seed SEED picks the two random clips"),
        (build_report, "--seed SEED first seed of the runs to show"),
        (build_report, "--out ROOT where the runs are and the page is written"),
        (step7_cnn, "--seed SEED split, initial weights and batch order"),
    ],
)
def test_help_says_what_a_flag_means_in_that_script(script, said, capsys):
    with pytest.raises(SystemExit):
        script.main(["--help"])
    assert said in " ".join(capsys.readouterr().out.split())
