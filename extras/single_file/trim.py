"""Removes from a source, by its syntax tree, the statements that use what a single file leaves out.

Only whole statements are removed. Of a call, a keyword argument may go alone; an `if` goes with its test or with its
whole body; an assignment goes when nothing reads its names any more. Where this is not possible, as in the head of a
loop, LabError: the source has to be written in statements that can be removed.
"""

import ast
import builtins
import functools
import re

from common.errors import LabError, shown

IMPURE = {"print", "open", "input", "exec", "eval", "next", "setattr", "delattr"}
PURE = {name for name in dir(builtins) if name[0].islower()} - IMPURE
BLOCKS = ("body", "orelse", "handlers", "finalbody", "type_params")


@functools.cache
def parsed(source):
    """The syntax tree of a source; not to be changed, since it is cached."""
    return ast.parse(source)


@functools.cache
def trimmed(source, names, flags, methods, calls, where):
    """The source without the statements that use `names`, `methods` or, as attributes of args, `flags`.

    calls: names of all methods that are called; a method that uses what is left out is removed if it is not called.
    where: for messages, "common/run.py". LabError where a statement cannot be removed whole.
    """
    before = reads_by_function(parsed(source))
    while True:
        pass_ = Pass(source, names, flags, methods, calls, where, before)
        if pass_.spans:
            start, end = pass_.spans[0]
            source = source[:start] + source[end:]
        elif pass_.lines:
            lines = [line[4 * (k in pass_.shift) :] for k, line in enumerate(source.splitlines(), start=1)]
            source = without_lines("\n".join(lines), pass_.lines)
        else:
            return source


