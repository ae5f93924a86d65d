"""One file for coursework: a step and just the definitions of common/ that it uses, with their comments and no import from the project.

    python -m extras.single_file.bundle step7_cnn.py -o step7_single.py

What a definition uses is read off its syntax tree. A definition in plain.py stands in for that of the same name; what LEFT_OUT names goes,
and so does every statement that mentions it. Docstrings of common/ keep their first paragraph. The figures stay the same, but for what
training makes of rounding: extras/speed/ is left out.
"""

import argparse
import ast
import re
import sys
import textwrap
from pathlib import Path
from typing import NamedTuple

from common.cli import run_script
from common.errors import LabError
from common.files import write_atomically
from common.locations import REPOSITORY

STEPS = ("step1_visualize", "step5_lstm", "step7_cnn", "step8_regression", "step9_transfer", "step10_multitask")
PLAIN = "plain"
WIDTH = 140
# Comparisons with other runs, models without a network, checkpoints to score or to start from, the check of one batch, tables of
# predictions, the cache, several seeds in one go, the tuned recipe; and warnings.
LEFT_OUT = {
    "say_step5", "say_step7", "say_step8", "say_step9", "say_step10", "report_baselines", "load_given", "take_from_checkpoint",
    "checkpoint_fact", "read_backbone", "save_predictions", "prediction_rows", "axis_rows", "cache", "overfit_batch", "require",
    "warn_of_overlap", "confusion_text", "watch_training", "recipe_of", "accelerate",
    "resumable", "join_processes", "share_out",
    "say_interval",
}  # fmt: skip
ARGUMENTS_LEFT_OUT = {"checkpoint", "pretrained", "seeds", "overfit_batch", "recipe", "change", "members"}
FLAGS_LEFT_OUT = tuple(f"--{name.replace('_', '-')}" for name in sorted(ARGUMENTS_LEFT_OUT))
# What cannot go as a whole statement: a pattern, and what takes its place. The first makes a plain loop of one with a bar.
REWRITTEN = (
    (r"in progress\(epochs, [^:]*\):", "in epochs:"),
    (r"type=whole\(.*?\)", "type=int"),
    (r"type=fraction", "type=float"),
    (r"    if args\.pretrained:\n[^\n]*\n    elif [^\n]*\n((?:     [^\n]*\n)+)", lambda found: found[1].replace("\n    ", "\n")[4:]),
    (r"\*\*reading_options\(args\)", "at_most=QUICK_CLIPS if args.quick else None"),
    (r'args\.mode not in \("full", "score"\)', 'args.mode != "full"'),
    (r'mode in \("quick", "score"\)', 'mode == "quick"'),
    (r", dry runs and given checkpoints are marked", " and dry runs are marked"),
    (r", demo=demo_folder", ""),
    (r"report_table\(metrics\)", 'metrics["report"]'),
    (r", predictions\.csv|, so that a run can resume", ""),
    (r", tuned=(\"\w+\"|None)|\*\*?recipe, |\"recipe\": recipe_of\(args\), ", ""),
    (r"\[one_seed\(each, (.*)\) for each in each_seed\(args\)\]", r"[one_seed(args, \1)]"),
)
# Names of common/ that steps use for choices of their own.
RENAMED = {"FEATURES": "COLUMNS"}


class Definition(NamedTuple):
    """A function, class or constant of a module: its source with the comments above it, and where it stands."""

    name: str
    module: str
    line: int
    source: str


class Module:
    """A source file: its statements as Definitions by name, and its imports as {name bound here: (module, name there or None)}."""

    def __init__(self, name, path):
        self.name, text = name, path.read_text(encoding="utf-8")
        self.tree, lines = ast.parse(text), text.splitlines()
        self.imports, self.definitions, self.others = {}, {}, []
        for node in self.tree.body:
            if isinstance(node, (ast.Import, ast.ImportFrom)):
                for alias in node.names:
                    bound = alias.asname or alias.name.split(".")[0]
                    self.imports[bound] = (getattr(node, "module", None), alias.name, alias.asname)
                continue
            first = min([node.lineno, *(decorator.lineno for decorator in getattr(node, "decorator_list", []))]) - 1
            while first and lines[first - 1].startswith("#"):
                first -= 1
            source = "\n".join(lines[first : node.end_lineno])
            for bound in names_bound(node):
                self.definitions[bound] = Definition(bound, name, node.lineno, source)
            if not names_bound(node) and node is not self.tree.body[0]:
                self.others.append(source)  # if __name__ == "__main__"


