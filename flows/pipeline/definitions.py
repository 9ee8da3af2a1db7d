"""Which definitions a function reaches: its syntax without formatting, and where each of its names leads.

A definition is what a module binds to a name: a function, a class as a whole, a constant. Anything that a name alone does
not settle (a star import, `globals()`, a module that is handed on as a value) counts as the whole file.
"""

import ast
from collections.abc import Iterable, Iterator, Mapping, Sequence
from operator import itemgetter
from pathlib import Path
from typing import NamedTuple

from flows.pipeline.modules import Module
from flows.pipeline.names import MODULE, ON_IMPORT, ON_RUN, ROOT, WHOLE, Names, Node
from tasks.system.files import sha256_of
from tasks.system.syntax import Chain, Import, Reading

_BUILTINS = frozenset({"globals", "eval", "exec", "__import__"})

_ATTRIBUTES = frozenset({"__subclasses__", "__globals__"})

_DYNAMIC = ("importlib", "runpy", "pkgutil", "builtins", "sys.modules", "inspect.getmodule")

_STATIC = ("importlib.metadata", "importlib.machinery", "importlib.util.find_spec")


class Definition(NamedTuple):
    """A definition: its digest, what its names lead to, which modules it imports and what in it cannot be followed."""

    digest: str
    names: tuple[tuple[str, Node], ...]
    modules: tuple[str, ...]
    doubts: tuple[tuple[Node, str], ...]
    opens_classes: bool


class Code(Names):
    """The definitions below a folder, each read once: what is imported does not change while a process runs."""

    def __init__(self, root: Path = ROOT) -> None:
        super().__init__(root)
        self._definitions: dict[Node, Definition] = {}

    def definition(self, node: Node) -> Definition:
        if node not in self._definitions:
            module = self.module(node.module)
            statements: Mapping[str, Sequence[ast.AST]] = {
                **module.bindings,
                WHOLE: module.body,
                ON_IMPORT: module.on_import,
                ON_RUN: module.main,
            }
            self._definitions[node] = _Reader(self, module, statements[node.name]).definition(node)
        return self._definitions[node]


class _Reader:
    """One definition read: where each of its names leads, and its words without the names of modules."""

    def __init__(self, code: Names, module: Module, statements: Iterable[ast.AST]) -> None:
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
                self._add(alias, self._code.imported(self._module, item), alias in reading.values)
        own = self._module.bindings if node.name == WHOLE else {}
        for name in reading.names - own.keys():
            self._add(name, self._code.resolve(self._module.name, name), name in reading.values)
        for chain in reading.chains:
            self._follow_chain(chain)
        if len(self._module.bindings.get(node.name, ())) > 1:  # which one holds where is a matter of order
            self._doubt(Node(node.module, WHOLE), "bound more than once")
        dynamic = sorted(set(self._dynamic()))
        for place, text in reading.strings:
            self._follow_string(place, text, "importlib.import_module" in dynamic)
        for reason in dynamic:
            self._doubt(Node(self._module.name, WHOLE), reason)
        return Definition(
            digest=reading.digest,
            names=tuple(sorted(self._names, key=itemgetter(0))),
            modules=tuple(self._code.loaded(self._module, reading.imports)),
            doubts=tuple(self._doubts),
            opens_classes=not reading.attributes.isdisjoint({"__init_subclass__", "metaclass"}),
        )

    def _dynamic(self) -> Iterator[str]:
        """Ways to what no name leads to."""
        reading = self._reading
        yield from (name for name in reading.names & _BUILTINS if name not in self._module.bindings)
        yield from reading.attributes & _ATTRIBUTES
        used = {(name, "") for name in reading.values}
        used |= {(chain.first, ".".join(chain.attributes)) for chain in reading.chains}
        for first, rest in used:
            for item in (*self._local.get(first, ()), *self._module.imports.get(first, ())):
                bound = item.module if item.alias != item.module.partition(".")[0] else item.alias
                dotted = ".".join(filter(None, [bound, item.name, rest]))
                if dotted.startswith(_DYNAMIC) and not dotted.startswith(_STATIC):
                    yield dotted

    def _add(self, label: str, nodes: Iterable[Node], as_value: bool = True) -> None:
        for node in nodes:
            if node.name == WHOLE:
                self._doubt(node, "star import or __getattr__", label)
            elif node.name != MODULE:
                self._names.append((label, node))
            elif as_value:
                self._doubt(Node(node.module, WHOLE), "handed on as a value", label)

    def _doubt(self, node: Node, reason: str, label: str = "doubt") -> None:
        self._names.append((label, node))
        self._doubts.append((node, reason))

    def _follow_chain(self, chain: Chain) -> None:
        """`loop.Loop`, where `loop` is a module: the word becomes a number."""
        for node in self._first(chain.first):
            if node.name != MODULE:
                continue
            rest = list(chain.attributes)
            while node.name == MODULE and rest:
                nodes = self._code.resolve(node.module, attribute := rest.pop(0))
                for other in nodes[1:]:
                    self._add(f"{attribute} too", [other])
                node = nodes[0] if nodes else Node(node.module, WHOLE)
            label = self._numbered(chain.first, *chain.attributes)
            self._reading.words[chain.place] = ".".join([label, *chain.attributes[-1 - len(rest) :]])
            if chain.written:
                self._doubt(Node(node.module, WHOLE), "assigned from elsewhere", label)
            elif node.name in (MODULE, WHOLE):
                self._doubt(Node(node.module, WHOLE), "handed on as a value", label)
            else:
                self._names.append((label, node))

    def _numbered(self, *name: str) -> str:
        """The word that stands for a name with a module's in it, so that the module may be called otherwise."""
        return f"@{self._ordinals.setdefault(name, len(self._ordinals))}"

    def _first(self, name: str) -> list[Node]:
        nodes = [n for item in self._local.get(name, ()) for n in self._code.imported(self._module, item)]
        return nodes + (self._code.resolve(self._module.name, name) if name in self._reading.names else [])

    def _follow_string(self, place: int, text: str, imported: bool) -> None:
        """A module that is run or imported by its name, and a file that lies beside this one."""
        beside = self._module.path.parent / text
        if beside.suffix == ".py" and (name := self._code.name(beside)) is not None:
            self._doubt(Node(name, WHOLE), "named as a file")
        elif beside.suffix != ".py" and beside.is_file():
            self._reading.words[place] += sha256_of(beside)
        module = text.partition(":")[0]
        main = f"{module}.__main__"
        name = main if self._code.file(main) and not imported else module
        if "." in module and self._code.file(name):
            self._reading.words[place] = label = self._numbered(text)
            if self._code.module(name).main and text == module and not imported:
                self._names.append((label, Node(name, ON_RUN)))
            else:
                self._doubt(Node(name, WHOLE), "imported by its name", label)
        elif text.startswith(("tasks.", "infra.")):
            self._doubt(Node(self._module.name, WHOLE), "a module's name in pieces")
