"""Model folders on this machine, named by their content, and what each target was last seen to name."""

import contextlib
import hashlib
import os
import shutil
import tempfile
from pathlib import Path

from pydantic import ValidationError

from infra.serving.ipc.messages import Release
from infra.serving.lifecycle.registry import Pointer
from infra.serving.options import Target
from tasks.system.files import sha256_of, write_atomically
from tasks.system.frozen import Frozen

LEFT_OUT = frozenset({"registered_model_meta"})

KEEP = 8


class Note(Frozen):
    """What is remembered of a target over a restart: what served, and which version must not be tried again."""

    pointer: Pointer
    release: Release
    refused: Pointer | None = None
    reason: str | None = None


class Cache:
    """The folder that the follower writes and the workers read."""

    def __init__(self, root: Path) -> None:
        self.root = root
        root.mkdir(mode=0o700, parents=True, exist_ok=True)
        for leftover in root.glob(".incoming-*"):
            shutil.rmtree(leftover, ignore_errors=True)

    def incoming(self) -> Path:
        """A private folder to download into."""
        return Path(tempfile.mkdtemp(prefix=".incoming-", dir=self.root))

    def keep(self, folder: Path) -> Path:
        """Move a folder under its content's name; one that is there already stays, byte for byte the same."""
        final = self.root / digest_of(folder)
        if final.exists() and digest_of(final) != final.name:
            shutil.rmtree(final)
        if not final.exists():
            folder.rename(final)
        os.utime(final)
        return final

    def inspected(self, folder: Path) -> bool:
        """Whether these bytes were parsed and tried before."""
        return folder.with_name(f"{folder.name}.inspected").exists()

    def mark(self, folder: Path) -> None:
        with contextlib.suppress(OSError):  # it is only looked at more closely the next time
            folder.with_name(f"{folder.name}.inspected").touch()

    def index(self, target: Target, pointer: Pointer) -> Path:
        return self.root / "versions" / f"{target.name}-{pointer.version}-{pointer.created}"

    def folder_of(self, target: Target, pointer: Pointer) -> Path | None:
        """The folder of a version that was downloaded before."""
        index = self.index(target, pointer)
        folder = self.root / index.read_text() if index.is_file() else None
        return folder if folder is not None and folder.is_dir() else None

    def note_folder(self, target: Target, pointer: Pointer, folder: Path) -> None:
        write_atomically(self.index(target, pointer), folder.name.encode())

    def remember(self, target: Target, note: Note) -> None:
        write_atomically(self._note(target), note.model_dump_json().encode())

    def recall(self, target: Target) -> Note | None:
        try:
            note = Note.model_validate_json(self._note(target).read_bytes(), extra="ignore")
        except (OSError, ValidationError):
            return None
        folder = (
            self.root / note.release.folder.name
        )  # here, wherever it was when this was written: caches are copied and moved
        release = note.release.model_copy(update={"folder": folder})
        return note.model_copy(update={"release": release}) if folder.is_dir() else None

    def _note(self, target: Target) -> Path:
        name = f"{target.name}@{target.alias}" if target.alias else f"{target.name}_{target.version}"
        return self.root / "targets" / f"{name}.json"

    def evict(self, used: set[Path]) -> None:
        """Delete the folders longest unused, but for those in use."""
        folders = [
            path
            for path in self.root.iterdir()
            if len(path.name) == 64 and path.is_dir() and path not in used
        ]
        for folder in sorted(folders, key=lambda path: path.stat().st_mtime, reverse=True)[KEEP:]:
            shutil.rmtree(folder, ignore_errors=True)
            folder.with_name(f"{folder.name}.inspected").unlink(missing_ok=True)


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
