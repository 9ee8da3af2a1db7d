"""Python code as what it says: its syntax without docstrings, comments, positions and formatting, and the names it uses."""

import ast
import hashlib
import re
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

_DOTTED = re.compile(r"(\w[\w.-]*/)*\w[\w-]*(\.\w[\w-]*)+\.?(:\w+)?")
"""What may be the name of a module, or of a file, also in a folder."""


class Import(NamedTuple):
    """A name that an import binds: `from .a import b as c` is (1, "a", "b", "c"), `import a.b` is (0, "a.b", "", "a")."""

    level: int
    module: str
    name: str
    alias: str


class Chain(NamedTuple):
    """`first.a.b` in the code: where it stands among the words, and whether it is assigned to."""

    place: int
    first: str
    attributes: tuple[str, ...]
    written: bool


@dataclass
class _Scope:
    """The names of one function, class or comprehension."""

    loaded: set[str] = field(default_factory=set)
    stored: set[str] = field(default_factory=set)
    shared: set[str] = field(default_factory=set)
    """Those that are said to be global."""


class _Unquoted(ast.NodeTransformer):
    """An annotation with what is quoted in it; the words of a Literal, and whatever is computed, are data."""

    def visit_Constant(self, node: ast.Constant) -> Any:
        if isinstance(node.value, str):
            with suppress(SyntaxError):
                return self.visit(ast.parse(node.value, mode="eval").body)
        return node

    def generic_visit(self, node: ast.AST) -> ast.AST:
        literal = isinstance(node, ast.Subscript) and ast.unparse(node.value).rpartition(".")[2] == "Literal"
        holds_types = isinstance(node, ast.Subscript | ast.Tuple | ast.List | ast.BinOp)
        return super().generic_visit(node) if holds_types and not literal else node


