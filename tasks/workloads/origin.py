"""Where a workload's code comes from, as evidence says it, and which libraries it imports besides Slipway's own."""

import hashlib
import re
import sys
from functools import lru_cache
from importlib.metadata import Distribution, distributions

from tasks.bundles.bundle import CHANGES, Origin, is_bundle
from tasks.bundles.checkout import state_of
from tasks.bundles.environments import use
from tasks.bundles.kept import locate
from tasks.system.files import sha256_of
from tasks.system.libraries import COMPUTING
from tasks.system.syntax import syntax_of
from tasks.workloads.dependencies import packed_files, workload_files
from tasks.workloads.places import place_of

_OTHER_NAMES = {"sklearn": "scikit-learn", "torch_pruning": "torch-pruning"}

_SLIPWAYS = frozenset({"flows", "infra", "tasks"})


def origin_of(reference: str) -> Origin | None:
    """The commit of its own repository, with what is not committed, and its bundle; None for what comes with Slipway, whose revision says it."""
    if is_bundle(reference):
        bundle, folder = locate(reference)
        changes = sha256_of(folder / CHANGES) if CHANGES in bundle.files else ""
        return Origin(
            bundle=bundle.digest,
            commit=bundle.commit,
            clean=bundle.clean,
            changes=changes,
            author=bundle.author,
            repository=bundle.origin,
        )
    if not (files := [*packed_files(reference).values()]):
        return None
    state = state_of(files)
    changes = hashlib.sha256(state.changes).hexdigest() if state.changes else ""
    return Origin(
        commit=state.commit, clean=state.clean, changes=changes, author=state.author, repository=state.origin
    )


def libraries_of(reference: str) -> dict[str, str]:
    """The versions of the packages that its files import, but for those that every key names."""
    if code := place_of(reference).code:
        use(code)
    strange = {_OTHER_NAMES.get(top, top) for top in _imported(reference)} - {*COMPUTING}
    packages = {n: v for top in strange for n, v in _packages(top, tuple(sys.path)).items()}
    return {name.lower().replace("_", "-"): version for name, version in sorted(packages.items())}


def _imported(reference: str) -> set[str]:
    """The top names of what its files import of others."""
    files = workload_files(reference)
    own = {part for name in files for part in (name.partition("/")[0], name.removesuffix(".py"))}
    imports = [item for path in files.values() for item in syntax_of(path).imports if not item.level]
    return {item.module.partition(".")[0] for item in imports} - own - _SLIPWAYS - sys.stdlib_module_names


@lru_cache(maxsize=64)
def _packages(top: str, _path: tuple[str, ...]) -> dict[str, str]:
    """The packages that have an importable name, and their versions; `packages_distributions` takes half a second, for all names."""
    # the first of a name is the one that is imported
    return {package.name: package.version for package in reversed([*distributions()]) if _has(package, top)}


def _has(package: Distribution, top: str) -> bool:
    if declared := (package.read_text("top_level.txt") or "").split():
        return top in declared
    return bool(re.search(rf"\n{re.escape(top)}(/[^,\n]*)?\.py,", f"\n{package.read_text('RECORD')}"))
