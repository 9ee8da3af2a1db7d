"""Importing large libraries for less: the collector does not look through them meanwhile, and what nobody asks of them is left out."""

import atexit
import gc
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder
from importlib.util import LazyLoader
from types import ModuleType

_GRAMMARS, _ASKS = "rfc3987_syntax", "jsonschema._format"

_SIGSTORE = "model_signing._signing.sign_sigstore"

_AT_ONCE = 10_000
"""So many new objects are looked through together: by Python's 700 imports and exports spend a sixth of their time on it."""

# or else torch and MLflow are looked through once more as a process ends, for one to four seconds
atexit.register(gc.freeze)


@contextmanager
def importing(*, for_good: bool = False) -> Iterator[None]:
    """Within, nothing is collected: a look through all of torch and Prefect takes a quarter of a second.

    `for_good` is for a process that begins: what is there at the end never is looked through, and what comes later less often:
    tracing and the libraries that steps import make objects by the million. Once, for what was frozen and is dropped later stays.
    """
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if for_good and not gc.get_freeze_count():
            gc.freeze()
            gc.set_threshold(_AT_ONCE)
        if was_on:
            gc.enable()


def import_less() -> None:
    """Before Prefect is imported: jsonschema parses the grammar of international addresses, for a second, and no form of ours has one.

    And before model-signing is: whoever signs with a key needs none of Sigstore, which is read once it is asked for anything.
    """
    if not any(isinstance(finder, _Less) for finder in sys.meta_path):
        sys.meta_path.insert(0, _Less())


class _Less(MetaPathFinder):
    """What is not there, or not yet, while the one looks for it who needs it least, and is there for everybody else."""

    def find_spec(
        self, name: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if name == _GRAMMARS and _is_importing(_ASKS):
            raise ModuleNotFoundError(f"{name} is left out, for it takes a second", name=name)
        spec = PathFinder.find_spec(name, path) if name == _SIGSTORE else None
        if spec is not None and spec.loader is not None:
            spec.loader = LazyLoader(spec.loader)
        return spec


def _is_importing(name: str) -> bool:
    return bool(getattr(getattr(sys.modules.get(name), "__spec__", None), "_initializing", False))
