"""Where a name leads: through imports, from one source file to the next, to what binds it."""

from collections.abc import Iterable, Iterator
from itertools import accumulate
from pathlib import Path
from typing import NamedTuple

from flows.pipeline.modules import Module
from tasks.system.syntax import Import

ROOT = Path(__file__).parent.parent.parent

ROOMS = ("tasks", "infra", "flows.steps", "flows.candidates", "flows.trainings")
"""Where names are followed. The rest of flows/ moves, keeps and shows results and decides none."""

_NOT_OURS = ("tasks.workloads.examples", "tasks.bundles")
"""Workloads: their files are in a key as a user's are; and how they come to where they run, which decides no result."""

WHOLE, ON_IMPORT, ON_RUN, MODULE = "*", " (import)", " (run)", ""
"""Names of what is not bound to one: a file as a whole, what importing or running it does, the module as an object."""


class Node(NamedTuple):
    """A definition's address; its place in the tree says nothing of what it is, and is in no digest."""

    module: str
    name: str

    @property
    def shown(self) -> str:
        """As people read it: loop.Loop, of tasks.training.loop."""
        module = self.module.rpartition(".")[2]
        return module if self.name == WHOLE else f"{module}{'' if '(' in self.name else '.'}{self.name}"


class Names:
    """The source below a folder, read once: what is imported does not change while a process runs."""

    def __init__(self, root: Path = ROOT) -> None:
        self._files = dict(_files(root))
        self._named = {path: name for name, path in self._files.items() if not path.name.startswith("__")}
        self._modules: dict[str, Module] = {}

    def roots(self, dotted: str) -> list[Node]:
        """What "tasks.training.trainer.train" leads to: a definition, a whole file where it is a module, or nothing of ours."""
        module, _, name = dotted.rpartition(".")
        return [Node(n.module, n.name or WHOLE) for n in self.resolve(module, name)]

    def file(self, module: str) -> Path | None:
        """The file of a module whose names are followed."""
        return self._files.get(module)

    def name(self, path: Path) -> str | None:
        """The module that a file is; None for what is only a part of its package."""
        return self._named.get(path)

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
            parts = f"{absolute(module, item)}.{item.name}".split(".")
            yield from filter(self.file, accumulate(parts, "{}.{}".format))


def absolute(module: Module, item: Import) -> str:
    """The dotted name of the module that an import is from."""
    if not item.level:
        return item.module
    parts = module.package.split(".")
    return ".".join(filter(None, [*parts[: len(parts) + 1 - item.level], item.module]))


def _files(root: Path) -> Iterator[tuple[str, Path]]:
    """Each module whose names are followed, with its file."""
    for room in ROOMS:
        base = root.joinpath(*room.split("."))
        for path in (base.with_suffix(".py"), *base.rglob("*.py")):
            parts = path.relative_to(root).with_suffix("").parts
            name = ".".join(parts[:-1] if path.name == "__init__.py" else parts)
            if path.is_file() and not name.startswith(_NOT_OURS):
                yield name, path
