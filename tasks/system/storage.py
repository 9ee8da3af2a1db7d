"""A place that every machine reaches, by any fsspec address: finished datasets and checkpoints go there and come back.

The local folder stays the working copy. Objects are named by their content and a folder's manifest is written last, so
that whoever fetches sees one whole state of it, the newest or the one before.
"""

import json
import logging
import shutil
import tempfile
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from functools import cached_property
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

from tasks.errors import StepError, UserError
from tasks.system.files import sha256_of, sync_folder, write_atomically
from tasks.system.sentences import typed_line
from tasks.system.urls import without_secrets

if TYPE_CHECKING:
    from fsspec import AbstractFileSystem

_MANIFEST = "manifest.json"

MIRROR_SECONDS = 5.0

_SECONDS_TO_END = 60.0

log = logging.getLogger("slipway")


class ObjectStorage:
    """Folders below `home`, mirrored below the address `url` (s3://bucket/prefix, gs://…, file:///…) by the same names."""

    def __init__(self, url: str, home: Path) -> None:
        self.url = url.rstrip("/")
        self._home = home

    def check(self) -> None:
        """Raise UserError or StepError, in a sentence, when nothing can be written there."""
        name = f"{self._root}/.probe"  # the same for all, so that those who are killed amid it leave one
        with self._explained():
            self._files.pipe_file(name, b"slipway")
            with suppress(FileNotFoundError):  # others look at the same moment
                self._files.rm_file(name)

    def keep(self, folder: Path, names: Iterable[str] | None = None) -> None:
        """Mirror these files of a folder, or all of them. Raises StepError when the storage fails."""
        chosen = names if names is not None else (str(path.relative_to(folder)) for path in folder.rglob("*"))
        with tempfile.TemporaryDirectory(dir=folder.parent, prefix=".kept-") as scratch:
            paths = {
                name: _snapshot(folder / name, Path(scratch) / name)
                for name in chosen
                if (folder / name).is_file()
            }
            digests = {name: sha256_of(path) for name, path in paths.items()}
            with self._explained():
                kept = self._manifest(folder)
                for name, digest in digests.items():
                    if digest not in kept.values():
                        self._files.put_file(str(paths[name]), self._object(folder, digest))
                if digests != kept:
                    self._write(self._object(folder, _MANIFEST), json.dumps(digests).encode())
                for digest in set(kept.values()) - set(digests.values()):
                    self._files.rm_file(self._object(folder, digest))

    def fetch(self, folder: Path) -> bool:
        """Put what is kept of a folder where it belongs; whether there was any. Raises StepError for altered objects."""
        with self._explained():
            digests = self._manifest(folder)
            if not digests:
                return False
            folder.parent.mkdir(parents=True, exist_ok=True)
            scratch = Path(tempfile.mkdtemp(dir=folder.parent, prefix=".fetched-"))
            try:
                for name, digest in digests.items():
                    self._get(folder, digest, scratch / name)
                _move(scratch, folder, digests)
            finally:
                shutil.rmtree(scratch, ignore_errors=True)
        return True

    def forget(self, folder: Path) -> None:
        """Keep a folder, and all below it, no longer: manifests go first, so that nobody fetches half. Raises StepError when the storage fails."""
        with self._explained():
            objects = self._files.find(self._object(folder, ""))
            for path in sorted(objects, key=lambda path: not path.endswith(f"/{_MANIFEST}")):
                self._files.rm_file(path)

    def read(self, path: Path) -> bytes | None:
        """A single small file kept under the name of `path` below home, or None. Raises StepError when the storage fails."""
        with self._explained():
            try:
                return bytes(self._files.cat_file(self._object(path.parent, path.name)))
            except FileNotFoundError:
                return None

    def write(self, path: Path, content: bytes) -> None:
        """Keep a single small file, whole or not at all. Raises StepError when the storage fails."""
        with self._explained():
            self._write(self._object(path.parent, path.name), content)

    def bring(self, folder: Path, ending: str) -> None:
        """Fetch the single files below a folder that end so and are not here: of those that many write, each once. Raises StepError."""
        with self._explained():
            root = self._object(folder, "")
            for path in self._files.find(root):
                name = PurePosixPath(path.removeprefix(root))
                if path.endswith(ending) and ".." not in name.parts and not (folder / name).exists():
                    write_atomically(folder / name, bytes(self._files.cat_file(path)))

    @contextmanager
    def mirroring(self, folder: Path, names: Callable[[], list[str]]) -> Iterator[None]:
        """Keep the files that `names` gives, every few seconds and at the end, from a thread: whoever works never waits.

        A store that is away is said once and tried again; what it missed goes out with the next run at the latest.
        """
        ending = threading.Event()
        thread = threading.Thread(
            target=self._mirror, args=(folder, names, ending), name="store", daemon=True
        )
        thread.start()
        try:
            yield
        finally:
            ending.set()
            thread.join(_SECONDS_TO_END)

    def _mirror(self, folder: Path, names: Callable[[], list[str]], ending: threading.Event) -> None:
        warned = last = False
        while not last:
            last = ending.wait(MIRROR_SECONDS)
            try:
                self.keep(folder, names())
            except FileNotFoundError:
                continue  # a newer checkpoint took its place meanwhile
            except (
                Exception
            ) as error:  # nobody would hear of a thread that ended, and nothing would be mirrored any more
                if not warned or last:
                    log.warning(
                        "Not mirrored, work goes on: %s",
                        error if isinstance(error, UserError) else typed_line(error),
                    )
                warned = True

    @cached_property
    def _files(self) -> "AbstractFileSystem":
        import fsspec

        try:
            return fsspec.core.url_to_fs(self.url, **_options(self.url))[0]
        except (ValueError, ImportError) as error:
            raise UserError(
                f"SLIPWAY_STORE={without_secrets(self.url)} cannot be used ({error}): give an fsspec address such as s3://bucket/slipway."
            ) from error

    @property
    def _root(self) -> str:
        return str(self._files._strip_protocol(self.url))

    def _object(self, folder: Path, name: str) -> str:
        return f"{self._root}/{folder.resolve().relative_to(self._home.resolve()).as_posix()}/{name}"

    def _manifest(self, folder: Path) -> dict[str, str]:
        """Digests by file name; empty when nothing is kept of it."""
        try:
            content: dict[str, str] = json.loads(self._files.cat_file(self._object(folder, _MANIFEST)))
        except FileNotFoundError:
            return {}
        for name in content:
            if PurePosixPath(name).is_absolute() or ".." in PurePosixPath(name).parts:
                raise StepError(
                    f"{without_secrets(self.url)} names a file outside of {folder.name}: {name}; remove it there."
                )
        return content

    def _write(self, path: str, content: bytes) -> None:
        """In one go: object storage shows an object when it is whole, a file system takes a rename for that."""
        if "file" in self._files.protocol:
            write_atomically(Path(path), content)
        else:
            self._files.pipe_file(path, content)

    def _get(self, folder: Path, digest: str, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._files.get_file(self._object(folder, digest), str(path))
        if sha256_of(path) != digest:
            raise StepError(
                f"{without_secrets(self.url)} holds {path.name} of {folder.name} altered: its SHA-256 is not {digest[:16]}…; remove it there."
            )

    @contextmanager
    def _explained(self) -> Iterator[None]:
        """What the storage's library raises, as a sentence of ours."""
        try:
            yield
        except Exception as error:
            if not isinstance(error, OSError) and not type(error).__module__.startswith("botocore"):
                raise
            what, fix = next(reason for kind, *reason in _REASONS if isinstance(error, kind))
            raise StepError(
                f"SLIPWAY_STORE={without_secrets(self.url)} {what} ({typed_line(error)}): {fix}."
            ) from error


_REASONS: tuple[tuple[type[Exception], str, str], ...] = (
    (FileNotFoundError, "is not there", "create the bucket, or mend the address"),
    (PermissionError, "refuses us", "check AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"),
    (Exception, "cannot be reached", "check AWS_ENDPOINT_URL and the network"),
)


def bring(url: str | None, home: Path, folder: Path, ending: str = ".jsonl.gz") -> None:
    """What others keep below a folder of this home, where there is a store to keep it in."""
    if url is not None:
        ObjectStorage(url, home).bring(folder, ending)


@contextmanager
def mirrored(store: ObjectStorage | None, folder: Path, names: Callable[[Path], list[str]]) -> Iterator[None]:
    """Work in `folder` with what another machine left of it, if there is nothing here, and with a mirror of what comes of it."""
    if store is None:
        yield
        return
    if not names(folder):
        store.fetch(folder)
    with store.mirroring(folder, lambda: names(folder)):
        yield


def _snapshot(path: Path, target: Path) -> Path:
    """The file's content under a name of its own: the trainer may remove it, or append to it, while it is sent."""
    target.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".jsonl":
        shutil.copy(path, target)
    else:
        target.hardlink_to(path)
    return target


def _move(scratch: Path, folder: Path, names: Iterable[str]) -> None:
    """A folder that is not there appears whole; into one that is, files are moved one by one, and none is replaced."""
    if not folder.exists():
        scratch.rename(folder)
        sync_folder(folder.parent)
        return
    for name in names:
        if not (folder / name).exists():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (scratch / name).rename(folder / name)


def _options(url: str) -> dict[str, bool]:
    """Listings are not cached, for other machines write there too; and folders are made where they have to be."""
    return {"s3": {"use_listings_cache": False}, "file": {"auto_mkdir": True}}.get(url.partition(":")[0], {})