class Pass:
    """One pass over a source, which collects what to remove.

    lines: numbers of the lines to remove; spans: [(start, end)] of arguments to remove; shift: lines to unindent.
    """

    def __init__(self, source, names, flags, methods, calls, where, before):
        self.source, self.names, self.flags, self.methods = source, names, flags, methods
        self.calls, self.where = calls, where
        self.lines, self.spans, self.shift, self.methods_that_go = set(), [], set(), set()
        tree = parsed(source)
        self.block(tree.body, may_end=True)
        if not self.spans and not self.lines:
            for name, function in functions(tree):
                reads = names_read(function)
                self.take(node for node in ast.walk(function) if is_unused(node, reads, before.get(name, set())))

    def block(self, body, may_end=False):
        """Collects what to remove of a list of statements; True where it is all, which the caller has to collect."""
        going = [node for node in body if not is_docstring(node) and self.goes(node)]
        whole = bool(going) and len(going) == sum(not is_docstring(node) for node in body)
        if not whole or may_end:
            for node in going:
                if any(
                    isinstance(part, (ast.Return, ast.Raise, ast.Yield, ast.YieldFrom)) for part in ast.walk(node)
                ) and not isinstance(node, (ast.If, ast.FunctionDef)):
                    self.fail(node, "what it returns or yields")
            self.take(going)
        return whole

    def goes(self, node):
        """Whether a statement is removed whole; otherwise collects what to remove of its parts."""
        if isinstance(node, ast.If):
            return self.branch_goes(node)
        if isinstance(node, (ast.FunctionDef, ast.ClassDef)):
            if node in self.methods_that_go:
                return True
            methods = [
                part for part in node.body if isinstance(node, ast.ClassDef) and isinstance(part, ast.FunctionDef)
            ]
            self.methods_that_go |= {
                part for part in methods if self.mentions(part) and part.name not in self.calls | {"__init__"}
            }
        elif not hasattr(node, "body"):
            return self.mentioned_elsewhere(node)
        handlers = getattr(node, "handlers", [])
        head = [child for name, child in ast.iter_fields(node) if name not in BLOCKS] + [
            handler.type for handler in handlers
        ]
        items = getattr(node, "items", [])
        going = [item for item in items if not all(innermost_keyword(item, mention) for mention in self.mentions(item))]
        if going and len(going) == len(items):
            last = node.items[-1].context_expr
            self.lines.update(range(node.lineno, last.end_lineno + 1))
            self.shift.update(range(last.end_lineno + 1, node.end_lineno + 1))
        elif going:
            self.spans += [item_span(self.source, node.items, item.context_expr) for item in going]
        elif any([self.mentioned_elsewhere(part) for part in flat(head)]):
            self.fail(node, "its head")
        names = self.names
        if isinstance(node, ast.FunctionDef):
            self.names = names - own_names(node)
        for body in [getattr(node, name, []) for name in ("body", "orelse", "finalbody")] + [
            handler.body for handler in handlers
        ]:
            if body and self.block(body):
                self.fail(node, "all that it holds")
        self.names = names
        return False

    def branch_goes(self, node):
        if self.mentions(node.test):
            if node.orelse:
                self.fail(node, "the test of an if that has an else")
            return True
        whole, rest = self.block(node.body), bool(node.orelse) and self.block(node.orelse)
        if whole and (node.orelse and not rest):
            self.fail(node, "one branch, but not the other,")
        if whole and not is_pure(node.test):
            self.fail(node, "all but a test that does something")
        if rest and not whole:
            self.lines.update(range(node.body[-1].end_lineno + 1, node.end_lineno + 1))
        return whole

    def mentioned_elsewhere(self, node):
        """Whether a simple statement or a part of a head mentions it outside of keyword arguments; collects these."""
        keywords = [innermost_keyword(node, mention) for mention in self.mentions(node)]
        if all(keywords):
            self.spans += [
                item_span(self.source, [*call.args, *call.keywords], keyword)
                for call, keyword in dict.fromkeys(keywords)
            ]
        return not all(keywords)

    def mentions(self, node):
        return [part for part in ast.walk(node) if self.is_mention(part)]

    def is_mention(self, part):
        if isinstance(part, ast.Name):
            return part.id in self.names
        if isinstance(part, ast.Attribute):
            return part.attr in self.methods or (part.attr in self.flags and getattr(part.value, "id", None) == "args")
        is_getattr = isinstance(part, ast.Call) and getattr(part.func, "id", None) == "getattr" and len(part.args) > 1
        return (
            is_getattr
            and getattr(part.args[0], "id", None) == "args"
            and getattr(part.args[1], "value", None) in self.flags
        )

    def take(self, nodes):
        for node in nodes:
            self.lines.update(lines_of(node))

    def fail(self, node, what):
        line = shown(self.source.splitlines()[node.lineno - 1].strip())
        expected = f"{self.where}: a statement that can be left out whole was expected"
        raise LabError(f"{expected}, but of {line} {what} mentions what is left out")


def without_lines(source, numbers):
    """Source without these lines, without comments on them alone, and without double blank lines in blocks."""
    lines = source.splitlines()
    for number in sorted(numbers, reverse=True):
        following = next((k for k in range(number + 1, len(lines) + 1) if k not in numbers), len(lines) + 1)
        text = lines[following - 1] if following <= len(lines) else ""
        above = number - 1
        if above in numbers or (
            indent(text) >= indent(lines[number - 1]) and text.strip() and not text.strip().startswith("#")
        ):
            continue
        while (
            above and lines[above - 1].strip().startswith("#") and indent(lines[above - 1]) == indent(lines[number - 1])
        ):
            numbers = numbers | {above}
            above -= 1
    kept = "\n".join(line for number, line in enumerate(lines, start=1) if number not in numbers)
    kept = re.sub(r"\n\n\n+(?= )", "\n\n", kept)
    return re.sub(r"\n\n\n\n+", "\n\n\n", kept).strip("\n")


def indent(line):
    return len(line) - len(line.lstrip())


def lines_of(node):
    """Numbers of a statement's lines, including its decorators."""
    first = min([node.lineno, *(each.lineno for each in getattr(node, "decorator_list", []))])
    return range(first, node.end_lineno + 1)


