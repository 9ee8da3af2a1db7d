"""Model folders on this machine, named by their content, and what each target was last seen to name."""

import contextlib
import hashlib
import os
import re
import shutil
from pathlib import Path
from typing import TypeVar

from pydantic import ValidationError

from infra.serving.ipc.messages import Release
from infra.serving.lifecycle.registry import Pointer
from infra.serving.options import Target
from tasks.system.files import left_by_writers, own_folder, sha256_of, write_atomically
from tasks.system.frozen import Frozen

FOLDER = re.compile("[0-9a-f]{64}")

LEFT_OUT = frozenset({"registered_model_meta"})

KEEP = 8


class Offer(Frozen):
    """A version as the registry had it, and the release that was made of it."""

    pointer: Pointer
    release: Release


OfferT = TypeVar("OfferT", bound=Offer)


class Note(Offer):
    """What is remembered of a target over a restart: what served, and what served before it."""

    before: Offer | None = None


class Cache:
    """The folder that the follower writes and the workers read."""

    def __init__(self, root: Path) -> None:
        self.root = root
        root.mkdir(mode=0o700, parents=True, exist_ok=True)

    @property
    def changes(self) -> Path:
        """Where is kept what the registry says of changes of keys."""
        return self.root / "keys"

    def tidy(self) -> None:
        """Remove what killed servers were downloading; what another fetches beside this one stays."""
        former = self.root.glob(".incoming-*")  # how the last release called them
        for left in (*left_by_writers(self.root), *former):
            with contextlib.suppress(OSError):  # another server that starts does the same
                shutil.rmtree(left) if left.is_dir() else left.unlink()

    def incoming(self) -> Path:
        """A private folder to download into."""
        self.root.mkdir(mode=0o700, parents=True, exist_ok=True)  # someone may have emptied the cache
        return own_folder(self.root, "incoming")

    def keep(self, folder: Path) -> Path:
        """Move a folder under its content's name; one that is there already stays, byte for byte the same."""
        final = self.root / digest_of(folder)
        if final.exists() and digest_of(final) != final.name:
            self.discard(final)
        if not final.exists():
            folder.rename(final)
        os.utime(final)
        return final

    def discard(self, folder: Path) -> None:
        """Forget a folder; under another name at once, so that nobody takes it half deleted for whole."""
        folder.with_name(f"{folder.name}.inspected").unlink(missing_ok=True)
        leaving = self.incoming()
        folder.rename(leaving / "damaged")
        shutil.rmtree(leaving, ignore_errors=True)

    def inspected(self, folder: Path) -> bool:
        """Whether these bytes were parsed and tried before."""
        return folder.with_name(f"{folder.name}.inspected").exists()

    def mark(self, folder: Path) -> None:
        with contextlib.suppress(OSError):  # it is only looked at more closely the next time
            folder.with_name(f"{folder.name}.inspected").touch()

    def index(self, name: str, pointer: Pointer) -> Path:
        return self.root / "versions" / f"{name}-{pointer.version}-{pointer.created}"

    def folder_of(self, name: str, pointer: Pointer) -> Path | None:
        """The folder of a version that was downloaded before."""
        return self._named_in(self.index(name, pointer))

    def _named_in(self, index: Path) -> Path | None:
        named = index.read_text(errors="replace") if index.is_file() else ""
        folder = self.root / named
        return folder if FOLDER.fullmatch(named) and folder.is_dir() else None

    def note_folder(self, name: str, pointer: Pointer, folder: Path) -> None:
        write_atomically(self.index(name, pointer), folder.name.encode())

    def remember(self, target: Target, note: Note) -> None:
        write_atomically(_note_file(self.root, target), note.model_dump_json().encode())

    def evict(self, used: set[Path]) -> None:
        """Delete the folders longest unused, but for those in use; and what named one that is gone."""
        folders = [
            path
            for path in self.root.iterdir()
            if FOLDER.fullmatch(path.name) and path.is_dir() and path not in used
        ]
        with contextlib.suppress(OSError):  # another server of this home may do the same
            for folder in sorted(folders, key=lambda path: path.stat().st_mtime, reverse=True)[KEEP:]:
                self.discard(folder)
            for index in (self.root / "versions").iterdir():
                if not index.name.startswith(".") and self._named_in(index) is None:
                    index.unlink(missing_ok=True)


def recall(root: Path, target: Target) -> Note | None:
    """What the cache at `root` remembers of a target; its folders are here, wherever the cache was when that was written."""
    try:
        note = Note.model_validate_json(_note_file(root, target).read_bytes(), extra="ignore")
    except (OSError, ValidationError):
        return None
    before = None if note.before is None else _moved(note.before, root)
    return _moved(note, root).model_copy(update={"before": before})


def remembered(root: Path, alias: str) -> list[str]:
    """The models of which this alias served here in the last run."""
    end = f"@{alias}.json"
    return sorted(path.name.removesuffix(end) for path in (root / "targets").glob(f"*{end}"))


def _moved(offer: OfferT, root: Path) -> OfferT:
    folder = root / offer.release.folder.name
    return offer.model_copy(update={"release": offer.release.model_copy(update={"folder": folder})})


def _note_file(root: Path, target: Target) -> Path:
    name = f"{target.name}@{target.alias}" if target.alias else f"{target.name}_{target.version}"
    return root / "targets" / f"{name}.json"


def digest_of(folder: Path) -> str:
    """SHA-256 over the names and digests of a folder's files, in order; links count as what they are, never followed."""
    digest = hashlib.sha256()
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder).as_posix()
        if path.is_symlink():
            digest.update(f"link {name} {os.readlink(path)}\n".encode())
        elif path.is_file() and name not in LEFT_OUT:
            digest.update(f"{sha256_of(path)} {name}\n".encode())
    return digest.hexdigest()
