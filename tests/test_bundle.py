"""Single files: what is removed from a source, what is refused, the text of all steps' files, and the command.

tests/soak runs them all.
"""

import ast
import subprocess
import sys
import textwrap

import pytest
from runs import REPOSITORY
from warm import warm_script

from common.errors import LabError
from extras.single_file import bundle
from extras.single_file.__main__ import main
from extras.single_file.bundle import STEPS, Module, single_names, single_step
from extras.single_file.trim import trimmed

LONGEST = {"step9_transfer": 1285}  # two experiments in one
LONGEST_ELSE = 1100
LEFT_OUT = (
    "--resume",
    "--recipe",
    "--cache",
    "--submit",
    "--pretrained",
    "--overfit-batch",
    "baselines",
    "demo_folder",
    "accelerate",
)
LEFT_OUT += (
    "compare_step",
    "share_out",
    "FileLock",
    "predictions.csv",
    "IN_SINGLE_FILE",
    "# type:",
    "import common",
    "from common",
)


@pytest.fixture(scope="module")
def singles():
    """{step: text of its single file}."""
    return {name: single_step(name, f"{name}_single.py") for name in STEPS}


@pytest.mark.parametrize("name", STEPS)
def test_a_single_file_is_short_and_independent_of_the_project(singles, name):
    text = singles[name]
    tree = ast.parse(text)
    assert len(text.splitlines()) <= LONGEST.get(name, LONGEST_ELSE)
    assert [word for word in LEFT_OUT if word in text] == []
    names = [each for node in tree.body for each in bundle.names_bound(node)]
    assert len(set(names)) == len(names) and "main" in names
    head = ast.get_docstring(tree)
    assert f"python {name}_single.py --data DIR" in head and f"{name}.py" not in head
    assert text.endswith('if __name__ == "__main__":\n    run_script(main)\n')
    needs = head.split("Needs ")[1].rstrip(".").split(", ")
    assert set(needs) <= {"torch", "numpy", "scikit-learn", "scipy", "matplotlib", "tqdm"}


