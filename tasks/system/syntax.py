"""Python code as what it says: its syntax without docstrings, comments, positions and formatting, and the names it uses."""

import ast
import hashlib
import re
from collections.abc import Callable, Iterable
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

_DOTTED = re.compile(r"\w[\w-]*(\.\w[\w-]*)+\.?(:\w+)?")
"""What may be the name of a module or of a file."""


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


class _Scope:
    """The names of one function, class or comprehension."""

    def __init__(self) -> None:
        self.loaded: set[str] = set()
        self.bare: set[str] = set()
        self.stored: set[str] = set()
        self.imported: set[str] = set()
        self.global_: set[str] = set()


class Reading:
    """What statements of a module say (`words`), and by which names they reach what they do not define themselves."""

    def __init__(self, statements: Iterable[ast.AST], *, with_imports: bool = False) -> None:
        self.words: list[str] = []
        self.chains: list[Chain] = []
        self.imports: list[Import] = []
        self.strings: list[tuple[int, str]] = []
        self.attributes: set[str] = set()
        self._with_imports = with_imports
        self._scope = _Scope()
        self._values: set[str] = set()
        for statement in statements:
            self._visit(statement)
        self.names = frozenset(self._scope.loaded)
        """Free names: the module defines them, or imports them, or they are Python's own."""
        self.values = frozenset(self._values | self._scope.bare)
        """Names that stand by themselves, without an attribute: a module among them is handed on as a value."""

    @property
    def digest(self) -> str:
        """The words in 64 hex digits."""
        return hashlib.sha256("\0".join(self.words).encode("utf-8", "surrogatepass")).hexdigest()

    def _visit(self, node: Any) -> None:
        special = _SPECIAL.get(node.__class__)
        if special is not None:
            special(self, node)
        else:
            self._plain(node)

    def _plain(self, node: ast.AST) -> None:
        self.words.append(node.__class__.__name__)
        for field in node._fields:
            if field != "ctx":
                self._field(getattr(node, field, None))

    def _field(self, value: Any) -> None:
        if isinstance(value, ast.AST):
            self._visit(value)
        elif isinstance(value, list):
            self.words.append("[")
            for item in value:
                self._field(item)
            self.words.append("]")
        else:
            self.words.append(repr(value))

    def _name(self, node: ast.Name) -> None:
        self.words.append(f"'{node.id}")
        if isinstance(node.ctx, ast.Load):
            self._scope.loaded.add(node.id)
            self._scope.bare.add(node.id)
        else:
            self._scope.stored.add(node.id)

    def _attribute(self, node: ast.Attribute) -> None:
        attributes: list[str] = []
        inner: ast.expr = node
        while isinstance(inner, ast.Attribute):
            attributes.insert(0, inner.attr)
            self.attributes.add(inner.attr)
            inner = inner.value
        if not isinstance(inner, ast.Name):
            self.words.append("." + ".".join(attributes))
            return self._visit(inner)
        self._scope.loaded.add(inner.id)
        written = not isinstance(node.ctx, ast.Load)
        self.chains.append(Chain(len(self.words), inner.id, tuple(attributes), written))
        self.words.append(".".join([f"'{inner.id}", *attributes]))

    def _constant(self, node: ast.Constant) -> None:
        if isinstance(node.value, str) and _DOTTED.fullmatch(node.value):
            self.strings.append((len(self.words), node.value))
        self.words.append(f"={node.value!r}")

    def _expression(self, node: ast.Expr) -> None:
        if not (isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)):
            self._plain(node)

    def _import(self, node: ast.Import | ast.ImportFrom) -> None:
        bound = imports_of(node)
        self.imports += bound
        for item in bound:
            self._scope.stored.add(item.alias)
            self._scope.imported.add(item.alias)
            if self._with_imports:
                self.words.append(repr(item))

    def _function(self, node: ast.FunctionDef | ast.AsyncFunctionDef) -> None:
        self._scope.stored.add(node.name)
        self.words += [node.__class__.__name__, node.name]
        self.attributes.add(node.name)
        self._field(node.decorator_list)
        self._field(getattr(node, "type_params", []))
        if node.returns is not None:
            self.words.append("->")
            self._annotation(node.returns)
        self._body(node.args, node.body)

    def _lambda(self, node: ast.Lambda) -> None:
        self.words.append("Lambda")
        self._body(node.args, [node.body])

    def _body(self, arguments: ast.arguments, body: list[Any]) -> None:
        """Defaults and annotations belong to the scope around, and parameters to that of the body."""
        given: list[ast.arg] = [*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs]
        rest = [item for item in (arguments.vararg, arguments.kwarg) if item is not None]
        self._field(arguments.defaults)
        self._field(arguments.kw_defaults)
        self.words.append(
            f"{len(arguments.posonlyargs)} {len(arguments.kwonlyargs)} {arguments.vararg is None}"
        )
        for argument in (*given, *rest):
            self.words.append(argument.arg)
            if argument.annotation is not None:
                self.words.append(":")
                self._annotation(argument.annotation)
        outer, self._scope = self._scope, _Scope()
        self._scope.stored |= {argument.arg for argument in (*given, *rest)}
        self._field(body)
        self._leave(outer)

    def _class(self, node: ast.ClassDef) -> None:
        self._scope.stored.add(node.name)
        self.words += ["ClassDef", node.name]
        self._field(node.decorator_list)
        self._field(getattr(node, "type_params", []))
        self._field(node.bases)
        self._field(node.keywords)
        self.attributes |= {keyword.arg for keyword in node.keywords if keyword.arg is not None}
        outer, self._scope = self._scope, _Scope()
        self._field(node.body)
        self._scope.stored.clear()  # what a class body binds, its methods do not see
        self._leave(outer)

    def _comprehension(self, node: Any) -> None:
        self.words.append(node.__class__.__name__)
        self._visit(node.generators[0].iter)
        outer, self._scope = self._scope, _Scope()
        for number, generator in enumerate(node.generators):
            self.words.append(f"for {generator.is_async}")
            self._visit(generator.target)
            if number:
                self._visit(generator.iter)
            self._field(generator.ifs)
        for part in ("key", "value", "elt"):
            if (inner := getattr(node, part, None)) is not None:
                self._visit(inner)
        self._leave(outer)

    def _leave(self, outer: _Scope) -> None:
        inner, self._scope = self._scope, outer
        local = inner.stored - inner.global_
        self._values |= inner.bare & inner.imported
        outer.loaded |= (inner.loaded - local) | inner.global_
        outer.bare |= inner.bare - local

    def _global(self, node: ast.Global) -> None:
        self._scope.global_ |= set(node.names)
        self.words += ["Global", *node.names]

    def _binds(self, node: Any) -> None:
        """`except … as name`, and the patterns of `match`: names that stand as text."""
        name = getattr(node, "name", None) or getattr(node, "rest", None)
        if name is not None:
            self._scope.stored.add(name)
        self._plain(node)

    def _annotated(self, node: ast.AnnAssign) -> None:
        self.words.append("AnnAssign")
        self._visit(node.target)
        self._annotation(node.annotation)
        self._field(node.value)

    def _annotation(self, node: ast.expr) -> None:
        """An annotation, with what is quoted in it; the words of a Literal are data."""
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            try:
                return self._annotation(ast.parse(node.value, mode="eval").body)
            except SyntaxError:
                return self._visit(node)
        if isinstance(node, ast.Subscript) and "Literal" not in (
            getattr(node.value, "id", ""),
            getattr(node.value, "attr", ""),
        ):
            self.words.append("Subscript")
            self._visit(node.value)
            return self._annotation(node.slice)
        if isinstance(node, ast.Tuple | ast.List):
            self.words.append(f"{node.__class__.__name__} {len(node.elts)}")
            for item in node.elts:
                self._annotation(item)
            return None
        if isinstance(node, ast.BinOp):
            self.words += ["BinOp", node.op.__class__.__name__]
            self._annotation(node.left)
            return self._annotation(node.right)
        return self._visit(node)


_SPECIAL: dict[type[ast.AST], Callable[[Reading, Any], None]] = {
    ast.Name: Reading._name,
    ast.Attribute: Reading._attribute,
    ast.Constant: Reading._constant,
    ast.Expr: Reading._expression,
    ast.Import: Reading._import,
    ast.ImportFrom: Reading._import,
    ast.FunctionDef: Reading._function,
    ast.AsyncFunctionDef: Reading._function,
    ast.Lambda: Reading._lambda,
    ast.ClassDef: Reading._class,
    ast.ListComp: Reading._comprehension,
    ast.SetComp: Reading._comprehension,
    ast.DictComp: Reading._comprehension,
    ast.GeneratorExp: Reading._comprehension,
    ast.Global: Reading._global,
    ast.ExceptHandler: Reading._binds,
    ast.MatchAs: Reading._binds,
    ast.MatchStar: Reading._binds,
    ast.MatchMapping: Reading._binds,
    ast.AnnAssign: Reading._annotated,
}


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
