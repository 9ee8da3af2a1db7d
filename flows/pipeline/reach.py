"""Everything that a step's functions reach, as one digest, and as a list by which people see what changed."""

import hashlib
import json
import sys
from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

from flows.pipeline.definitions import Code
from flows.pipeline.names import ON_IMPORT, ROOMS, ROOT, WHOLE, Node
from tasks.system.files import sha256_of, write_atomically

_KEPT = Path(__file__).parent / "__pycache__" / f"reach-{sys.implementation.cache_tag}.json"
"""Beside Python's own compiled code, and like it made anew when a file of it changes."""


class Reach(NamedTuple):
    """All that some roots reach: one digest of code and wiring, and a line with each definition's own, for people."""

    digest: str
    source: str
    nodes: frozenset[Node]
    modules: frozenset[str]
    doubts: Mapping[Node, str]


def reach(code: Code, roots: Iterable[str]) -> Reach:
    """Everything that `roots`, such as "tasks.training.trainer.train", lead to; what is not ours leads nowhere."""
    return _Search(code, [node for root in roots for node in code.roots(root)]).reach()


@cache
def source_of(roots: tuple[str, ...]) -> tuple[str, str]:
    """The digest of what `roots` reach in the code that this process runs, and a line for each definition."""
    kept, name = _kept(), " ".join(roots)
    if name not in kept:
        reached = reach(_here(), roots)
        kept[name] = [reached.digest, reached.source]
        _keep(kept)
    digest, source = kept[name]
    return digest, source


class _Search:
    """From roots to everything that they reach."""

    def __init__(self, code: Code, roots: list[Node]) -> None:
        self._code, self._roots = code, roots
        self._nodes: set[Node] = set()
        self._modules: set[str] = set()
        self._doubts: dict[Node, str] = {}
        self._open = False

    def reach(self) -> Reach:
        queue = deque(self._roots)
        while queue:
            if (node := queue.popleft()) not in self._nodes:
                queue += self._take(node)
            if not queue and self._open:
                queue += {Node(name, WHOLE) for name in self._modules} - self._nodes
        return Reach(
            self._digest(), self._shown(), frozenset(self._nodes), frozenset(self._modules), self._doubts
        )

    def _take(self, node: Node) -> Iterator[Node]:
        self._nodes.add(node)
        definition = self._code.definition(node)
        self._doubts |= dict(definition.doubts)
        self._open |= definition.opens_classes
        yield from (target for _, target in definition.names)
        yield from self._load([node.module, *definition.modules])

    def _load(self, names: Iterable[str]) -> Iterator[Node]:
        """What is done when these modules are imported, and those that they import."""
        queue = list(names)
        while queue:
            if (name := queue.pop()) in self._modules or self._code.file(name) is None:
                continue
            self._modules.add(name)
            queue.append(name.rpartition(".")[0])
            module = self._code.module(name)
            if module.on_import:
                yield Node(name, ON_IMPORT)
            if not name.startswith("flows."):
                queue += self._code.loaded(module, module.loaded)

    def _digest(self) -> str:
        """Of every definition and of which name leads to which: the same wherever the definitions stand."""
        effects = [node for node in self._nodes if node.name in (ON_IMPORT, WHOLE)]
        queue = deque([*self._roots, *sorted(effects, key=lambda n: (self._code.definition(n).digest, n))])
        numbers: dict[Node, int] = {}
        while queue:
            if (node := queue.popleft()) not in numbers:
                numbers[node] = len(numbers)
                queue += [target for _, target in self._code.definition(node).names]
        definitions = map(self._code.definition, numbers)
        wired = [(made.digest, [(label, numbers[t]) for label, t in made.names]) for made in definitions]
        return hashlib.sha256(json.dumps(wired).encode()).hexdigest()

    def _shown(self) -> str:
        """Each definition's name, as people read it, and the first digits of its digest; namesakes share a line."""
        shown: dict[str, list[str]] = {}
        for node in self._nodes:
            shown.setdefault(node.shown, []).append(self._code.definition(node).digest[:12])
        return "\n".join(f"{name} {'+'.join(sorted(digests))}" for name, digests in sorted(shown.items()))


@cache
def _here() -> Code:
    """The code that this process runs; it does not change meanwhile."""
    return Code()


@cache
def _kept() -> dict[str, Any]:
    """What earlier processes found in the same files."""
    try:
        kept = json.loads(_KEPT.read_text())
        return dict(kept["reached"]) if kept["tree"] == _tree() else {}
    except (OSError, ValueError, KeyError):
        return {}


def _keep(kept: Mapping[str, Any]) -> None:
    """For the next process; where nothing can be written, it looks for itself."""
    with suppress(OSError):
        write_atomically(_KEPT, json.dumps({"tree": _tree(), "reached": kept}).encode())


@cache
def _tree() -> str:
    """The digest of every file that names are followed in, and of these that follow them."""
    folders = [ROOT.joinpath(*room.split(".")) for room in ROOMS]
    files = [path for folder in (*folders, Path(__file__).parent) for path in folder.rglob("*.*")]
    files += [folder.with_suffix(".py") for folder in folders]
    digest = hashlib.sha256()
    for path in sorted(path for path in files if path.suffix != ".pyc" and path.parent.name != "__pycache__"):
        if path.is_file():
            digest.update(f"{path.relative_to(ROOT)} {sha256_of(path)}\n".encode())
    return digest.hexdigest()
