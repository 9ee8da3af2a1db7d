"""What a home keeps of the runs in it: what serves, what served before and what may come next, the newest few, and nothing else.

All of it can be made again from the workload; versions, their evidence and their files are MLflow's and are not touched here.
"""

import logging
import shutil
import time
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path

from pydantic import computed_field

from flows.pipeline.context import RunContext, work_folder
from tasks.bundles.kept import NEWEST as NEWEST_BUNDLES
from tasks.bundles.kept import left_half_made, unneeded, unneeded_environments
from tasks.bundles.verification import make_writable
from tasks.errors import UserError
from tasks.promotion.ledger import read_ledger
from tasks.proof.evidence import Evidence, read
from tasks.records import Version
from tasks.registry.registry import Registry
from tasks.registry.tags import BUNDLE_TAG
from tasks.system.files import left_by_writers
from tasks.system.frozen import Frozen
from tasks.system.locks import nobody_at_work
from tasks.system.scratch import scratch
from tasks.system.storage import ObjectStorage

NEWEST = 3
"""Trainings whose files stay, whatever became of them; what came to be since the oldest of them stays too."""

_RESULT_DAYS = 30

_TRIED_DAYS = 365
"""Of trainings that a search tried, by which it goes on when it is given more."""

_STATE = 16
"""Digits of a state of the code, as folders are named by it."""

_WRITTEN = ("keys", "labels", "ledgers", "results", "serving", "traffic")
"""Folders of a home that are of no run."""

_ALIASES = ("champion", "previous", "challenger")


log = logging.getLogger("slipway")


class Removal(Frozen):
    """A file or folder that is not needed any more, and why."""

    path: Path
    bytes: int
    why: str


class Cleaning(Frozen):
    """What was removed, or would be; `busy`: the models that are being worked on, of which nothing was."""

    removed: tuple[Removal, ...] = ()
    busy: tuple[str, ...] = ()
    dry_run: bool = False

    @computed_field  # type: ignore[prop-decorator]
    @property
    def size(self) -> int:
        return sum(removal.bytes for removal in self.removed)


def tidy(context: RunContext) -> None:
    """After a run, which does not fail for it."""
    try:
        cleaning = clean(context.registry, [context.model])
    except (UserError, OSError) as error:
        log.warning("What older runs left was not removed: %s", error)
        return
    if cleaning.removed:
        log.info(
            "%s: %d things of older runs removed, %.1f MB",
            context.model,
            len(cleaning.removed),
            cleaning.size / 1e6,
        )


def models(home: Path) -> list[str]:
    """The models that runs in this home have worked on."""
    return sorted(folder.name for folder in (home / "work").glob("*") if folder.is_dir())


def clean(registry: Registry, names: Iterable[str], *, dry_run: bool = False) -> Cleaning:
    """Remove what is not needed of these models, here and where it is mirrored. Raises StepError, before anything is, when the evidence of what serves is not to be had."""
    removed: list[Removal] = []
    busy: list[str] = []
    home, address = registry.settings.home, registry.settings.store
    store = None if address is None else ObjectStorage(address, home)
    for model in names:
        with nobody_at_work(home, model) as alone:
            if not alone:
                busy.append(model)
                continue
            mirrored = [*_unneeded(home, model, _digests(registry, model))]
            removals = [
                *mirrored,
                *_bundles(registry, model),
            ]  # the store's bundles are for all who deployed them
            for removal in () if dry_run else removals:
                _remove(removal.path)
                if store is not None and removal in mirrored and not removal.path.name.startswith("."):
                    store.forget(removal.path)
            removed += removals
    left = [_removal(path, "left by a process that was killed") for path in _left(home)]
    for removal in () if dry_run else left:
        _remove(removal.path)
    return Cleaning(removed=(*removed, *left), busy=tuple(busy), dry_run=dry_run)


def _digests(registry: Registry, model: str) -> set[str]:
    """Of weights, files and rows, the first 16 digits, as folders are named by them: all that the evidence of what may serve speaks of."""
    versions = [registry.by_alias(model, alias) for alias in _ALIASES]
    if (serving := read_ledger(registry, model).serving) is not None:  # whoever moved the alias
        versions.append(registry.version(model, serving))
    return {digest for version in versions if version for digest in _spoken_of(_evidence(registry, version))}


def _evidence(registry: Registry, version: Version) -> Evidence:
    with scratch("evidence") as folder:
        return read(registry.download_file(version, "evidence.json", folder))