def item_span(source, items, item):
    """(start, end) in a source of an item of a list, with the comma before it, or after it for the first item."""
    lines = source.splitlines(keepends=True)
    starts = [0]
    for line in lines:
        starts.append(starts[-1] + len(line))

    def position(line, column):  # columns count bytes
        return starts[line - 1] + len(lines[line - 1].encode()[:column].decode())

    nodes = [getattr(each, "context_expr", each) for each in items]
    ends = [getattr(each, "optional_vars", None) or node for each, node in zip(items, nodes, strict=True)]
    spans = [
        (position(node.lineno, node.col_offset), position(end.end_lineno, end.end_col_offset))
        for node, end in zip(nodes, ends, strict=True)
    ]
    start, end = spans[nodes.index(item)]
    earlier, later = [last for _, last in spans if last < start], [first for first, _ in spans if first > end]
    return (max(earlier), end) if earlier else (start, min(later, default=end))


def flat(fields):
    return [
        node
        for field in fields
        for node in (field if isinstance(field, list) else [field])
        if isinstance(node, ast.AST)
    ]


def functions(tree):
    """[(qualified name, node)] of all functions."""
    found, waiting = [], [("", node) for node in tree.body]
    while waiting:
        above, node = waiting.pop()
        if isinstance(node, (ast.FunctionDef, ast.ClassDef)):
            name = f"{above}{node.name}"
            waiting += [(f"{name}.", child) for child in node.body]
            found += [(name, node)] if isinstance(node, ast.FunctionDef) else []
    return found


def reads_by_function(tree):
    return {name: names_read(node) for name, node in functions(tree)}


def names_read(node):
    return {part.id for part in ast.walk(node) if isinstance(part, ast.Name) and isinstance(part.ctx, ast.Load)}


def own_names(function):
    """Names of a function's parameters and local variables."""
    stored = {
        part.id for part in ast.walk(function) if isinstance(part, ast.Name) and not isinstance(part.ctx, ast.Load)
    }
    return stored | {part.arg for part in ast.walk(function) if isinstance(part, ast.arg)}


def is_unused(node, reads, before):
    """Whether an assignment only sets names that were read before the trimming and are not any more."""
    if not isinstance(node, ast.Assign) or not is_pure(node.value):
        return False
    targets = flat([target.elts if isinstance(target, ast.Tuple) else target for target in node.targets])
    return all(isinstance(target, ast.Name) and target.id in before and target.id not in reads for target in targets)


def is_pure(node):
    """Whether an expression certainly has no side effect."""
    calls = [part for part in ast.walk(node) if isinstance(part, ast.Call)]
    return all(
        getattr(call.func, "id", None) in PURE or isinstance(getattr(call.func, "value", None), ast.Constant)
        for call in calls
    )


def is_docstring(node):
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)


def innermost_keyword(statement, mention):
    """(call, keyword) of the innermost keyword argument that contains a mention; None where none does."""
    found = None
    for call in ast.walk(statement):  # outer calls come first
        for keyword in getattr(call, "keywords", []):
            if keyword.arg and any(part is mention for part in ast.walk(keyword.value)):
                found = (call, keyword)
    return found


def with_short_docstrings(source):
    """Source with the first paragraph of each docstring only."""
    lines = source.splitlines()
    nodes = [
        node
        for node in ast.walk(parsed(source))
        if isinstance(node, (ast.FunctionDef, ast.ClassDef)) and ast.get_docstring(node)
    ]
    for node in sorted(nodes, key=lambda node: -node.lineno):
        string = node.body[0]
        block = lines[string.lineno - 1 : string.end_lineno]
        if "" in block:
            lines[string.lineno - 1 : string.end_lineno] = [
                *block[: block.index("") - 1],
                block[block.index("") - 1] + '"""',
            ]
    return "\n".join(lines)
