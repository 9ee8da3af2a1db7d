"""Importing large libraries for less: the collector does not look through them meanwhile, and no grammar is parsed that nobody asks."""

import gc
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib.abc import MetaPathFinder
from types import ModuleType

_GRAMMARS, _ASKS = "rfc3987_syntax", "jsonschema._format"


@contextmanager
def importing(*, for_good: bool = False) -> Iterator[None]:
    """Within, nothing is collected: a look through all of torch and Prefect takes a quarter of a second.

    `for_good` is for a process that begins: what is there at the end never is looked through. Once, for what was frozen
    and is dropped later stays.
    """
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if for_good and not gc.get_freeze_count():
            gc.freeze()
        if was_on:
            gc.enable()


def without_grammars() -> None:
    """Before Prefect is imported: jsonschema parses the grammar of international addresses, for a second, and no form of ours has one."""
    if not any(isinstance(finder, _NoGrammars) for finder in sys.meta_path):
        sys.meta_path.insert(0, _NoGrammars())


class _NoGrammars(MetaPathFinder):
    """Not there while jsonschema looks for it, and there for everybody else."""

    def find_spec(self, name: str, path: Sequence[str] | None, target: ModuleType | None = None) -> None:
        asks = sys.modules.get(_ASKS) if name == _GRAMMARS else None
        if getattr(getattr(asks, "__spec__", None), "_initializing", False):
            raise ModuleNotFoundError(f"{name} is left out, for it takes a second", name=name)
