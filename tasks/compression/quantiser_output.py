"""A quantiser that talks is kept off the user's screen: what matters of it is said in notes, scores and refusals."""

import io
import logging
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout


@contextmanager
def without_quantiser_output() -> Iterator[None]:
    """Without onnxruntime's prints, its advice at the root logger, and numpy's warnings about a mask of −inf."""
    import numpy as np

    root = logging.getLogger()
    silent = logging.NullHandler()  # logging.warning() installs a handler of its own where there is none
    root.addHandler(silent)
    root.addFilter(_not_the_quantisers)
    try:
        with redirect_stdout(io.StringIO()), np.errstate(all="ignore"):
            yield
    finally:
        root.removeFilter(_not_the_quantisers)
        root.removeHandler(silent)


def _not_the_quantisers(record: logging.LogRecord) -> bool:
    return "onnxruntime" not in record.pathname
