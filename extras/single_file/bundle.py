"""Collects a step, or some definitions of common/, and all that they use, and puts their sources into one file."""

import ast
import builtins
import functools
import math
import re
import symtable
import sys
from typing import NamedTuple

from common.errors import LabError, shown
from common.locations import REPOSITORY
from extras.single_file.trim import (
    functions,
    is_docstring,
    item_span,
    lines_of,
    names_read,
    parsed,
    trimmed,
    with_short_docstrings,
    without_lines,
)

STEPS = ("step1_visualize", "step5_lstm", "step7_cnn", "step8_regression", "step9_transfer", "step10_multitask")
MARK = "IN_SINGLE_FILE"  # a module of common/ that sets this constant to False is left out of single files


class Definition(NamedTuple):
    """A statement of a module and the comments above it: names that it defines, module, first line, source."""

    names: tuple
    module: str
    line: int
    source: str


class Module:
    """A source file and its definitions.

    definitions: {name: Definition}. imports: {name here: (module or None, name there, alias or None)}. body: the source
    behind the imports. question: the first paragraph of its docstring. left_out: whether it sets MARK to False.
    """

    def __init__(self, name, path):
        self.name, text = name, path.read_text(encoding="utf-8")
        tree, lines = parsed(text), text.splitlines()
        self.question = (ast.get_docstring(tree) or "").split("\n\n")[0]
        self.imports, self.definitions, self.left_out = {}, {}, False
        for node in tree.body:
            if isinstance(node, (ast.Import, ast.ImportFrom)):
                for alias in node.names:
                    self.imports[alias.asname or alias.name] = (getattr(node, "module", None), alias.name, alias.asname)
                imports_end = node.end_lineno
                continue
            first = min([node.lineno, *(each.lineno for each in getattr(node, "decorator_list", []))]) - 1
            while first and lines[first - 1].startswith("#"):
                first -= 1
            names = names_bound(node)
            self.left_out |= names == (MARK,) and getattr(node.value, "value", None) is False
            found = Definition(names, name, node.lineno, "\n".join(lines[first : node.end_lineno]))
            self.definitions.update(dict.fromkeys(names, found))
        self.body = "\n".join(lines[imports_end:]) if self.imports else ""
        self.text = text


class Project:
    """The modules of common/ by name; flags, methods: command-line flags and methods that single files leave out."""

    def __init__(self):
        paths = sorted((REPOSITORY / "common").glob("*.py"))
        self.modules = {path.stem: Module(path.stem, path) for path in paths if path.stem != "__init__"}
        kept, gone = (
            {flag for module in self.modules.values() if module.left_out == out for flag in flags_in(module.text)}
            for out in (False, True)
        )
        self.flags, self.methods = frozenset(gone - kept), frozenset()
        found = [self.hollow_methods(module) for module in self.modules.values() if not module.left_out]
        self.methods = frozenset(name for names in found for name in names)

    def left_out(self, imported):
        """Whether an import (module, name, alias) is of a module that single files leave out."""
        home = imported[0] or imported[1]
        common = home.removeprefix("common.")
        return home.split(".")[0] == "extras" or (home.startswith("common.") and self.modules[common].left_out)

    def hollow_methods(self, module):
        """Names of the methods that would be empty without what is left out."""
        names = self.absent(module)[0]
        for node in ast.walk(parsed(module.text)):
            for method in node.body if isinstance(node, ast.ClassDef) else []:
                statements = [each for each in getattr(method, "body", []) if not is_docstring(each)]
                if statements and all(not hasattr(each, "body") and names & names_read(each) for each in statements):
                    yield from names_bound(method)

    def absent(self, module):
        """What is left out of a module, as arguments of trimmed: names, flags, methods."""
        names = frozenset(name for name, imported in module.imports.items() if self.left_out(imported))
        return names, self.flags, self.methods


