"""One file for coursework: every step's, read and compiled; step 7's and step 8's run alone. tests/soak runs them all."""

import ast
import subprocess
import sys

import pytest
from warm import warm_script

from common.errors import LabError
from common.locations import REPOSITORY
from extras.single_file.bundle import STEPS, Module, bundle, main, project_modules, trimmed

LONGEST = 1100


@pytest.fixture(scope="module")
def bundles():
    """{step: text of its single file}."""
    modules = project_modules()
    return {name: bundle(REPOSITORY / f"{name}.py", f"{name}_single.py", modules) for name in STEPS}


@pytest.mark.parametrize("name", STEPS)
def test_a_bundle_compiles_is_short_and_imports_nothing_of_the_project(bundles, name):
    text = bundles[name]
    tree = ast.parse(text)
    assert len(text.splitlines()) <= LONGEST
    imported = [node.module if isinstance(node, ast.ImportFrom) else alias.name for node in ast.walk(tree)
                if isinstance(node, (ast.Import, ast.ImportFrom)) for alias in node.names]  # fmt: skip
    assert not any(module.startswith(("common", "step", "docs", "tests")) for module in imported)
    defined = [node.name for node in tree.body if isinstance(node, (ast.FunctionDef, ast.ClassDef))]
    assert len(set(defined)) == len(defined) and "main" in defined and text.endswith('if __name__ == "__main__":\n    run_script(main)\n')
    for word in ("--resume", "--checkpoint", "--cache", "baselines", "compose_demo", "say_step", "fast_cnn", "distributed", "# type:"):
        assert word not in text, word
    head = ast.get_docstring(tree)
    assert f"python {name}_single.py" in head and "--data DIR" in head and f"{name}.py" not in head


def test_all_bundles_are_clean(bundles, tmp_path):
    for name, text in bundles.items():
        (tmp_path / f"{name}_single.py").write_text(text, encoding="utf-8")
    command = [sys.executable, "-m", "ruff", "check", "--isolated", "--line-length", "140", "--select", "E,F,I,B", str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, encoding="utf-8")
    assert done.returncode == 0, done.stdout


def test_a_statement_goes_with_what_it_mentions_and_no_other():
    source = (
        "def f(args, run):\n    known = 1\n    both = 2\n    if args.checkpoint:\n        load_given(args.checkpoint)\n"
        "    if args.mode:\n        say_step7(known)\n    if run.update():\n        run.keep()\n    return both\n"
    )
    assert trimmed(source) == "def f(args, run):\n    both = 2\n    if run.update():\n        run.keep()\n    return both"


def test_a_definition_has_the_comments_above_it(tmp_path):
    path = tmp_path / "x.py"
    path.write_text('"""Doc."""\n\nA = 1  # one\n\n# why two\n# is two\nB, C = 2, 3\n\n\n@decorated\ndef f():\n    return B\n')
    found = Module("x", path).definitions
    assert found["A"].source == "A = 1  # one" and found["B"].source == found["C"].source == "# why two\n# is two\nB, C = 2, 3"
    assert found["f"].source.startswith("@decorated\ndef f")


def test_without_data_it_says_so_in_one_sentence(bundles, tmp_path):
    (tmp_path / "single.py").write_text(bundles["step7_cnn"], encoding="utf-8")
    done = warm_script(tmp_path / "single.py", root=tmp_path, cwd=tmp_path, expect=1)
    assert done.err.startswith("error: --data ") and len(done.err.splitlines()) == 1
    done = warm_script(tmp_path / "single.py", "--epochs", "0", root=tmp_path, cwd=tmp_path, expect=2)
    assert "--epochs: 1 or more was expected" in done.err


def test_from_the_command_line(tmp_path, capsys):
    target = tmp_path / "one.py"
    main(["step7_cnn.py", "-o", str(target)])
    assert f"{target}: {len(target.read_text(encoding='utf-8').splitlines())} lines" in capsys.readouterr().out
    with pytest.raises(LabError, match=r"step0_data\.py: one of the step scripts was expected"):
        main(["step0_data.py", "-o", str(target)])
