"""Which definitions a function reaches: names are followed through imports, from a syntax tree to the next one.

A definition is what a module binds to a name: a function, a class as a whole, a constant. Anything that a name alone does
not settle (a star import, `globals()`, a module that is handed on as a value) counts as the whole file.
"""

import ast
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

from flows.pipeline.modules import Module
from tasks.system.files import sha256_of
from tasks.system.syntax import Chain, Import, Reading

ROOT = Path(__file__).parent.parent.parent

ROOMS = ("tasks", "infra.serving", "flows.steps", "flows.candidates")
"""Where names are followed. The rest of flows/ and infra/ moves, keeps and shows results and decides none."""

_NOT_OURS = "tasks.workloads.examples"
"""Workloads: their files are in a key as a user's are."""

WHOLE, ON_IMPORT, ON_RUN, MODULE = "*", "(import)", "(run)", ""
"""Names of what is not bound to one: a file as a whole, what importing or running it does, the module as an object."""

_BUILTINS = frozenset({"globals", "eval", "exec", "__import__"})

_ATTRIBUTES = frozenset({"__subclasses__", "__globals__"})

_DYNAMIC = ("importlib.", "runpy.", "pkgutil.", "sys.modules", "inspect.getmodule")

_STATIC = ("importlib.metadata", "importlib.machinery", "importlib.util.find_spec")


class Node(NamedTuple):
    """A definition's address; its place in the tree says nothing of what it is, and is in no digest."""

    module: str
    name: str

    @property
    def shown(self) -> str:
        """As people read it: loop.Loop, of tasks.training.loop."""
        return f"{self.module.rpartition('.')[2]}.{self.name}".removesuffix(f".{WHOLE}")


class Definition(NamedTuple):
    """A definition: its digest, what its names lead to, which modules it imports and what in it cannot be followed."""

    digest: str
    names: tuple[tuple[str, Node], ...]
    modules: tuple[str, ...]
    doubts: tuple[tuple[Node, str], ...]
    opens_classes: bool


class Code:
    """The source below a folder, read once: what is imported does not change while a process runs."""

    def __init__(self, root: Path = ROOT) -> None:
        self._files = dict(_files(root))
        self._modules: dict[str, Module] = {}
        self._definitions: dict[Node, Definition] = {}

    def roots(self, dotted: str) -> list[Node]:
        """What "tasks.training.trainer.train" leads to: a definition, a whole file where it is a module, or nothing of ours."""
        module, _, name = dotted.rpartition(".")
        return [Node(n.module, n.name or WHOLE) for n in self.resolve(module, name)]

    @property
    def files(self) -> Mapping[str, Path]:
        """Every module whose names are followed."""
        return self._files

    def file(self, module: str) -> Path | None:
        """The file of a module whose names are followed."""
        return self._files.get(module)

    def module(self, name: str) -> Module:
        if name not in self._modules:
            path = self.file(name)
            assert path is not None, name
            self._modules[name] = Module(name, path, decorated=not name.startswith("flows."))
        return self._modules[name]

    def resolve(self, module: str, name: str, seen: frozenset[Node] = frozenset()) -> list[Node]:
        """What `name` leads to when `module` uses it: a definition, a module, several, or nothing that is followed."""
        if (here := Node(module, name)) in seen or self.file(module) is None:
            return []
        names = self.module(module)
        nodes = [here] if name in names.bindings else []
        for item in names.imports.get(name, ()):
            nodes += self.imported(names, item, seen | {here})
        if not nodes and self.file(f"{module}.{name}") is not None:
            nodes.append(Node(f"{module}.{name}", MODULE))
        if not nodes and "__getattr__" in names.bindings:
            nodes = [Node(module, "__getattr__"), Node(module, WHOLE)]
        for item in names.imports.get(WHOLE, ()):
            if (source := absolute(names, item)) and self.file(source) is not None:
                nodes += [Node(source, WHOLE), Node(module, WHOLE)]
        return nodes

    def imported(self, module: Module, item: Import, seen: frozenset[Node] = frozenset()) -> list[Node]:
        """What an import in `module` binds."""
        source = absolute(module, item)
        if not item.name:
            bound = source if item.alias != source.partition(".")[0] else item.alias
            return [Node(bound, MODULE)] if self.file(bound) is not None else []
        if self.file(source) is None:
            deeper = f"{source}.{item.name}"  # `from infra import serving`
            return [Node(deeper, MODULE)] if self.file(deeper) is not None else []
        return self.resolve(source, item.name, seen)

    def loaded(self, module: Module, items: Iterable[Import]) -> Iterator[str]:
        """The modules that imports run: those they name, and the packages above."""
        for item in items:
            source = absolute(module, item)
            for name in (source, f"{source}.{item.name}"):
                parts = name.split(".")
                yield from (
                    above for n in range(1, len(parts) + 1) if self.file(above := ".".join(parts[:n]))
                )

    def definition(self, node: Node) -> Definition:
        if node not in self._definitions:
            module = self.module(node.module)
            self._definitions[node] = _Follow(self, module, self._statements(module, node.name)).definition(
                node
            )
        return self._definitions[node]

    def _statements(self, module: Module, name: str) -> list[ast.stmt]:
        special = {WHOLE: module.body, ON_IMPORT: module.effects, ON_RUN: module.main}
        return special[name] if name in special else module.bindings[name]


def absolute(module: Module, item: Import) -> str:
    """The dotted name of the module that an import is from."""
    if not item.level:
        return item.module
    parts = module.package.split(".")
    return ".".join(filter(None, [*parts[: len(parts) + 1 - item.level], item.module]))


