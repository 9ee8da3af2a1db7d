"""The files that a workload's code stands in: its own, and every one that its imports reach, found without running any."""

import os
import sys
import sysconfig
from collections.abc import Collection, Iterator, Mapping
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path

from tasks.system.files import sha256_of
from tasks.system.syntax import syntax_of
from tasks.workloads.places import place_of

ROOT = Path(__file__).parent.parent.parent

_ROOMS = ("tasks", "infra")

_EXAMPLES = ROOT / "tasks" / "workloads" / "examples"

_LISTS = (".txt", ".json", ".yaml", ".yml", ".toml")
"""What files of words and numbers end in. Tables hold rows, which have a fingerprint of their own."""

_INSTALLED = frozenset({"site-packages", "dist-packages"})

_STANDARD = sysconfig.get_path("stdlib")

_DYNAMIC = frozenset(
    {"import_module", "__import__", "exec_module", "spec_from_file_location", "run_path", "run_module"}
)

_PATH = frozenset({"sys", "path"})
"""A file that has both may put a folder of its own on the path."""


def workload_sources(reference: str) -> dict[str, str]:
    """The digest of what each file of a workload's code says, by its path below the folder they are in; its own first.

    Comments, docstrings and formatting are in no digest. A file whose code does not parse counts as its bytes, and so does
    a list, such as a vocabulary, that lies beside any of the code and is named in it.
    """
    files = workload_files(reference)
    lists = {name: sha256_of(path) for name, path in _lists(files).items()}
    return {name: syntax_of(path).digest for name, path in files.items()} | lists


def packed_files(reference: str) -> dict[str, Path]:
    """What has to travel with a workload: its files and their lists, but for those that come with Slipway."""
    files = workload_files(reference)
    return {
        name: path
        for name, path in {**files, **_lists(files)}.items()
        if not path.is_relative_to(ROOT / "tasks")
    }


def _lists(files: Mapping[str, Path]) -> dict[str, Path]:
    """The lists beside any of the code that are named in it."""
    words = sorted({text for path in files.values() for text in syntax_of(path).strings})
    folders = {Path(name).parent: path.parent for name, path in files.items()}
    return {
        str(place / text): folder / text
        for place, folder in folders.items()
        for text in words
        if text.endswith(_LISTS) and (folder / text).is_file()
    }


def slipway_names(reference: str) -> list[str]:
    """What a workload's files import of Slipway's own, such as "tasks.config.Train": it is a part of them."""
    imports = {item for path in workload_files(reference).values() for item in syntax_of(path).imports}
    return sorted(
        f"{item.module}.{item.name}".strip(".")
        for item in imports
        if not item.level and item.module.partition(".")[0] in ("tasks", "infra")
    )


def workload_files(reference: str) -> dict[str, Path]:
    """The workload's own file first, then those that its imports reach, also those inside functions, by their paths.

    That is whatever is beside it, in its package or elsewhere on the path and is neither installed nor Slipway's own:
    what steps are made of has keys of its own. A bundle is whole: what else lies on this machine is none of it.
    """
    place = place_of(reference)
    file = place.file
    if place.module is None:
        home, queue = file.parent, [file]
    else:
        home = place.code or _folder(place.module.partition(".")[0]) or file.parent
        queue = [file, *_files(home, place.module)]
    reached: dict[Path, str] = {}
    while queue:
        path = queue.pop(0)
        strange = place.code is not None and not any(map(path.is_relative_to, (place.code, ROOT / "tasks")))
        if path not in reached and not strange and (path == file or not _is_slipways(path)):
            reached[path] = os.path.relpath(path, ROOT if path.is_relative_to(ROOT / "tasks") else home)
            queue += sorted(set(_imported(path, home)))
    return {name: path for path, name in reached.items()}


def _imported(path: Path, home: Path) -> Iterator[Path]:
    """The files that one file imports, those of the packages around them too; what is in `home` is found before all else."""
    syntax = syntax_of(path)
    folders = [folder for folder in path.parent.iterdir() if folder.is_dir()] if _PATH <= syntax.names else []
    for item in syntax.imports:
        name = f"{item.module}.{item.name}".strip(".")
        yield from _files(path.parents[item.level - 1], name) if item.level else _anywhere(home, name)
        for folder in folders:
            yield from _files(folder, name)
    for text in syntax.strings:  # `python -m package.module`, for one
        yield from _anywhere(home, text)
    if not _DYNAMIC.isdisjoint(syntax.names):
        yield from _by_path(path.parent, {text.rpartition("/")[2] for text in syntax.strings})


def _by_path(folder: Path, named: Collection[str]) -> Iterator[Path]:
    """What may be imported by a path that is put together: all that lies beside, and what has such a name up to two folders below."""
    yield from folder.glob("*.py")
    for depth in ("*/*.py", "*/*/*.py"):
        yield from (file for file in folder.glob(depth) if file.name in named and is_a_users(file))


def _anywhere(home: Path, dotted: str) -> Iterator[Path]:
    yield from _files(home, dotted)
    if (folder := _folder(dotted.partition(".")[0])) is not None:
        yield from _files(folder, dotted)


def _files(folder: Path, dotted: str) -> Iterator[Path]:
    """The files that importing `dotted`, of which the last may be no module, runs below `folder`."""
    for part in filter(None, dotted.split(".")):
        file, folder = folder / f"{part}.py", folder / part
        yield from (path for path in (file, folder / "__init__.py") if path.is_file())


def _folder(top: str) -> Path | None:
    return ROOT if top == "tasks" else _on_path(top, tuple(sys.path))


@lru_cache(maxsize=1024)
def _on_path(top: str, _path: tuple[str, ...]) -> Path | None:
    """The folder in which `import top` finds code of the user's; None for what is installed or Python's own."""
    try:
        spec = find_spec(top) if top not in sys.stdlib_module_names else None
    except (ImportError, ValueError):
        return None
    places = [spec.origin, *(spec.submodule_search_locations or ())] if spec is not None else []
    place = next((Path(place) for place in places if place and Path(place).exists()), None)
    if place is None or not _INSTALLED.isdisjoint(place.parts) or place.is_relative_to(_STANDARD):
        return None
    return place.parent.parent if place.name == "__init__.py" else place.parent


def is_a_users(path: Path) -> bool:
    """Whether a file is neither installed, nor Python's, nor Slipway's own."""
    installed = not _INSTALLED.isdisjoint(path.parts) or path.is_relative_to(_STANDARD)
    return not installed and not _is_slipways(path) and not path.is_relative_to(ROOT / "flows")


def _is_slipways(path: Path) -> bool:
    """Whether steps are made of the file; what a workload of ours has beside it is a workload's."""
    return any(path.is_relative_to(ROOT / room) for room in _ROOMS) and path.parent != _EXAMPLES