class Reading(ast.NodeVisitor):
    """What statements of a module say (`words`), and by which names they reach what they do not define themselves."""

    def __init__(self, statements: Iterable[ast.AST], *, with_imports: bool = False) -> None:
        self.words: list[str] = []
        self.chains: list[Chain] = []
        self.imports: list[Import] = []
        self.strings: list[tuple[int, str]] = []
        self.attributes: set[str] = set()
        self.values: set[str] = set()
        """Names that stand by themselves, without an attribute: a module among them is handed on as a value."""
        self._with_imports = with_imports
        self._scope = _Scope()
        for statement in statements:
            self.visit(statement)
        self.names = frozenset(self._scope.loaded)
        """Free names: the module defines them, or imports them, or they are Python's own."""

    @property
    def digest(self) -> str:
        """The words in 64 hex digits."""
        return hashlib.sha256("\0".join(self.words).encode("utf-8", "surrogatepass")).hexdigest()

    def generic_visit(self, node: ast.AST) -> None:
        self.words.append(node.__class__.__name__)
        self._fields(node, node._fields)

    def _fields(self, node: ast.AST, names: Iterable[str]) -> None:
        for name in names:
            value = getattr(node, name, None)
            if name in ("annotation", "returns") and value is not None:
                self.visit(_Unquoted().visit(value))
            elif name != "ctx":
                self._field(value)

    def _field(self, value: Any) -> None:
        if isinstance(value, ast.AST):
            self.visit(value)
        elif isinstance(value, list):
            self.words.append("[")
            for item in value:
                self._field(item)
            self.words.append("]")
        else:
            self.words.append(repr(value))

    def visit_Name(self, node: ast.Name) -> None:
        self.words.append(f"'{node.id}")
        if isinstance(node.ctx, ast.Load):
            self._scope.loaded.add(node.id)
            self.values.add(node.id)
        else:
            self._scope.stored.add(node.id)

    def visit_Attribute(self, node: ast.Attribute) -> None:
        attributes: list[str] = []
        inner: ast.expr = node
        while isinstance(inner, ast.Attribute):
            attributes.insert(0, inner.attr)
            inner = inner.value
        self.attributes.update(attributes)
        if isinstance(inner, ast.Name):
            self._scope.loaded.add(inner.id)
            written = not isinstance(node.ctx, ast.Load)
            self.chains.append(Chain(len(self.words), inner.id, tuple(attributes), written))
            self.words.append(".".join([f"'{inner.id}", *attributes]))
        else:
            self.words.append("." + ".".join(attributes))
            self.visit(inner)

    def visit_Constant(self, node: ast.Constant) -> None:
        if isinstance(node.value, str) and _DOTTED.fullmatch(node.value):
            self.strings.append((len(self.words), node.value))
        self.words.append(f"={node.value!r}")

    def visit_Expr(self, node: ast.Expr) -> None:
        if not (isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)):
            self.generic_visit(node)

    def visit_Import(self, node: ast.Import | ast.ImportFrom) -> None:
        bound = imports_of(node)
        self.imports += bound
        self._scope.stored |= {item.alias for item in bound}
        if self._with_imports:
            self.words += map(repr, bound)

    def visit_FunctionDef(self, node: ast.FunctionDef | ast.AsyncFunctionDef) -> None:
        self._scope.stored.add(node.name)
        self.attributes.add(node.name)
        self.visit_Lambda(node)

    def visit_Lambda(self, node: ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda) -> None:
        """Decorators, defaults and annotations belong to the scope around, and parameters to that of the body."""
        given = node.args
        parameters = (*given.posonlyargs, *given.args, *given.kwonlyargs, given.vararg, given.kwarg)
        self._enter(node, ["body"], {parameter.arg for parameter in parameters if parameter is not None})

    def visit_ClassDef(self, node: ast.ClassDef) -> None:
        self._scope.stored.add(node.name)
        self.attributes |= {keyword.arg for keyword in node.keywords if keyword.arg is not None}
        self._enter(node, ["body"], set())

    def visit_ListComp(self, node: Any) -> None:
        self.visit(node.generators[0].iter)  # of the scope around, as the rest is not
        self._enter(node, node._fields, set())

    def _enter(self, node: ast.AST, inner: Sequence[str], bound: set[str]) -> None:
        """A node of which the fields `inner` have names of their own, these among them."""
        self.words.append(node.__class__.__name__)
        self._fields(node, (name for name in node._fields if name not in inner))
        outer, self._scope = self._scope, _Scope(stored=bound)
        self._fields(node, inner)
        scope, self._scope = self._scope, outer
        local = scope.stored - scope.shared if not isinstance(node, ast.ClassDef) else set()
        outer.loaded |= (scope.loaded - local) | scope.shared

    def visit_Global(self, node: ast.Global) -> None:
        self._scope.shared.update(node.names)
        self.generic_visit(node)

    def visit_MatchAs(self, node: Any) -> None:
        """`except … as name`, and the patterns of `match`: names that stand as text."""
        self._scope.stored.update(filter(None, (getattr(node, "name", None), getattr(node, "rest", None))))
        self.generic_visit(node)

    visit_ImportFrom = visit_Import
    visit_AsyncFunctionDef = visit_FunctionDef
    visit_SetComp = visit_DictComp = visit_GeneratorExp = visit_ListComp
    visit_MatchStar = visit_MatchMapping = visit_ExceptHandler = visit_MatchAs


def imports_of(statement: ast.Import | ast.ImportFrom) -> list[Import]:
    """What an import statement binds; `*` is a name of its own."""
    if isinstance(statement, ast.Import):
        return [
            Import(0, item.name, "", item.asname or item.name.partition(".")[0]) for item in statement.names
        ]
    module = statement.module or ""
    return [Import(statement.level, module, item.name, item.asname or item.name) for item in statement.names]


class FileSyntax(NamedTuple):
    """A whole file: the digest of what it says, imports included, and what it names."""

    digest: str
    imports: tuple[Import, ...]
    strings: frozenset[str]
    names: frozenset[str]


def syntax_of(path: Path) -> FileSyntax:
    """What a file says; one that is not Python counts as its bytes."""
    return _syntax(path.read_bytes())


@lru_cache(maxsize=512)
def _syntax(content: bytes) -> FileSyntax:
    try:
        reading = Reading(ast.parse(content).body, with_imports=True)
    except (SyntaxError, ValueError):
        return FileSyntax(hashlib.sha256(content).hexdigest(), (), frozenset(), frozenset())
    strings = frozenset(text for _, text in reading.strings)
    return FileSyntax(reading.digest, tuple(reading.imports), strings, reading.names | reading.attributes)
