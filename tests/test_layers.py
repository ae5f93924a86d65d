"""How common/ hangs together: layers that import in one direction, and definitions that still work when pasted alone."""

import ast
import builtins
import dis
import graphlib
from pathlib import Path
from types import CodeType

import pytest

REPOSITORY = Path(__file__).resolve().parent.parent
LAYERS = [
    {"errors"},
    {
        "augment", "blocks", "expectations", "extract", "fast_cnn", "features", "files", "inside", "inside_plots", "labels", "metrics",
        "models", "page_texts", "plots", "progress", "recipes", "song_plots", "spectrogram_plots", "transforms", "tuned_network",
        "verdicts", "writeup",
    },
    {
        "audio", "baselines", "checkpoints", "dataset", "demo_compose", "demo_genres", "demo_music", "demo_render", "device", "digits",
        "fetch", "locations", "machines", "packed", "parallel", "plain", "reading", "resume", "run", "submission", "survey", "trained",
        "training",
    },
    {"bundle", "cli", "findings", "page", "page_answers", "page_blocks", "page_emotions", "page_genres", "page_results", "report", "tuned"},
]  # fmt: skip
MODULES = {path.stem: ast.parse(path.read_text(encoding="utf-8")) for path in REPOSITORY.glob("common/*.py") if path.stem != "__init__"}
LIFTED = ("transforms", "labels", "models", "metrics")


def imports(tree):
    """The dotted names of all modules that a source imports, wherever in it."""
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom):
            yield node.module
        elif isinstance(node, ast.Import):
            yield from (name.name for name in node.names)


def test_every_module_has_its_layer():
    assert sorted(set().union(*LAYERS)) == sorted(MODULES)


def test_common_imports_downwards_in_no_circle_and_no_step():
    depth = {module: number for number, layer in enumerate(LAYERS) for module in layer}
    graph = {}
    for module, tree in MODULES.items():
        graph[module] = {name.removeprefix("common.") for name in imports(tree) if name.startswith("common")}
        assert all(depth[other] <= depth[module] for other in graph[module]), module
        assert not any(name.startswith(("step", "tests", "docs")) for name in imports(tree)), module
    list(graphlib.TopologicalSorter(graph).static_order())  # raises CycleError


def test_a_step_imports_no_step():
    for path in REPOSITORY.glob("*.py"):
        assert not any(name.startswith("step") for name in imports(ast.parse(path.read_text(encoding="utf-8")))), path.name


def test_files_keep_to_their_length():
    for path in [*REPOSITORY.glob("*.py"), *REPOSITORY.glob("common/*.py"), *REPOSITORY.glob("tests/*.py")]:
        assert len(path.read_text(encoding="utf-8").splitlines()) <= (200 if path.stem.startswith("step") else 400), path.name


def definitions(module):
    """{name: source} of a module's classes, functions and constants; and its import statements without those of common/."""
    tree, found, lines = MODULES[module], {}, []
    for node in tree.body:
        if isinstance(node, (ast.ClassDef, ast.FunctionDef)):
            found[node.name] = ast.unparse(node)
        elif isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
            found[node.targets[0].id] = ast.unparse(node)
        elif isinstance(node, (ast.Import, ast.ImportFrom)) and not (getattr(node, "module", None) or "").startswith("common"):
            lines.append(ast.unparse(node))
    return found, lines


def names_in(source):
    return looked_up(compile(source, "<definition>", "exec"), ("LOAD_GLOBAL", "LOAD_NAME"))


def looked_up(code, operations=("LOAD_GLOBAL",)):
    """The global names that a code object's functions look up when they run; with LOAD_NAME, those of bases and defaults too."""
    names = {step.argval for step in dis.get_instructions(code) if step.opname in operations}
    return names.union(*(looked_up(inner, operations) for inner in code.co_consts if isinstance(inner, CodeType)))


@pytest.mark.parametrize(
    ("module", "name"),
    [(module, name) for module in LIFTED for name in definitions(module)[0] if not name.startswith("_")],
)
def test_a_definition_works_pasted_with_those_that_it_names(module, name):
    home = {other_name: other for other in MODULES for other_name in definitions(other)[0]}
    needed, waiting = {}, [name]
    while waiting:
        current = waiting.pop()
        if current in home and current not in needed:
            needed[current] = definitions(home[current])[0][current]
            waiting += names_in(needed[current])
    lines = [line for other in dict.fromkeys(home[other] for other in needed) for line in definitions(other)[1]]
    order = sorted(needed, key=lambda each: (each == name, not each.isupper()))  # constants first, the definition itself last
    pasted = compile("\n".join([*lines, *(needed[each] for each in order)]), f"<{name} pasted>", "exec")
    namespace = {}
    exec(pasted, namespace)
    assert name in namespace and looked_up(pasted) <= set(namespace) | set(dir(builtins))