def names_bound(node):
    if isinstance(node, (ast.FunctionDef, ast.ClassDef)):
        return (node.name,)
    targets = node.targets if isinstance(node, ast.Assign) else [node.target] if isinstance(node, ast.AnnAssign) else []
    return tuple(part.id for target in targets for part in ast.walk(target) if isinstance(part, ast.Name))


def flags_in(text):
    """Names of the attributes of args that a source adds by add_argument."""
    found = set()
    for call in ast.walk(parsed(text)):
        if isinstance(call, ast.Call) and getattr(call.func, "attr", None) == "add_argument" and call.args:
            given = [ast.literal_eval(word.value) for word in call.keywords if word.arg == "dest"]
            flags = [str(each.value) for each in call.args if isinstance(each, ast.Constant)]
            found.update(given or [flag.lstrip("-").replace("-", "_") for flag in flags if flag.startswith("--")])
    return found


def single_step(step, name):
    """The text of a step's single file, for example of "step7_cnn"; name: the file's own name."""
    project, script = Project(), Module(step, REPOSITORY / f"{step}.py")
    file = SingleFile(project, script)
    return file.text([script.question, "", f"    python {name} --data DIR", ""])


def single_names(names):
    """The text of a file with definitions of common/ and all that they use."""
    project = Project()
    file = SingleFile(project)
    for name in names:
        homes = [module for module in project.modules.values() if name in module.definitions]
        if len(homes) != 1 or homes[0].left_out:
            why = f"common/{homes[0].name}.py is left out of single files" if homes else "common/ has none"
            raise LabError(f"--names {name}: a definition of common/ was expected, {why}")
        file.need(homes[0], name, "--names")
    file.collect()
    return file.text([f"{', '.join(names)}, with what {'they use' if len(names) > 1 else 'it uses'}.", ""])


class NotThereError(Exception):
    """A name that a single file uses but does not have. Its message is the end of a sentence."""


