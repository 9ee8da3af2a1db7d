"""Where bundles are: in this home, read-only, and in the store that machines share."""

import logging
import os
import re
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import NamedTuple

from tasks.bundles.bundle import CODE, REQUIREMENTS, Bundle, digest_in, is_digest
from tasks.bundles.environments import ENVIRONMENTS
from tasks.bundles.verification import check, make_read_only, make_writable, read
from tasks.errors import StepError, UserError
from tasks.settings import Settings, load_settings
from tasks.system.files import sha256_of, sync_folder
from tasks.system.storage import ObjectStorage

log = logging.getLogger("slipway")

_FOLDER = "bundles"

NEWEST = 10
"""Bundles of a model that stay in a home, for deployments that name them are known to Prefect alone."""

_IN_BUNDLE = re.compile(rf"/{_FOLDER}/[0-9a-f]{{64}}/{CODE}/")


class Located(NamedTuple):
    """A bundle, every byte of it checked, and the folder that it is in."""

    bundle: Bundle
    folder: Path

    @property
    def code(self) -> Path:
        return self.folder / CODE


def bundle_of(reference: str) -> Bundle:
    """The bundle that `bundle:<digest>`, or the digest alone, names, checked. Raises as `locate` does."""
    return locate(reference).bundle


def locate(reference: str) -> Located:
    """A bundle here, fetched from the store when this home has it not. Nothing of it is imported before every byte and the signer are checked.

    Raises UserError when it is nowhere or its signer's code does not run here, StepError for what was altered.
    """
    digest, settings = digest_in(reference), load_settings()
    folder = folder_of(settings.home, digest)
    if not folder.is_dir():
        _fetch(settings, digest)
    if compiled := [
        *folder.rglob("__pycache__")
    ]:  # root may write anywhere, and Python would run it unchecked
        make_writable(folder)
        for path in compiled:
            shutil.rmtree(path, ignore_errors=True)
        make_read_only(folder)
    located = Located(check(folder, digest), folder)
    with suppress(OSError):
        os.utime(folder)  # what is run is no bundle of long ago
    return located


def name_of(reference: str) -> str:
    """What a bundle's model is called, to show and no more: by its record if it is here, unchecked, else by its first digits."""
    digest = digest_in(reference)
    with suppress(StepError):
        return read(folder_of(load_settings().home, digest), digest).name
    return digest[:12]


def folder_of(home: Path, digest: str) -> Path:
    return home / _FOLDER / digest


@contextmanager
def building() -> Iterator[Path]:
    """A folder to build a bundle in, where it can be kept by a rename; what is left of it goes."""
    with _scratch(load_settings().home) as scratch:
        yield scratch / "bundle"


def keep(built: Path, digest: str) -> bool:
    """Put a built and signed folder where bundles are; whether it was not there before, for one that holds stays as it is."""
    check(built, digest)
    folder = folder_of(load_settings().home, digest)
    if _holds(folder, digest):
        return False
    if folder.exists():
        _remove(folder)
    _move(built, folder)
    return True


def share(digest: str) -> None:
    """Into the store that machines share, if there is one. Another's signature of the same content stays: workers may believe nobody else."""
    settings = load_settings()
    folder = folder_of(settings.home, digest)
    if not settings.store:
        return
    store = ObjectStorage(settings.store, settings.home)
    if store.read(folder / "manifest.json") is not None:
        try:
            with _fetched(settings, digest):
                return
        except UserError as error:
            log.warning("The store's copy is replaced: %s", error)
    store.keep(folder)


def discard(digest: str) -> None:
    """Out of this home."""
    _remove(folder_of(load_settings().home, digest))


def _holds(folder: Path, digest: str) -> bool:
    try:
        return folder.is_dir() and bool(check(folder, digest))
    except UserError:
        return False


def _fetch(settings: Settings, digest: str) -> None:
    if not settings.store:
        raise UserError(
            f"There is no bundle {digest[:12]} in {settings.home}, and no store to fetch it from: set SLIPWAY_STORE to where it was deployed."
        )
    with _fetched(settings, digest) as folder:
        target = folder_of(settings.home, digest)
        if not target.is_dir():  # another process may have been faster
            _move(folder, target)


