"""Where a workload's code is, by what a user typed: `digits`, `package.module`, `package.module:attribute` or a path."""

import difflib
import importlib.util
from importlib.machinery import ModuleSpec
from pathlib import Path

from tasks.errors import UserError
from tasks.system.sentences import typed_line


def names() -> tuple[str, ...]:
    """The workloads that come with Slipway."""
    return tuple(sorted(path.stem for path in (Path(__file__).parent / "examples").glob("[!_]*.py")))


def source_file(reference: str) -> Path:
    """The file that defines the workload, without running it. Raises UserError when there is none."""
    module = reference.partition(":")[0]
    if is_path(module):
        path = Path(module).resolve()
        if not path.is_file():
            raise UserError(f"No workload file {module!r}: check the path.")
        return path
    spec = _spec(module)
    if spec is None or spec.origin is None:
        close = difflib.get_close_matches(reference, names(), n=1)
        hint = f" (is it {close[0]!r}?)" if close else ""
        raise UserError(
            f"Unknown workload {reference!r}{hint}: name one of {', '.join(names())}, a module (package.module) or a file (path/to/file.py)."
        )
    return Path(spec.origin)


def _spec(module: str) -> ModuleSpec | None:
    """Where a module is; None when there is none. Raises UserError when a package above it does not import."""
    name = module_name(module)
    try:
        return importlib.util.find_spec(name)
    except Exception as error:
        missing = error.name if isinstance(error, ModuleNotFoundError) else None
        if isinstance(error, ValueError) or (missing and f"{name}.".startswith(f"{missing}.")):
            return None
        raise UserError(
            f"The package of {module!r} does not import: {typed_line(error).rstrip('.: ')}."
        ) from error


def is_path(reference: str) -> bool:
    """Whether a file is named, and no module."""
    return reference.endswith(".py") or "/" in reference


def module_name(reference: str) -> str:
    """Where a workload that is named without a path is imported from: `digits` is one of ours."""
    return f"tasks.workloads.examples.{reference}" if "." not in reference else reference