def _spoken_of(evidence: Evidence) -> Iterator[str]:
    yield evidence.checkpoint_sha256[:16]
    yield evidence.fingerprint[:16]
    yield evidence.model_sha256[:16]
    yield from (report.sha256[:16] for report in (*evidence.candidates, evidence.proof.baseline))


def _unneeded(home: Path, model: str, needed: set[str]) -> Iterator[Removal]:
    work, datasets = work_folder(home, model), home / "datasets" / model
    for folder in (work, datasets):
        for path in sorted(folder.rglob(".*")):
            if not any(part.startswith(".") for part in path.relative_to(folder).parts[:-1]):
                yield _removal(path, "left by a run that was killed")
    folders = {path.parent for path in (work / "training").rglob("*") if path.is_file()}
    trainings = sorted(folders, key=_touched, reverse=True)
    if len(trainings) <= NEWEST:
        return
    since = _touched(trainings[NEWEST - 1])
    made = (
        *work.glob("fp32-*/*"),
        *work.glob("candidates-*/*"),
        *work.glob("reports/*"),
        *work.glob("search/*"),
    )
    going = []
    kept: set[tuple[str, ...]] = set()
    for path in sorted([*trainings, *made, *datasets.glob("[!.]*")], key=_touched, reverse=True):
        digests, group = _known_by(path)
        if _touched(path) < since and (needed.isdisjoint(digests) or group in kept):
            going.append(
                _removal(
                    path, f"older than the last {NEWEST} trainings, and of no version that serves or may"
                )
            )
        kept.add(group)
    yield from going
    yield from _results(home, [removal.path.relative_to(home).as_posix() for removal in going])


def _bundles(registry: Registry, model: str) -> Iterator[Removal]:
    """Bundles of which no version was made and that others came after, and what was installed for none that stays."""
    home = registry.settings.home
    going = [*unneeded(home, model, lambda digest: registry.by_tag(model, BUNDLE_TAG, digest) is not None)]
    yield from (
        _removal(path, f"older than the last {NEWEST_BUNDLES} bundles, and of no version") for path in going
    )
    yield from (
        _removal(path, "installed for bundles that are not here")
        for path in unneeded_environments(home, going)
    )


def _left(home: Path) -> Iterator[Path]:
    """Of any model, or of none: what nobody is at any more, and will not write again by the same name."""
    yield from left_half_made(home)
    for name in _WRITTEN:
        yield from left_by_writers(home / name)


def _known_by(path: Path) -> tuple[set[str], tuple[str, ...]]:
    """The digests that something is of, and what it is the same as but for the state of the code that made it."""
    weights = path / "best.pt.sha256"
    if weights.is_file():
        digest = weights.read_text()[:16]
        return {digest}, ("training", digest)
    if path.parent.name.startswith(("fp32-", "candidates-")):
        state = len(path.name) == _STATE and path.is_dir()
        return set(path.parent.name.split("-")), (path.parent.name, "" if state else path.name)
    return set(path.name.removesuffix(".log").split("-")), (path.parent.name, path.name)


def _results(home: Path, gone: list[str]) -> Iterator[Removal]:
    """Stored results of steps that name files which are not there any more, and any that is old."""
    for path in sorted(home.glob("results/*")):
        days = _TRIED_DAYS if path.name.startswith("try-training-") else _RESULT_DAYS
        old = time.time() - days * 86400
        if path.is_file() and (
            path.stat().st_mtime < old or any(name in path.read_text(errors="replace") for name in gone)
        ):
            yield _removal(path, "the result of a step, whose files go or which is old")


def _touched(path: Path) -> float:
    """When something was last written there."""
    return max((inner.lstat().st_mtime for inner in (path, *path.rglob("*"))), default=0.0)


def _removal(path: Path, why: str) -> Removal:
    size = sum(inner.lstat().st_size for inner in (path, *path.rglob("*")) if not inner.is_dir())
    return Removal(path=path, bytes=size, why=why)


def _remove(path: Path) -> None:
    """A folder first gets a name that says that it is not whole, in case this is cut short."""
    if path.is_dir() and not path.is_symlink():
        make_writable(path)
        going = path if path.name.startswith(".") else path.rename(path.with_name(f".going-{path.name}"))
        shutil.rmtree(going, ignore_errors=True)
        with suppress(OSError):
            path.parent.rmdir()  # a checkpoint's or a state's folder, if it was the last in it
    else:
        path.unlink(missing_ok=True)