class SingleFile:
    """The parts of one file: needed, {name: Definition}, and imports, those from outside of the project."""

    def __init__(self, project, script=None):
        self.project, self.needed, self.imports, self.waiting, self.body = project, {}, {}, [], ""
        self.script = script
        self.calls, before = set(), None
        while script and self.calls != before:  # a method that is left out may be the only caller of another
            before, self.needed, self.imports = self.calls, {}, {}
            body = trimmed(script.body, *project.absent(script), frozenset(self.calls), f"{script.name}.py")
            self.body = with_short_docstrings(body)
            self.look_up(script, self.body, f"{script.name}.py")
            self.collect()

    def need(self, module, name, asker):
        """Adds the definition or the import of a name that a module uses."""
        if name in module.definitions and module is not self.script:
            found = module.definitions[name]
            other = self.needed.get(name)
            if other and other.module != found.module:
                expected = f"common/{found.module}.py: the name {name} was expected here only"
                raise LabError(f"{expected}, but common/{other.module}.py defines it too")
            if not other:
                where = f"common/{module.name}.py"
                calls = frozenset(self.calls if "class " in found.source else ())
                source = trimmed(found.source, *self.project.absent(module), calls, where)
                if self.calls:
                    source = without_unused_methods(source, self.calls)
                found = found._replace(source=with_short_docstrings(source))
                self.needed.update(dict.fromkeys(found.names, found))
                self.waiting.append((module, found.source, where))
        elif name in module.imports:
            imported = home, there, _ = module.imports[name]
            if self.project.left_out(imported):
                raise NotThereError(
                    "which is left out of single files: a statement that can be left out whole was expected"
                )
            if (home or "").startswith("common."):
                self.need(self.project.modules[home.removeprefix("common.")], there, asker)
            elif self.imports.setdefault(name, imported) != imported:
                raise LabError(f"{asker}: the import {name} was expected to be the same in all files")
        elif name not in module.definitions and not hasattr(builtins, name) and name != "__file__":
            raise NotThereError("but its definition is left out of single files")

    def look_up(self, module, source, where):
        for name in sorted(global_names(source)):
            try:
                self.need(module, name, where)
            except NotThereError as error:
                node = next(each for each in ast.walk(parsed(source)) if isinstance(each, ast.Name) and each.id == name)
                statement = shown(source.splitlines()[node.lineno - 1].strip())
                raise LabError(f"{where}: {statement} uses {name}, {error}") from error

    def collect(self):
        while self.waiting:
            self.look_up(*self.waiting.pop())
        self.calls = called(self.sources())

    def sources(self):
        return [*{found.source: None for found in self.needed.values()}, self.body]

    def text(self, head):
        """The whole file; head: the first lines of its docstring."""
        self.drop_parameters()
        self.check_flags()
        if self.script:
            for name in self.needed.keys() & self.script.definitions.keys():
                home = f"common/{self.needed[name].module}.py"
                raise LabError(f"{self.script.name}.py: another name than {name} was expected, {home} has it")
        text = "\n".join([*self.in_order(), self.body.strip("\n"), ""])
        used = global_names(text) | names_read(parsed(text))
        imports = [imported for name, imported in self.imports.items() if name.split(".")[0] in used]
        inside = re.findall(r"^ +(?:from|import) (\w+)", text, re.MULTILINE)
        packages = {name.split(".")[0] for name in [*inside, *(home or there for home, there, _ in imports)]}
        packages = {name.replace("sklearn", "scikit-learn") for name in packages if name not in sys.stdlib_module_names}
        data = "DIR is the lab's data folder. " * bool(self.script)
        head = ['"""' + head[0], *head[1:], f"{data}Needs {', '.join(sorted(packages))}.", '"""']
        return "\n".join([*head, *import_lines(imports), text.rstrip("\n"), ""])

    def in_order(self):
        """The definitions' sources, module by module, each after the modules that it imports."""
        modules, visited = self.project.modules, []

        def visit(name):
            if name not in visited:
                homes = {home for home, *_ in modules[name].imports.values() if (home or "").startswith("common.")}
                for home in sorted(homes):
                    visit(home.removeprefix("common."))
                visited.append(name)

        for name in modules:
            visit(name)
        lines, last = [""], None  # two blank lines below the imports
        groups = {found: None for found in self.needed.values()}
        for found in sorted(groups, key=lambda found: (visited.index(found.module), found.line)):
            # one blank line between definitions, none between the constants of a module
            constants = last and last.module == found.module and is_constant(last.source) and is_constant(found.source)
            lines += [*([] if constants else [""]), found.source]
            last = found
        return [*lines, "", ""]

    def drop_parameters(self):
        """Removes parameters that a function does not use any more, and the keyword arguments for them."""
        for name, found in list(self.needed.items()):
            node = parsed(found.source).body[0]
            if isinstance(node, ast.FunctionDef):
                before = names_read(parsed(self.project.modules[found.module].definitions[name].source).body[0])
                gone = before - names_read(node)
                by_keyword = [(math.inf, arg) for arg in node.args.kwonlyargs]
                parameters = [*enumerate(node.args.args), *by_keyword]
                for index, arg in reversed([pair for pair in parameters if pair[1].arg in gone]):
                    given = any(index < len(call.args) for source in self.sources() for call in calls_of(source, name))
                    if not given:
                        found = found._replace(source=without_parameter(found.source, arg.arg))
                        self.needed[name] = found
                        self.body = without_keyword(self.body, name, arg.arg)
                        for other, each in self.needed.items():
                            self.needed[other] = each._replace(source=without_keyword(each.source, name, arg.arg))

    def check_flags(self):
        """LabError where the file uses an attribute of args whose flag is left out."""
        text = "\n".join(self.sources())
        there = flags_in(text) | set(re.findall(r"\bargs\.(\w+) = ", text))
        for part in ast.walk(parsed(text)):
            if isinstance(part, ast.Attribute) and getattr(part.value, "id", None) == "args" and part.attr not in there:
                statement = shown(text.splitlines()[part.lineno - 1].strip())
                raise LabError(f"{statement} uses args.{part.attr}, whose flag is left out")


