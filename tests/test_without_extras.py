"""Steps 5 to 10 in a copy without extras/, and without every statement that mentions it, give the same numbers."""

import ast
import re
import shutil

import pytest
from emotion_runs import RUNS, emotion_run
from runs import REPOSITORY, predictions, read_json


@pytest.fixture(scope="module")
def plain(tmp_path_factory):
    """A copy of the repository's scripts and common/ alone."""
    root = tmp_path_factory.mktemp("plain")
    shutil.copytree(REPOSITORY / "common", root / "common", ignore=shutil.ignore_patterns("__pycache__"))
    for path in REPOSITORY.glob("step*.py"):
        (root / path.name).write_text(without_extras(path.read_text(encoding="utf-8")), encoding="utf-8")
    return root


def without_extras(source):
    """Source without the statements that import from extras or mention what was imported; of a call, a keyword argument
    goes alone.
    """
    tree = ast.parse(source)
    imports = [node for node in tree.body if isinstance(node, ast.ImportFrom) and node.module.split(".")[0] == "extras"]
    names = {alias.asname or alias.name for node in imports for alias in node.names}
    assert names

    def mentions(node):
        return any(isinstance(part, ast.Name) and part.id in names for part in ast.walk(node))

    for call in [node for node in ast.walk(tree) if isinstance(node, ast.Call)]:
        call.keywords = [keyword for keyword in call.keywords if not mentions(keyword.value)]
    for node in ast.walk(tree):
        for field in ("body", "orelse"):
            if isinstance(statements := getattr(node, field, None), list):
                blocks = (ast.FunctionDef, ast.With, ast.For, ast.If)
                kept = [each for each in statements if isinstance(each, blocks) or not mentions(each)]
                setattr(node, field, [each for each in kept if each not in imports])
    return ast.unparse(tree)


@pytest.mark.parametrize(
    "key", ["step5", "step7", pytest.param("cnn", marks=pytest.mark.soak), "picked", "ensemble"]
)  # one of each step, which other tests share
def test_the_numbers_are_the_same(key, plain, shared_folder, small):
    whole, (script, *flags) = emotion_run(shared_folder, small, key), RUNS[key].split()
    bare = emotion_run(shared_folder, small, "", plain / script, *flags, name=f"{key}-without-extras")
    assert not (plain / "extras").exists()
    found = sorted(path.relative_to(whole.root) for path in whole.root.rglob("predictions.csv"))
    assert found and found == sorted(path.relative_to(bare.root) for path in bare.root.rglob("predictions.csv"))
    for path in found:
        one, other = (read_json(root / path.parent / "history.json") for root in (whole.root, bare.root))
        # sums in another order, which a rate of 1e-3 on few clips makes larger with every epoch
        assert len(one) == len(other) and one[0]["train_loss"] == pytest.approx(other[0]["train_loss"], rel=2e-3)
        assert one[0]["val_loss"] == pytest.approx(other[0]["val_loss"], rel=0.1)
        rows = [predictions(root / path.parent) for root in (whole.root, bare.root)]
        assert [row["id"] for row in rows[0]] == [row["id"] for row in rows[1]]
    assert [re.sub(r"=-?[\d.]+", "", line) for line in whole.lines if line.startswith("RESULT")] == [
        re.sub(r"=-?[\d.]+", "", line) for line in bare.lines if line.startswith("RESULT")
    ]
