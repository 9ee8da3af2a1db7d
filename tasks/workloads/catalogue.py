"""A workload's code imported, by what a user typed: with its neighbours, and anew when any of it has changed."""

import hashlib
import importlib
import importlib.util
import json
import reprlib
import sys
import traceback
from collections.abc import Mapping
from importlib.machinery import SourceFileLoader
from pathlib import Path
from types import CodeType, ModuleType

from pydantic import ValidationError

from tasks.bundles.environments import use
from tasks.bundles.kept import without_bytecode
from tasks.errors import UserError
from tasks.workloads.dependencies import is_a_users, workload_files, workload_sources
from tasks.workloads.places import names, place_of, source_file
from tasks.workloads.workload import Workload

__all__ = ["load_workload", "names", "source_file"]

_PREFIX = "slipway_workload_"

_PLACED: set[str] = set()
"""Folders of workloads that are on this process's path."""


def load_workload(reference: str) -> Workload:
    """Import the workload's code (so only trusted people may name one) and return its `workload`.

    Raises UserError when it is unknown, does not import, or defines no `workload`.
    """
    place = place_of(reference)
    path, attribute = place.file, place.attribute
    if place.code is not None:
        without_bytecode()
        use(place.code)
    try:
        module = (
            _import_path(reference, path)
            if place.module is None
            else _import_module(place.module, place.code)
        )
    except UserError:
        raise
    except SyntaxError as error:
        raise UserError(f"Workload file {error.filename}, line {error.lineno}: {error.msg}.") from error
    except (Exception, SystemExit) as error:
        frames = traceback.extract_tb(error.__traceback__)
        line = next((frame.lineno for frame in reversed(frames) if frame.filename == str(path)), "?")
        hint = (
            ": import it by its name, which is found beside the file"
            if "relative import" in str(error)
            else ""
        )
        raise UserError(f"Workload file {path}, line {line}: {_said(error)}{hint}.") from error
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
        given = "" if first["type"] == "missing" else f"={reprlib.repr(first['input'])}"
        return f"{error.title}: {'.'.join(map(str, first['loc']))}{given}: {first['msg']}"
    return f"{type(error).__name__}: {' '.join(str(error).split())}".rstrip(".: ")


def _import_module(name: str, code: Path | None) -> ModuleType:
    """Import by name; from a bundle's folder, nothing of that name that was imported from elsewhere is taken for it."""
    if code is None:
        return importlib.import_module(name)
    for dotted, module in [*sys.modules.items()]:
        file = getattr(module, "__file__", None) or ""
        within = code.joinpath(*dotted.split("."))
        bundled = within.is_dir() or within.with_suffix(".py").is_file()
        if bundled and not Path(file).is_relative_to(code) and (not file or is_a_users(Path(file))):
            del sys.modules[dotted]
    importlib.invalidate_caches()
    sys.path.insert(0, str(code))
    try:
        return importlib.import_module(name)
    finally:
        sys.path.remove(str(code))
        _put_on_path(code)


def _import_path(reference: str, path: Path) -> ModuleType:
    """Import a file by path. Its folder is on the path, so that it may import its neighbours, also later and relatively."""
    folder, files = path.parent, workload_files(reference)
    name = f"{_PREFIX}{hashlib.sha256(json.dumps([str(path), workload_sources(reference)]).encode()).hexdigest()[:16]}"
    _forget_others(path, name, files)
    _put_on_path(folder)
    if name in sys.modules:
        return sys.modules[name]
    spec = importlib.util.spec_from_file_location(
        name, path, loader=_AsItStands(name, str(path)), submodule_search_locations=[str(folder)]
    )
    if spec is None or spec.loader is None:
        raise UserError(f"{path} is not a Python file.")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    importlib.invalidate_caches()
    sys.path.insert(0, str(folder))
    kept, sys.dont_write_bytecode = sys.dont_write_bytecode, True  # nor of its neighbours
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[name]
        raise
    finally:
        sys.dont_write_bytecode = kept
        sys.path.remove(str(folder))
    return module


class _AsItStands(SourceFileLoader):
    """Compiled code counts as a file's by its second and size: an edit of one digit in that second would run as it was before."""

    def get_code(self, fullname: str) -> CodeType:
        code: CodeType = self.source_to_code(self.get_data(self.path), self.path)
        return code


def _put_on_path(folder: Path) -> None:
    """For what functions import when they are called: behind all else, and before the folders of other workloads."""
    others = _PLACED - {str(folder)}
    _PLACED.add(str(folder))
    place = next((place for place, entry in enumerate(sys.path) if entry in others), len(sys.path))
    if str(folder) not in sys.path[:place]:
        sys.path[place:] = [str(folder), *(entry for entry in sys.path[place:] if entry != str(folder))]


def _forget_others(path: Path, name: str, files: Mapping[str, Path]) -> None:
    """Modules that this file's imports would take for its neighbours: another's of the same name, and what was there before an edit."""
    edited = name not in sys.modules and any(
        other.startswith(_PREFIX) and getattr(module, "__file__", None) == str(path)
        for other, module in sys.modules.items()
    )
    for file in {*files.values()} - {path}:
        for dotted in _dotted_names(file, path.parent):
            place = getattr(sys.modules.get(dotted), "__file__", None)
            if place is not None and is_a_users(Path(place)) and (edited or Path(place) != file):
                del sys.modules[dotted]


def _dotted_names(file: Path, folder: Path) -> list[str]:
    """What a neighbour is imported as: `net.deep` is net/deep.py; none of what lies elsewhere."""
    if not file.is_relative_to(folder):
        return []
    parts = file.relative_to(folder).with_suffix("").parts
    return [".".join(parts[:-1] if parts[-1] == "__init__" else parts)]