def test_all_single_files_are_clean(singles, tmp_path):
    for name, text in singles.items():
        (tmp_path / f"{name}_single.py").write_text(text, encoding="utf-8")
    rules = ["--line-length", "145", "--select", "E,F,I,B"]
    done = subprocess.run(
        [sys.executable, "-m", "ruff", "check", "--isolated", *rules, str(tmp_path)], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout


def cut(source, names=("gone",), flags=("resume",), methods=(), calls=()):
    return trimmed(textwrap.dedent(source).strip("\n"), *map(frozenset, (names, flags, methods, calls)), "x.py")


def test_a_statement_goes_with_what_it_mentions_and_no_other():
    assert (
        cut("""
        def f(args, run):
            used, kept = 1, 2

            # why it is there
            if args.resume:
                run.state()

            text = "a"
            text += gone(text)
            if run:
                gone(used)
            length = len(used)
            if getattr(args, "resume", None):
                print(length)
            other = run.update()
            print(gone, other)
            return kept
        """)
        == "def f(args, run):\n    used, kept = 1, 2\n\n    other = run.update()\n    return kept"
    )


def test_arguments_and_wrappers_go_alone():
    assert (
        cut("a = f(1, x=gone)\nb = f(x=gone, y=2)\nc = f(x=1, y=gone(3), z=g(é=gone))")
        == "a = f(1)\nb = f(y=2)\nc = f(x=1, z=g())"
    )
    assert cut("def f():\n    with gone(1), held() as x:\n        yield x\n    with gone():\n        g()\n") == (
        "def f():\n    with held() as x:\n        yield x\n    g()"
    )


def test_a_comment_goes_with_the_last_statement_below_it():
    assert cut("# of both\na = gone\nb = 1\n\n# of one\nc = gone\n\nd = 2") == "# of both\nb = 1\n\n\nd = 2"


def test_a_method_goes_where_nothing_calls_it():
    source = "class A:\n    x = 1\n\n    def f(self):\n        y = 2\n        gone(y)\n        return y\n"
    assert cut(source) == "class A:\n    x = 1"
    assert "def f(self):\n        y = 2\n        return y" in cut(source, calls=("f",))


@pytest.mark.parametrize(
    "source",
    [
        "def f():\n    for x in gone():\n        print(x)\n",
        "def f():\n    if gone:\n        a()\n    else:\n        b()\n",
        "def f(x):\n    if x.update():\n        gone(x)\n",
        "def f():\n    a()\n    return gone()\n",
        "def f():\n    gone()\n",
        "def f():\n    try:\n        a()\n    except gone:\n        b()\n",
    ],
)
def test_what_cannot_go_whole_is_refused_by_statement(source):
    with pytest.raises(LabError, match=r"^x\.py: a statement that can be left out whole was expected, but of '"):
        cut(source)


def small_project(monkeypatch, tmp_path, **sources):
    """A project of only a step and these modules of common/."""
    (tmp_path / "common").mkdir()
    for name, source in sources.items():
        folder = tmp_path if name in STEPS else tmp_path / "common"
        (folder / f"{name}.py").write_text(textwrap.dedent(source), encoding="utf-8")
    monkeypatch.setattr(bundle, "REPOSITORY", tmp_path)


STEP = '"""A step.\n\nMore."""\nfrom common.a import f\n\nX = 1\n\n\ndef main(args):\n    return f(X)\n'


@pytest.mark.parametrize(
    ("body", "sentence"),
    [
        ("from common.b import g\n\n\ndef f(x):\n    y = g(x)\n    return y\n", r"^common/a\.py: 'return y' uses y, but its definition "),
        ("X = 2\n\n\ndef f(x):\n    return X\n", r"^step7_cnn\.py: another name than X was expected, common/a\.py has it$"),
        ("def f(args):\n    return args.flag\n", r"^'return args\.flag' uses args\.flag, whose flag is left out$"),
    ],
)  # fmt: skip
def test_a_name_without_its_definition_is_an_error_that_names_the_statement(monkeypatch, tmp_path, body, sentence):
    small_project(
        monkeypatch, tmp_path, step7_cnn=STEP, a=body, b="IN_SINGLE_FILE = False\n\n\ndef g(x):\n    return x\n"
    )
    with pytest.raises(LabError, match=sentence):
        single_step("step7_cnn", "x.py")


def test_parameters_that_nothing_reads_any_more_go_with_their_arguments(monkeypatch, tmp_path):
    body = (
        "from common.b import g\n\n\ndef f(x, more=False, other=1):\n    if more:\n        g(x)\n    return x + other\n"
    )
    step = STEP.replace("f(X)", "f(X, more=True)")
    small_project(
        monkeypatch, tmp_path, step7_cnn=step, a=body, b="IN_SINGLE_FILE = False\n\n\ndef g(x):\n    return x\n"
    )
    text = single_step("step7_cnn", "x.py")
    assert "def f(x, other=1):\n    return x + other\n" in text and "    return f(X)\n" in text


def test_a_definition_has_the_comments_above_it(tmp_path):
    path = tmp_path / "x.py"
    path.write_text(
        '"""Doc."""\n\nA = 1  # one\n\n# why two\n# is two\nB, C = 2, 3\n\n\n@decorated\ndef f():\n    return B\n'
    )
    found = Module("x", path).definitions
    assert (
        found["A"].source == "A = 1  # one"
        and found["B"].source == found["C"].source == "# why two\n# is two\nB, C = 2, 3"
    )
    assert found["f"].source.startswith("@decorated\ndef f")


def test_names_make_a_module_to_import(tmp_path, data):
    path = tmp_path / "mine.py"
    main(["--names", "SpectrogramDataset", "torch_train_val_split", "-o", str(path)])
    (tmp_path / "use.py").write_text(
        "from mine import SpectrogramDataset, torch_train_val_split\nimport sys\n"
        f"splits = torch_train_val_split(SpectrogramDataset({str(data / 'fma_genre_spectrograms')!r}, features='mel'), 4, 4, 0.5, seed=0)\n"
        "print(*(len(loader.dataset) for loader in splits), 'common' in sys.modules)"
    )
    done = warm_script(tmp_path / "use.py", root=tmp_path / "runs", cwd=tmp_path)
    assert done.out.split() == ["18", "18", "False"]
    assert len(path.read_text(encoding="utf-8").splitlines()) < 450
    for name, why in (("Nothing", "common/ has none"), ("cached", "common/cache.py is left out of single files")):
        with pytest.raises(LabError, match=rf"^--names {name}: a definition of common/ was expected, {why}$"):
            single_names([name])


def test_a_file_is_written_again_but_none_that_was_edited(tmp_path, capsys):
    target = tmp_path / "one.py"
    for _ in range(2):
        main(["step7_cnn.py", "-o", str(target)])
    text = target.read_text(encoding="utf-8")
    assert capsys.readouterr().out == f"{target}: {len(text.splitlines())} lines\n" * 2
    for other in (
        text + "# mine\n",
        text.replace("3e-3", "1").replace("EPOCHS = 25", "EPOCHS = 2"),
        "print(1)\n",
        "",
        "\0",
    ):
        target.write_text(other, encoding="utf-8")
        with pytest.raises(
            LabError,
            match=rf"^-o {target}: a new path, or an unedited file by this program, was expected",
        ):
            main(["step7_cnn.py", "-o", str(target)])
        assert target.read_text(encoding="utf-8") == other
    with pytest.raises(LabError, match=r"^-o .*no/one\.py: a path in an existing folder was expected$"):
        main(["step7_cnn.py", "-o", str(tmp_path / "no" / "one.py")])


def test_errors_name_what_was_expected(capsys):
    with pytest.raises(LabError, match=r"^step0_data\.py: one of the step scripts was expected: step1_visualize\.py, "):
        main(["step0_data.py", "-o", "one.py"])
    for flags in ([], ["-o", "x.py"], ["step7_cnn.py", "--names", "x", "-o", "y"]):
        with pytest.raises(SystemExit, match="2"):
            main(flags)
        assert capsys.readouterr().err.startswith("error: a step script (step1_visualize.py, ")
    with pytest.raises(SystemExit, match="2"):
        main(["step7_cnn.py"])
    assert capsys.readouterr().err.startswith("error: -o FILE was expected")


def test_it_looks_for_data_in_its_own_folder(singles, tmp_path):
    (tmp_path / "single.py").write_text(singles["step7_cnn"], encoding="utf-8")
    done = warm_script(tmp_path / "single.py", root=tmp_path, cwd=tmp_path, expect=1)
    where = f"there is none in {tmp_path / 'data'} or in Kaggle's input"
    assert done.err == f"error: --data: the lab's data folder was expected, {where}\n"


@pytest.mark.parametrize(
    "flags",
    [
        ["--epochs", "0"],
        ["--lr", "x"],
        ["--device", "moon"],
        ["--data", ""],
        ["--seed", "-1"],
        ["--data", "nowhere"],
        ["--quik"],
    ],
)
def test_bad_flags_are_refused_as_by_the_step(singles, tmp_path, flags):
    file = tmp_path / "step7_cnn.py"  # under the step's own name, which is in the messages
    file.write_text(singles["step7_cnn"], encoding="utf-8")
    done, single = (
        warm_script(script, *flags, root=tmp_path, cwd=tmp_path, expect=None) for script in ("step7_cnn.py", file)
    )
    assert single.err == done.err and single.err.startswith("error: ") and len(single.err.splitlines()) == 1


@pytest.mark.parametrize("module", ["common.bundle", "extras.single_file.bundle"])
def test_the_commands_of_earlier_versions_name_the_new_command(module):
    done = warm_script(f"-m {module}", "step7_cnn.py", "-o", "x.py", root=REPOSITORY, cwd=REPOSITORY, expect=1)
    assert done.err.count("\n") == 1
    assert done.err.startswith("error: python -m extras.single_file STEP -o FILE")
