"""One source file by what it binds: the statements behind each name, and what is done when it is imported."""

import ast
from collections.abc import Iterable, Iterator
from pathlib import Path

from tasks.system.syntax import Import, imports_of

_HARMLESS = frozenset(
    "AfterValidator ConfigDict Field Lock Path ParamSpec RLock TypeAdapter TypeVar abstractmethod cache cached_property "
    "classmethod compile contextmanager dataclass field field_validator frozenset get getLogger items len lower "
    "lru_cache model_validate model_validator namedtuple overload partial property range resolve setter sorted split "
    "staticmethod total_ordering tuple with_name wraps".split()
)
"""What a module may call while it is imported without changing anything but the name that it binds."""

_Function = ast.FunctionDef | ast.AsyncFunctionDef


class Module:
    """The names of a source file. Imports under TYPE_CHECKING count too, for annotations say what a value may be."""

    def __init__(self, name: str, path: Path, decorated: bool = True) -> None:
        self.name, self.path = name, path
        self.bindings: dict[str, list[ast.stmt]] = {}
        self.imports: dict[str, list[Import]] = {}
        self.loaded: list[Import] = []
        """What is imported when this is."""
        self.on_import: list[ast.AST] = []
        """All that runs when this is imported, in its order, if any of it may do more than bind names."""
        self.main: list[ast.stmt] = []
        """What is done when this is run by `python -m`."""
        content = path.read_bytes()
        self.body = ast.parse(content).body
        self._has_globals, self._does_more = b"global " in content, False
        for statement in self.body:
            if not decorated and isinstance(statement, _Function):
                statement.decorator_list = []
            self._take(statement)
        if not self._does_more:
            self.on_import.clear()

    @property
    def package(self) -> str:
        """The package that a relative import starts from."""
        return self.name if self.path.name == "__init__.py" else self.name.rpartition(".")[0]

    def _take(self, statement: ast.stmt, runs: bool = True) -> None:
        if isinstance(statement, ast.Import | ast.ImportFrom):
            self._bind(statement)
            if runs:
                self._load(statement)
        elif isinstance(statement, ast.If) and _is_type_checking(statement.test):
            for inner in statement.body:
                self._take(inner, runs=False)
            for inner in statement.orelse:
                self._take(inner)
        elif isinstance(statement, ast.If) and _is_main(statement.test):
            self.main += statement.body
        elif not (isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant)):
            for name in self._bound(statement):
                self.bindings.setdefault(name, []).append(statement)
            if runs:
                self._load(statement)
                self._note_effects(statement)

    def _note_effects(self, statement: ast.stmt) -> None:
        more = self._does_more_than_bind(statement)
        self.on_import += [statement] if more else _run(statement)
        self._does_more |= more

    def _bind(self, statement: ast.Import | ast.ImportFrom) -> None:
        for item in imports_of(statement):
            self.imports.setdefault(item.alias, []).append(item)

    def _load(self, statement: ast.stmt) -> None:
        for node in _running(statement):
            if isinstance(node, ast.Import | ast.ImportFrom):
                self.loaded += imports_of(node)

    def _bound(self, statement: ast.stmt) -> Iterator[str]:
        """The module's names that a statement binds, wherever in it."""
        if isinstance(statement, _Function | ast.ClassDef):
            yield statement.name
            inner: Iterable[ast.AST] = ast.walk(statement) if self._has_globals else ()
            for node in inner:
                if isinstance(node, ast.Global):
                    yield from node.names
            return
        for node in ast.walk(statement):
            if isinstance(node, ast.Name) and not isinstance(node.ctx, ast.Load):
                yield node.id
            elif isinstance(node, _Function | ast.ClassDef):
                yield node.name
            elif isinstance(node, ast.Import | ast.ImportFrom):
                self._bind(node)

    def _does_more_than_bind(self, statement: ast.stmt) -> bool:
        if not isinstance(statement, _Function | ast.ClassDef | ast.Assign | ast.AnnAssign):
            return True
        return any(map(_writes, _running(statement))) or any(map(self._may_change_more, _called(statement)))

    def _may_change_more(self, callee: ast.expr) -> bool:
        """Whether calling this may do more than return a value: all but the few that are known not to."""
        name = callee.attr if isinstance(callee, ast.Attribute) else getattr(callee, "id", "")
        while isinstance(callee, ast.Attribute):
            callee = callee.value
        first = getattr(callee, "id", "")
        return (
            name not in _HARMLESS
            or first in self.bindings
            or any(
                item.level or item.module.split(".")[0] in ("flows", "tasks", "infra")
                for item in self.imports.get(first, ())
            )
        )


def _run(statement: ast.stmt) -> Iterator[ast.AST]:
    """The parts of a module-level statement that run when it does: of a function, its decorators and defaults."""
    if not isinstance(statement, ast.ClassDef | _Function):
        yield statement
        return
    yield from statement.decorator_list
    if isinstance(statement, ast.ClassDef):
        yield from (*statement.bases, *statement.keywords)
        for inner in statement.body:
            yield from _run(inner)
    else:
        yield from (*statement.args.defaults, *filter(None, statement.args.kw_defaults))


def _running(statement: ast.stmt) -> Iterator[ast.AST]:
    """All nodes of these parts."""
    for part in _run(statement):
        yield from ast.walk(part)


def _writes(node: ast.AST) -> bool:
    """Whether it may change what another name holds."""
    if isinstance(node, ast.Attribute | ast.Subscript):
        return not isinstance(node.ctx, ast.Load)
    return isinstance(node, ast.AugAssign)


def _called(statement: ast.stmt) -> Iterator[ast.expr]:
    """What is called when a module-level statement runs."""
    yield from (node.func for node in _running(statement) if isinstance(node, ast.Call))
    for node in ast.walk(statement) if isinstance(statement, ast.ClassDef) else [statement]:
        yield from (d for d in getattr(node, "decorator_list", ()) if not isinstance(d, ast.Call))


def _is_type_checking(test: ast.expr) -> bool:
    return "TYPE_CHECKING" in (getattr(test, "id", ""), getattr(test, "attr", ""))


def _is_main(test: ast.expr) -> bool:
    return isinstance(test, ast.Compare) and getattr(test.left, "id", "") == "__name__"
