"""Where a workload's code is, by what a user typed: `digits`, `package.module`, `package.module:attribute`, a path or a bundle."""

import difflib
import importlib.util
from importlib.machinery import ModuleSpec
from pathlib import Path
from typing import NamedTuple

from tasks.bundles.bundle import is_bundle
from tasks.bundles.kept import forget_bundled, locate
from tasks.bundles.trust import refuse_unsigned
from tasks.errors import UserError
from tasks.system.sentences import typed_line


def names() -> tuple[str, ...]:
    """The workloads that come with Slipway."""
    return tuple(sorted(path.stem for path in (Path(__file__).parent / "examples").glob("[!_]*.py")))


class Place(NamedTuple):
    """Where a workload's code is: its file, the module that it is imported as unless it is named by its path, and what in it.

    `code`: the folder of the bundle that it is in, of which every byte was checked.
    """

    file: Path
    module: str | None
    attribute: str
    code: Path | None = None


def source_file(reference: str) -> Path:
    """The file that defines the workload, without running it. Raises UserError when there is none."""
    return place_of(reference).file


def place_of(reference: str) -> Place:
    """Where the code is that a reference names; a bundle is fetched, and checked before anything in it can be imported.

    Raises UserError when there is none, and for code that mlflow.yaml's `runs` does not let run here.
    """
    if is_bundle(reference):
        located = locate(reference)
        return _place(located.bundle.reference, located.code)
    if not _is_slipways_own(reference):
        refuse_unsigned(reference)
    return _place(reference)


def _place(reference: str, code: Path | None = None) -> Place:
    """Where it is on this machine, or in a bundle's folder `code`."""
    target, _, attribute = reference.partition(":")
    if is_path(target):
        path = (code or Path.cwd()).joinpath(target).resolve()
        if not path.is_file():
            raise UserError(f"No workload file {target!r}: check the path.")
        return Place(path, None, attribute, code)
    if code is not None:
        base = code.joinpath(*target.split("."))
        package = base / "__init__.py"
        return Place(package if package.is_file() else base.with_suffix(".py"), target, attribute, code)
    spec = _spec(target)
    if spec is None or spec.origin is None:
        close = difflib.get_close_matches(reference, names(), n=1)
        hint = f" (is it {close[0]!r}?)" if close else ""
        raise UserError(
            f"Unknown workload {reference!r}{hint}: name one of {', '.join(names())}, a module (package.module) or a file (path/to/file.py)."
        )
    path = Path(spec.origin)
    return Place(path, module_name(target), attribute)


def _is_slipways_own(reference: str) -> bool:
    """Whether a workload comes with Slipway: whoever installed that believes it already."""
    target = reference.partition(":")[0]
    return target in names() or (not is_path(target) and target.startswith("tasks.workloads."))


def _spec(module: str) -> ModuleSpec | None:
    """Where a module is; None when there is none. Raises UserError when a package above it does not import."""
    name = module_name(module)
    forget_bundled(name.partition(".")[0])
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
