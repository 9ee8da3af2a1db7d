"""Where rows come from: files inside installed packages and of the system, and data that grows."""

import importlib.util
from pathlib import Path

from tasks.errors import UserError


def packaged_file(package: str, path: str, extra: str) -> Path:
    """A data file inside an installed package, by path: importing the package may be slow, or fail.

    Raises UserError, naming the extra that installs it, when package or file is absent.
    """
    spec = importlib.util.find_spec(package)
    if spec is None or spec.origin is None:
        raise UserError(f"The package {package!r} is not installed: pip install 'slipway[{extra}]'.")
    file = Path(spec.origin).parent / path
    if not file.is_file():
        raise UserError(
            f"The package {package!r} has no {path}: install the version in requirements.lock, pip install 'slipway[{extra}]'."
        )
    return file
