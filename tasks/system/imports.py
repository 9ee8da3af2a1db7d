"""Importing large libraries for less: the collector does not look through them meanwhile nor ever after, and no grammar is parsed that nobody asks."""

import gc
import sys
from collections.abc import Iterator
from contextlib import contextmanager

_GRAMMARS = "rfc3987_syntax"


@contextmanager
def importing() -> Iterator[None]:
    """Within, nothing is collected; what is there at the end never is: a look through all of torch and Prefect takes a quarter of a second."""
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.freeze()
            gc.enable()


def without_grammars() -> None:
    """Before Prefect is imported: jsonschema parses the grammar of international addresses, for a second, and no form of ours has one."""
    sys.modules.setdefault(_GRAMMARS, None)  # type: ignore[arg-type]