@contextmanager
def _fetched(settings: Settings, digest: str) -> Iterator[Path]:
    """The store's copy, checked, in a folder that goes afterwards."""
    with _scratch(settings.home) as scratch:
        folder = folder_of(scratch, digest)  # by the same name below a home of its own
        if not ObjectStorage(settings.store or "", scratch).fetch(folder):
            raise UserError(
                f"There is no bundle {digest[:12]} in the store either: deploy it again, or set SLIPWAY_STORE to where it was deployed."
            )
        check(folder, digest)
        yield folder


@contextmanager
def _scratch(home: Path) -> Iterator[Path]:
    (home / _FOLDER).mkdir(mode=0o700, parents=True, exist_ok=True)
    scratch = Path(tempfile.mkdtemp(dir=home / _FOLDER, prefix=".tmp-"))
    try:
        yield scratch
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def _move(built: Path, folder: Path) -> None:
    """It appears whole, and read-only; what another process put there meanwhile stays, and is checked as it is."""
    for path in (built, *built.rglob("*")):
        sync_folder(path)
    folder.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    try:
        built.rename(folder)
    except OSError as error:
        if not folder.is_dir():
            raise StepError(f"The bundle cannot be kept in {folder.parent}: {error.strerror}.") from error
    make_read_only(folder)
    sync_folder(folder.parent)


def _remove(folder: Path) -> None:
    """A bundle's folder gets a name that says that it is not whole, in case this is cut short."""
    folder.chmod(0o700)
    going = folder.rename(folder.with_name(f".going-{folder.name}"))
    make_writable(going)
    shutil.rmtree(going)


def unneeded(home: Path, model: str, is_named: Callable[[str], bool]) -> Iterator[Path]:
    """A model's bundles in a home that are not among the last few that ran, and of which no version is; the store keeps its own."""
    made = {
        path.name: path for path in (home / _FOLDER).glob("*") if is_digest(path.name) and _is_of(path, model)
    }
    newest = sorted(made.values(), key=lambda path: path.stat().st_mtime, reverse=True)
    yield from (path for path in newest[NEWEST:] if not is_named(path.name))


def unneeded_environments(home: Path, gone: Collection[Path]) -> Iterator[Path]:
    """What was installed for bundles that are not here any more, or go; what is new may be of one that is being made."""
    kept = (path for path in (home / _FOLDER).glob(f"*/{REQUIREMENTS}") if path.parent not in gone)
    needed = {sha256_of(path) for path in kept}
    for path in sorted((home / ENVIRONMENTS).glob("*")):
        if is_digest(path.name) and path.name not in needed and _is_of_yesterday(path):
            yield path


def left_half_made(home: Path) -> Iterator[Path]:
    """What a process that was killed had fetched, packed, installed or begun to remove."""
    for folder in (home / _FOLDER, home / ENVIRONMENTS, *(home / ENVIRONMENTS).glob("[!.]*")):
        yield from (path for path in sorted(folder.glob(".*")) if _is_of_yesterday(path))


def _is_of_yesterday(path: Path) -> bool:
    """Nobody is still at it."""
    return path.stat().st_mtime < time.time() - 86400


def _is_of(folder: Path, model: str) -> bool:
    with suppress(StepError):
        return read(folder, folder.name).name == model
    return False


def without_bytecode() -> None:
    """Compiled code beside a bundle's own would be of no digest: this process and its children write none."""
    sys.dont_write_bytecode = True
    os.environ["PYTHONDONTWRITEBYTECODE"] = "1"


def forget_bundled(top: str) -> None:
    """What was imported under this name from a bundle is not what lies on the path."""
    for dotted in [
        *sys.modules
    ]:  # names alone: a tuple for each of thousands would have them all looked through for garbage
        if dotted.partition(".")[0] == top and _IN_BUNDLE.search(_file_of(sys.modules[dotted])):
            del sys.modules[dotted]


def _file_of(module: object) -> str:
    return getattr(module, "__file__", None) or ""