def names_bound(node):
    if isinstance(node, (ast.FunctionDef, ast.ClassDef)):
        return [node.name]
    targets = node.targets if isinstance(node, ast.Assign) else [node.target] if isinstance(node, ast.AnnAssign) else []
    return [part.id for target in targets for part in ast.walk(target) if isinstance(part, ast.Name)]


def project_modules():
    """{name: Module} of common/ and of plain.py."""
    paths = [*(REPOSITORY / "common").glob("*.py"), REPOSITORY / "extras" / "single_file" / f"{PLAIN}.py"]
    return {path.stem: Module(path.stem, path) for path in paths if path.stem != "__init__"}


def bundle(step, name, modules):
    """The text of the single file for a step script; name: what the file will be called; modules: common/.

    Raises LabError where two of the definitions share a name.
    """
    script = Module(None, step)
    rows = step.read_text(encoding="utf-8").splitlines()
    imports_end = max(node.end_lineno or 0 for node in script.tree.body if isinstance(node, (ast.Import, ast.ImportFrom)))
    body = trimmed("\n".join(rows[imports_end:]))
    needed, imports = {}, set()
    waiting: list[tuple] = [(script, used, None) for used in sorted(names_in(body))]
    while waiting:
        module, used, asker = waiting.pop(0)
        home = module
        while used in home.imports and (home.imports[used][0] or "").startswith("common."):
            source, there, _ = home.imports[used]
            home, used = modules[(source or "").removeprefix("common.")], there
        if used in home.imports:
            imports.add(home.imports[used])
        elif used in home.definitions and home is not script:
            plain = modules[PLAIN].definitions.get(used)
            place = original_of(modules, used, asker) if plain else home.definitions[used]
            other = needed.get(used, place)
            if other.module != place.module:
                raise LabError(f"common/{place.module}.py: the name '{used}' was expected there alone, common/{other.module}.py has it too")
            if used not in needed:
                needed[used] = place._replace(source=trimmed((plain or place).source, short=True))
                waiting += [(modules[PLAIN] if plain else home, each, place) for each in sorted(names_in(needed[used].source))]
    for each in needed:
        needed[each] = renamed(without_unused_methods(each, needed, body))
    clash = needed.keys() & script.definitions.keys() - RENAMED.keys()
    if clash:
        raise LabError(f"{step.name}: other names than those of common/ were expected, but both have {', '.join(sorted(clash))}")
    text = "\n".join([*reading_order(modules, needed), body.strip("\n"), ""])
    used = names_in(text)
    imports = {each for each in imports if (each[2] or each[1]).split(".")[0] in used}  # a method that has gone may have used one
    return "\n".join([*heading(script.tree, step.name, name, text, imports), *import_lines(imports), text])


def original_of(modules, name, asker):
    """Where the project itself has what plain.py has a shorter form of; what only plain.py has comes before its asker."""
    homes = [module for module in modules.values() if module.name != PLAIN and name in module.definitions]
    return homes[0].definitions[name] if homes else asker._replace(name=name, line=asker.line - 0.5)


def renamed(found):
    """A Definition of common/ with the names that steps use otherwise put out of their way."""
    return found._replace(source=re.sub("|".join(rf"\b{name}\b" for name in RENAMED), lambda match: RENAMED[match[0]], found.source))


def names_in(source):
    """The names that a source takes from around it: those it reads, without a function's own."""
    found, waiting = set(), list(ast.parse(source).body)
    while waiting:
        node = waiting.pop()
        if isinstance(node, ast.ClassDef):
            waiting += [*node.bases, *node.body, *node.decorator_list]
            continue
        parts = list(ast.walk(node))
        own = {part.id for part in parts if isinstance(part, ast.Name) and not isinstance(part.ctx, ast.Load)}
        own |= {part.arg for part in parts if isinstance(part, ast.arg)}
        read = {part.id for part in parts if isinstance(part, ast.Name) and isinstance(part.ctx, ast.Load)}
        found |= read - own if isinstance(node, ast.FunctionDef) else read
    return found