def without_unused_methods(source, calls):
    """The source of a class without the methods that nothing calls; only of classes that no library could call."""
    node = parsed(source).body[0]
    if not isinstance(node, ast.ClassDef) or any(
        getattr(base, "id", "") not in ("Exception", "NamedTuple") for base in node.bases
    ):
        return source
    methods = [part for part in node.body if isinstance(part, ast.FunctionDef)]
    gone = [part for part in methods if part.name not in calls and not part.name.startswith("__")]
    return without_lines(source, {number for part in gone for number in lines_of(part)})


def without_parameter(source, name):
    """A function's source without the parameter of this name, which has a default value."""
    node = parsed(source).body[0]
    lines = source.splitlines()
    first = next(k for k, line in enumerate(lines) if line.startswith("def "))
    last = node.body[0].lineno - 1
    head = re.sub(rf",\s*{name}=[^,()]+(?=[,)])", "", "\n".join(lines[first:last]), count=1)
    return "\n".join([*lines[:first], head, *lines[last:]])


@functools.cache
def calls_of(source, name):
    return [
        part
        for part in ast.walk(parsed(source))
        if isinstance(part, ast.Call) and getattr(part.func, "id", None) == name
    ]


def without_keyword(source, function, name):
    """A source without this keyword argument in the calls of a function."""
    for call in calls_of(source, function):
        for keyword in call.keywords:
            if keyword.arg == name:
                start, end = item_span(source, [*call.args, *call.keywords], keyword)
                return without_keyword(source[:start] + source[end:], function, name)
    return source


def called(sources):
    """Names of all methods and attributes that sources use."""
    return set().union(*map(attributes_in, sources))


@functools.cache
def attributes_in(source):
    """The attributes that a source uses, without those of a method that only calls itself."""
    tree = parsed(source)
    own = {
        part
        for name, function in functions(tree)
        for part in ast.walk(function)
        if isinstance(part, ast.Attribute) and part.attr == name.rpartition(".")[2]
    }
    return frozenset(part.attr for part in ast.walk(tree) if isinstance(part, ast.Attribute) and part not in own)


@functools.cache
def global_names(source):
    """Names that a source reads as globals: not local to a function, whether it defines them at its top or not."""
    found, waiting = set(), [symtable.symtable(source, "source", "exec")]
    while waiting:
        table = waiting.pop()
        is_top = table.get_type() == "module"
        found |= {
            each.get_name() for each in table.get_symbols() if each.is_referenced() and (is_top or each.is_global())
        }
        waiting += table.get_children()
    return found


def is_constant(source):
    return isinstance(parsed(source).body[0], (ast.Assign, ast.AnnAssign))


def import_lines(imports):
    """Import statements, the standard library's first, one for each module."""
    plain, names = set(), {}
    for module, name, alias in imports:
        text = name + f" as {alias}" * bool(alias)
        if module is None:
            plain.add(text)
        else:
            names.setdefault(module, set()).add(text)
    lines = []
    for standard in (True, False):
        found = [f"import {text}" for text in sorted(plain) if is_standard(text) == standard]
        for module in sorted(names):
            if is_standard(module) == standard:
                found.append(f"from {module} import {', '.join(sorted(names[module], key=import_key))}")
        lines += ["", *found] if found else []
    return lines


def import_key(name):
    """Constants before classes before functions, as in the project's own files."""
    return (not name.isupper(), not name[0].isupper(), name)


def is_standard(module):
    return re.split(r"[. ]", module)[0] in sys.stdlib_module_names


if __name__ == "__main__":  # the command of earlier versions
    sys.exit("error: python -m extras.single_file STEP -o FILE replaces this command")
