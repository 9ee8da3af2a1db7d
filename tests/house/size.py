"""`make size`: lines of code and branches a room, held to a budget. Run in the repository's root.

Lines are counted without blanks, comments and docstrings. A branch is an if, a loop, an except, a case, a boolean operator,
a conditional expression, a comprehension or a condition in one. The limits of a module and a function never rise; a room's
total (pyproject.toml, `tool.size.rooms`) rises only in a commit of its own that says what for.
"""

import ast
import io
import sys
import tokenize
import tomllib
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

TOPS = ("flows", "tasks", "infra")

MODULE_LINES, FUNCTION_LINES, FUNCTION_BRANCHES = 250, 60, 12

_SPACE = {
    tokenize.COMMENT,
    tokenize.NL,
    tokenize.NEWLINE,
    tokenize.INDENT,
    tokenize.DEDENT,
    tokenize.ENCODING,
    tokenize.ENDMARKER,
}

_DEFINITIONS = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)

_BRANCHES = (ast.If, ast.IfExp, ast.For, ast.AsyncFor, ast.While, ast.ExceptHandler, ast.match_case)


class Function(NamedTuple):
    """A function or method, by its name in its module."""

    name: str
    lines: int
    branches: int


class Module(NamedTuple):
    """One file's counts."""

    path: Path
    lines: int
    functions: tuple[Function, ...]


def measure(path: Path) -> Module:
    """Counts of one Python file."""
    text = path.read_text()
    tree = ast.parse(text)
    code = _code_lines(text, tree)
    return Module(path, len(code), tuple(_functions(tree, code, "")))


def room_of(path: Path) -> str:
    """`tasks.training` for tasks/training/loop.py, `tasks` for tasks/config.py; the server's rooms are one deeper."""
    folders = path.parts[:-1]
    return ".".join(folders[:3] if folders[:2] == ("infra", "serving") else folders[:2])


def complaints(modules: list[Module], budget: dict[str, int]) -> Iterator[str]:
    """What is over a limit, a sentence each."""
    for module in modules:
        if module.lines > MODULE_LINES:
            yield f"{module.path} has {module.lines} lines of code, {MODULE_LINES} are the most: split it."
        for function in module.functions:
            if function.lines > FUNCTION_LINES:
                yield f"{module.path}: {function.name} has {function.lines} lines, {FUNCTION_LINES} are the most."
            if function.branches > FUNCTION_BRANCHES:
                yield f"{module.path}: {function.name} has {function.branches} branches, {FUNCTION_BRANCHES} are the most."
    totals = _totals(modules)
    for room, lines in totals.items():
        if room not in budget:
            yield f"Room {room} has no budget: add it to tool.size.rooms in pyproject.toml."
        elif lines > budget[room]:
            yield f"Room {room} has {lines} lines of code, its budget is {budget[room]}: delete some, or raise it in a commit of its own that says what for."
    for room in sorted(budget.keys() - totals.keys()):
        yield f"There is no room {room}: take its budget out of pyproject.toml."


def _code_lines(text: str, tree: ast.Module) -> set[int]:
    tokens = tokenize.generate_tokens(io.StringIO(text).readline)
    lines = {
        line
        for token in tokens
        if token.type not in _SPACE
        for line in range(token.start[0], token.end[0] + 1)
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
            if isinstance(node.value.value, str):  # a docstring, or the text below a constant
                lines -= set(range(node.lineno, (node.end_lineno or 0) + 1))
    return lines


def _functions(node: ast.AST, code: set[int], inside: str) -> Iterator[Function]:
    for child in ast.iter_child_nodes(node):
        name = inside
        if isinstance(child, _DEFINITIONS):
            name = f"{inside}.{child.name}".lstrip(".")
            if not isinstance(child, ast.ClassDef):
                lines = code & set(range(child.lineno, (child.end_lineno or 0) + 1))
                yield Function(name, len(lines), _branches(child))
        yield from _functions(child, code, name)


def _branches(function: ast.AST) -> int:
    """Those of a function itself: definitions within it count for themselves."""
    count = 0
    for child in ast.iter_child_nodes(function):
        if isinstance(child, _DEFINITIONS):
            continue
        count += isinstance(child, _BRANCHES)
        if isinstance(child, ast.BoolOp):
            count += len(child.values) - 1
        elif isinstance(child, ast.comprehension):
            count += 1 + len(child.ifs)
        count += _branches(child)
    return count


def _totals(modules: list[Module]) -> dict[str, int]:
    totals: Counter[str] = Counter()
    for module in modules:
        totals[room_of(module.path)] += module.lines
    return dict(totals)


def main() -> int:
    """Print the table; 1 when something is over its limit."""
    modules = [measure(path) for top in TOPS for path in sorted(Path(top).rglob("*.py"))]
    budget = tomllib.loads(Path("pyproject.toml").read_text())["tool"]["size"]["rooms"]
    branches: Counter[str] = Counter()
    for module in modules:
        branches[room_of(module.path)] += sum(function.branches for function in module.functions)
    print(f"{'room':<26}{'lines':>8}{'budget':>8}{'branches':>10}")
    for room, lines in sorted(_totals(modules).items()):
        print(f"{room:<26}{lines:>8,}{budget.get(room, 0):>8,}{branches[room]:>10,}")
    print(f"{'all':<26}{sum(m.lines for m in modules):>8,}{sum(budget.values()):>8,}{branches.total():>10,}")
    over = list(complaints(modules, budget))
    print(*over, sep="\n")
    return bool(over)


if __name__ == "__main__":
    sys.exit(main())