class _Follow:
    """One definition read: where each of its names leads, and its words without the names of modules."""

    def __init__(self, code: Code, module: Module, statements: Iterable[ast.stmt]) -> None:
        self._code, self._module = code, module
        self._reading = Reading(statements)
        self._local: dict[str, list[Import]] = {}
        for item in self._reading.imports:
            self._local.setdefault(item.alias, []).append(item)
        self._names: list[tuple[str, Node]] = []
        self._doubts: list[tuple[Node, str]] = []
        self._ordinals: dict[tuple[str, ...], int] = {}

    def definition(self, node: Node) -> Definition:
        reading = self._reading
        for alias, items in self._local.items():
            for item in items:
                self._add(f"import {alias}", self._code.imported(self._module, item), alias in reading.values)
        own = self._module.bindings if node.name == WHOLE else {}
        for name in reading.names - own.keys():
            self._add(name, self._code.resolve(self._module.name, name), name in reading.values)
        for chain in reading.chains:
            self._follow_chain(chain)
        dynamic = sorted(set(self._dynamic()))
        for place, text in reading.strings:
            self._follow_string(place, text, "importlib.import_module" in dynamic)
        for reason in dynamic:
            self._doubt(Node(self._module.name, WHOLE), reason)
        modules = tuple(self._code.loaded(self._module, reading.imports))
        opens = bool({"__init_subclass__", "metaclass"} & reading.attributes)
        return Definition(
            reading.digest,
            tuple(sorted(self._names, key=lambda n: n[0])),
            modules,
            tuple(self._doubts),
            opens,
        )

    def _dynamic(self) -> Iterator[str]:
        """Ways to what no name leads to."""
        reading = self._reading
        yield from (name for name in reading.names & _BUILTINS if name not in self._module.bindings)
        yield from reading.attributes & _ATTRIBUTES
        used = {(name, "") for name in reading.names} | {
            (c.first, ".".join(c.attributes)) for c in reading.chains
        }
        for first, rest in used | {(alias, "") for alias in self._local}:
            for item in (*self._local.get(first, ()), *self._module.imports.get(first, ())):
                bound = item.module if item.alias != item.module.partition(".")[0] else item.alias
                dotted = ".".join(filter(None, [bound, item.name, rest]))
                if dotted.startswith(_DYNAMIC) and not dotted.startswith(_STATIC):
                    yield dotted

    def _add(self, label: str, nodes: Iterable[Node], as_value: bool = True) -> None:
        for node in nodes:
            if node.name != MODULE:
                self._names.append((label, node))
                if node.name == WHOLE:
                    self._doubts.append((node, "star import or __getattr__"))
            elif as_value:
                self._names.append((label, whole := Node(node.module, WHOLE)))
                self._doubts.append((whole, "handed on as a value"))

    def _doubt(self, node: Node, reason: str, label: str = "doubt") -> None:
        self._names.append((label, node))
        self._doubts.append((node, reason))

    def _follow_chain(self, chain: Chain) -> None:
        """`loop.Loop`, where `loop` is a module: the word becomes a number, so that the module may be called otherwise."""
        modules = [node for node in self._first(chain.first) if node.name == MODULE]
        for start in modules:
            node, rest = start, list(chain.attributes)
            while node.name == MODULE and rest:
                nodes = self._code.resolve(node.module, attribute := rest.pop(0))
                for other in nodes[1:]:
                    self._add(f"{attribute} too", [other])
                node = nodes[0] if nodes else Node(node.module, WHOLE)
            whole = node.name in (MODULE, WHOLE) or chain.written
            number = self._ordinals.setdefault((chain.first, *chain.attributes), len(self._ordinals))
            self._reading.words[chain.place] = ".".join([f"@{number}", *chain.attributes[-1 - len(rest) :]])
            self._names.append((f"@{number}", Node(node.module, WHOLE) if whole else node))
            if whole:
                reason = "assigned from elsewhere" if chain.written else "handed on as a value"
                self._doubts.append((Node(node.module, WHOLE), reason))

    def _first(self, name: str) -> list[Node]:
        nodes = [n for item in self._local.get(name, ()) for n in self._code.imported(self._module, item)]
        return nodes + (self._code.resolve(self._module.name, name) if name in self._reading.names else [])

    def _follow_string(self, place: int, text: str, imported: bool) -> None:
        """A module that is run or imported by its name, and a file that lies beside this one."""
        beside = self._module.path.parent / text
        if "." in text and beside.is_file():
            self._reading.words[place] += sha256_of(beside)
        for name in (text, f"{text}.__main__"):
            if "." in name and self._code.file(name) is not None:
                module = self._code.module(name)
                runs = module.main or name.endswith("__main__")
                if not runs and module.path.name == "__init__.py":
                    continue
                number = self._ordinals.setdefault((text,), len(self._ordinals))
                self._reading.words[place] = f"@{number}"
                if runs and not imported:
                    self._names.append((f"@{number}", Node(name, ON_RUN)))
                else:
                    self._doubt(Node(name, WHOLE), "imported by its name", f"@{number}")


def _files(root: Path) -> Iterator[tuple[str, Path]]:
    """Each module whose names are followed, with its file."""
    for room in ROOMS:
        base = root.joinpath(*room.split("."))
        for path in (base.with_suffix(".py"), *base.rglob("*.py")):
            parts = path.relative_to(root).with_suffix("").parts
            name = ".".join(parts[:-1] if path.name == "__init__.py" else parts)
            if path.is_file() and not name.startswith(_NOT_OURS):
                yield name, path
