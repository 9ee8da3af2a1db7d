"""Where a workload's code comes from, as evidence says it, and which libraries it imports besides Slipway's own."""

import hashlib
import sys
from functools import lru_cache
from importlib.metadata import packages_distributions

from tasks.bundles.bundle import CHANGES, Origin, is_bundle
from tasks.bundles.checkout import state_of
from tasks.bundles.environments import use
from tasks.bundles.kept import locate
from tasks.system.files import sha256_of
from tasks.system.libraries import COMPUTING, installed
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
    named = _distributions(tuple(sys.path)) if strange else {}
    versions = {name: installed(name) for top in strange for name in named.get(top, ())}
    return {
        name.lower().replace("_", "-"): version
        for name, version in sorted(versions.items())
        if version is not None
    }


def _imported(reference: str) -> set[str]:
    """The top names of what its files import of others."""
    files = workload_files(reference)
    own = {part for name in files for part in (name.partition("/")[0], name.removesuffix(".py"))}
    imports = [item for path in files.values() for item in syntax_of(path).imports if not item.level]
    return {item.module.partition(".")[0] for item in imports} - own - _SLIPWAYS - sys.stdlib_module_names


@lru_cache(maxsize=8)
def _distributions(_path: tuple[str, ...]) -> dict[str, tuple[str, ...]]:
    """Of every importable name, the packages that have it."""
    return {top: tuple(dict.fromkeys(names)) for top, names in packages_distributions().items()}