def trimmed(source, short=False):
    """Source without the statements that mention what is left out, and without what these alone have used; short: short docstrings."""
    for pattern, replacement in REWRITTEN:
        source = re.sub(pattern, replacement, source, flags=re.DOTALL)
    while True:
        tree = ast.parse(source)
        methods = [(each.name, node) for each in ast.walk(tree) if isinstance(each, ast.ClassDef) for node in each.body]
        gone: list[ast.stmt] = [node for name, node in methods if isinstance(node, ast.FunctionDef) and f"{name}.{node.name}" in LEFT_OUT]
        gone += [node for node in ast.walk(tree) if isinstance(node, ast.stmt) and goes(node)]
        spans = [(node.lineno, node.end_lineno) for node in gone] + unused(tree)
        if not spans:
            break
        numbers = {line for first, last in spans for line in range(first, last + 1)}
        source = "\n".join(text for number, text in enumerate(source.splitlines(), start=1) if number not in numbers).rstrip()
    if short:
        source = with_full_lines(with_short_docstrings(source))
    return re.sub(r"\n\n\n+(?= )", "\n\n", one_line_signatures(source))


def goes(node):
    """Does this statement, by what it mentions itself, belong to what is left out? An `if` goes with all its body, or for want of one."""
    if isinstance(node, (ast.Expr, ast.Assign, ast.AugAssign, ast.AnnAssign, ast.Return)):
        return mentions(node)
    if isinstance(node, ast.If) and not node.orelse:
        if mentions(node.test):
            return True
        works = any(isinstance(part, ast.Call) for part in ast.walk(node.test))  # a test that does something must stay
        return not works and all(goes(child) for child in node.body)
    return False


def mentions(node):
    return any(
        (isinstance(part, ast.Name) and part.id in LEFT_OUT)
        or (isinstance(part, ast.Attribute) and part.attr in (ARGUMENTS_LEFT_OUT if is_name(part.value, "args") else LEFT_OUT))
        or (isinstance(part, ast.Constant) and part.value in FLAGS_LEFT_OUT)
        for part in ast.walk(node)
    )


def is_name(node, name):
    return isinstance(node, ast.Name) and node.id == name


def unused(tree):
    """Line spans of the assignments in functions to one name that the function never reads."""
    found = []
    for function in ast.walk(tree):
        if isinstance(function, ast.FunctionDef):
            read = {node.id for node in ast.walk(function) if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load)}
            for node in ast.walk(function):
                if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name) and node.targets[0].id not in read:
                    found.append((node.lineno, node.end_lineno))
    return found


def one_line_signatures(source):
    """Source whose functions with a parameter a line have them in one or two."""

    def joined(match):
        indent, head, parameters = match[1], match[2], match[3].split()
        text = " ".join(parameters).rstrip(",")
        line = f"{indent}{head}({text}):"
        if len(line) <= WIDTH:
            return line
        filled = textwrap.fill(text, WIDTH, initial_indent=indent + " " * 4, subsequent_indent=indent + " " * 4, break_on_hyphens=False)
        return f"{indent}{head}(\n{filled}\n{indent}):"

    return re.sub(r"^( *)(def \w+)\(\n((?: +[^()\n]+,\n)+) *\):", joined, source, flags=re.MULTILINE)


def with_short_docstrings(source):
    """Source whose docstrings end with their first paragraph."""
    lines = source.splitlines()
    nodes = [node for node in ast.walk(ast.parse(source)) if isinstance(node, (ast.FunctionDef, ast.ClassDef)) and ast.get_docstring(node)]
    for node in sorted(nodes, key=lambda node: -node.lineno):
        string = node.body[0]
        block = lines[string.lineno - 1 : string.end_lineno]
        if "" in block:
            first = block[: block.index("")]
            last = [first[-1] + '"""'] if len(first[-1]) <= WIDTH - 3 else [first[-1], " " * string.col_offset + '"""']
            lines[string.lineno - 1 : string.end_lineno] = [*first[:-1], *last]
    return "\n".join(lines)


def with_full_lines(source):
    """Source with a table of one item a line, if it is one, filled to the width; not where an item has a comment."""
    (table,) = re.findall(r"^\w+ = \{\n((?:    [^#\n]+,\n){9,})\}$", source, re.MULTILINE) or [""]
    text = " ".join(line.strip().replace(" ", "\0") for line in table.splitlines())  # an item stays on one line
    filled = textwrap.fill(text, WIDTH, initial_indent="    ", subsequent_indent="    ", break_on_hyphens=False).replace("\0", " ")
    return source.replace(table, filled + "\n") if table else source


