"""How common/ hangs together: imports in one direction, nothing of extras/, files of a readable length."""

import ast
import graphlib
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parent.parent
MODULES = {
    path.stem: ast.parse(path.read_text(encoding="utf-8"))
    for path in REPOSITORY.glob("common/*.py")
    if path.stem != "__init__"
}


def imports(tree):
    """The dotted names of all modules that a source imports, wherever in it."""
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom):
            yield node.module
        elif isinstance(node, ast.Import):
            yield from (name.name for name in node.names)


def test_common_imports_in_no_circle_and_nothing_of_extras_or_of_a_step():
    graph = {}
    for module, tree in MODULES.items():
        graph[module] = {name.removeprefix("common.") for name in imports(tree) if name.startswith("common")}
        assert not any(name.startswith(("extras", "step", "tests", "docs")) for name in imports(tree)), module
    list(graphlib.TopologicalSorter(graph).static_order())  # raises CycleError


def test_a_step_imports_no_step():
    for path in REPOSITORY.glob("*.py"):
        assert not any(name.startswith("step") for name in imports(ast.parse(path.read_text(encoding="utf-8")))), (
            path.name
        )


def test_files_keep_to_their_length():
    for path in [
        *REPOSITORY.glob("*.py"),
        *REPOSITORY.glob("common/*.py"),
        *REPOSITORY.glob("extras/**/*.py"),
        *REPOSITORY.glob("tests/*.py"),
    ]:
        assert len(path.read_text(encoding="utf-8").splitlines()) <= (200 if path.stem.startswith("step") else 450), (
            path.name
        )
