"""Finding a workload by what a user typed: `digits`, `package.module`, `package.module:attribute` or a path."""

import difflib
import hashlib
import importlib
import importlib.util
import sys
import traceback
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType

from pydantic import ValidationError

from tasks.errors import UserError
from tasks.workloads.workload import Workload


def names() -> tuple[str, ...]:
    """The workloads that come with Slipway."""
    return tuple(sorted(path.stem for path in (Path(__file__).parent / "examples").glob("[!_]*.py")))


def source_file(reference: str) -> Path:
    """The file that defines the workload, without running it. Raises UserError when there is none."""
    module = reference.partition(":")[0]
    if _is_path(module):
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
        raise UserError(f"The package of {module!r} does not import: {_said(error)}.") from error


def load_workload(reference: str) -> Workload:
    """Import the workload's code (so only trusted people may name one) and return its `workload`.

    Raises UserError when it is unknown, does not import, or defines no `workload`.
    """
    path = source_file(reference)
    target, _, attribute = reference.partition(":")
    try:
        module = _import_path(path) if _is_path(target) else importlib.import_module(module_name(target))
    except UserError:
        raise
    except SyntaxError as error:
        raise UserError(f"Workload file {error.filename}, line {error.lineno}: {error.msg}.") from error
    except (Exception, SystemExit) as error:
        frames = traceback.extract_tb(error.__traceback__)
        line = next((frame.lineno for frame in reversed(frames) if frame.filename == str(path)), "?")
        raise UserError(f"Workload file {path}, line {line}: {_said(error)}.") from error
    workload = getattr(module, attribute or "workload", None)
    if not isinstance(workload, Workload):
        raise UserError(
            f"{path} defines no {attribute or 'workload'!s}: end the file with `{attribute or 'workload'} = Workload(name=…, …)`."
        )
    return workload


def _said(error: BaseException) -> str:
    """What an exception of the user's code says, on one line."""
    if isinstance(error, ValidationError):
        first = error.errors()[0]
        return f"{error.title}: {'.'.join(map(str, first['loc']))}: {first['msg']}"
    return f"{type(error).__name__}: {' '.join(str(error).split())}".rstrip(".: ")


def _is_path(reference: str) -> bool:
    return reference.endswith(".py") or "/" in reference


def module_name(reference: str) -> str:
    """Where a workload that is named without a path is imported from: `digits` is one of ours."""
    return f"tasks.workloads.examples.{reference}" if "." not in reference else reference


def _import_path(path: Path) -> ModuleType:
    """Import a file by path; its folder is on the path meanwhile, so that it may import its neighbours."""
    name = f"slipway_workload_{hashlib.sha256(bytes(path) + path.read_bytes()).hexdigest()[:16]}"
    if name in sys.modules:
        return sys.modules[name]
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise UserError(f"{path} is not a Python file.")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    sys.path.insert(0, str(path.parent))
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[name]
        raise
    finally:
        sys.path.remove(str(path.parent))
    return module