def without_unused_methods(name, needed, body):
    """The Definition of that name, if it is a class without those methods that nothing but themselves calls."""
    source = needed[name].source
    others = "\n".join([body, *(found.source for other, found in needed.items() if other != name)])
    for node in [node for node in ast.parse(source).body if isinstance(node, ast.ClassDef)]:
        for method in reversed([each for each in node.body if isinstance(each, ast.FunctionDef)]):
            lines = source.splitlines()
            first = min([method.lineno, *(decorator.lineno for decorator in method.decorator_list)]) - 1
            rest = "\n".join(lines[: first - 1] + lines[method.end_lineno :])
            is_called = method.name.startswith("__") or method.name == "forward"  # by Python, by PyTorch
            if not is_called and f".{method.name}" not in rest + others:
                source = rest.rstrip()
    return needed[name]._replace(source=source)


def reading_order(modules, needed):
    """The definitions' sources, those of a module together in its own order, after the modules that it imports."""
    visited = []

    def visit(name):
        if name not in visited and name in modules:
            for source in sorted({source for source, *_ in modules[name].imports.values() if (source or "").startswith("common.")}):
                visit(source.removeprefix("common."))
            visited.append(name)

    for name in sorted(modules):
        visit(name)
    parts, seen, after_constant = [], set(), False
    for name in visited:
        group = sorted((found for found in needed.values() if found.module == name), key=lambda found: found.line)
        for found in group:
            if found.source in seen:
                continue  # two names of one statement
            seen.add(found.source)
            is_constant = re.match(r"(#.*\n)*[\w, ]+ = ", found.source) is not None
            parts += ["", ""] * (not (is_constant and after_constant)) + [found.source]
            after_constant = is_constant
    return [*parts, "", ""]


def import_lines(imports):
    """Import statements, the standard library's first, each module's names in one."""
    groups = {True: set(), False: set()}
    names = {}
    for module, name, alias in imports:
        if module is None:
            groups[is_standard(name)].add(f"import {name}" + f" as {alias}" * bool(alias))
        else:
            names.setdefault(module, set()).add(name + f" as {alias}" * bool(alias))
    lines = []
    for standard in (True, False):
        homes = [module for module in sorted(names) if is_standard(module) == standard]
        froms = [f"from {module} import {', '.join(sorted(names[module], key=import_key))}" for module in homes]
        if groups[standard] or froms:
            lines += ["", *sorted(groups[standard]), *froms]
    return lines


def import_key(name):
    """Constants before classes before functions, as in the project's own files."""
    return (not name.isupper(), not name[0].isupper(), name)


def is_standard(module):
    return module.split(".")[0] in sys.stdlib_module_names


def heading(tree, step, name, text, imports):
    """The lines of the step's docstring: its question, the commands that this file takes, and the packages that it needs."""
    question, commands = (ast.get_docstring(tree) or "").split("\n\n")[:2]
    kept = [line for line in commands.splitlines() if not any(flag in line for flag in FLAGS_LEFT_OUT)]
    lines = [line.replace(step, name) + " --data DIR" * ("--data" not in line) for line in kept]
    found = {module or there for module, there, _ in imports} | set(re.findall(r"^ +(?:from|import) (\w+)", text, re.MULTILINE))
    packages = sorted({each.split(".")[0].replace("sklearn", "scikit-learn") for each in found if not is_standard(each)})
    return ['"""' + question, "", *dict.fromkeys(lines), "", f"DIR is the lab's data folder. Needs {', '.join(packages)}.", '"""']


def main(argv=None):
    form = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(prog="python -m extras.single_file.bundle", description=__doc__, formatter_class=form)
    parser.add_argument("step", help="a step script of this project, step7_cnn.py")
    parser.add_argument("-o", "--output", required=True, metavar="FILE", help="the single file to write")
    args = parser.parse_args(argv)
    step = REPOSITORY / Path(args.step).name
    if step.stem not in STEPS:
        raise LabError(f"{args.step}: one of the step scripts was expected: {', '.join(f'{name}.py' for name in STEPS)}")
    text = bundle(step, Path(args.output).name, project_modules())
    write_atomically(args.output, text)
    print(f"{args.output}: {len(text.splitlines())} lines")


if __name__ == "__main__":
    run_script(main)
