"""Training state on disk: whole or not there, digest beside it, two generations kept, the newest good one loaded."""

import hashlib
import logging
from pathlib import Path
from typing import Any, BinaryIO

import torch
from torch.utils._pytree import tree_leaves

from tasks.errors import StepError
from tasks.records import Checkpoint
from tasks.system.files import sha256_of, why_not_written, write_atomically

State = dict[str, Any]

KEPT = 2

log = logging.getLogger(__name__)


class CheckpointStore:
    """The generations `last-000001.pt`, `last-000002.pt`… of one training, each with its `.sha256`.

    A file is never written over: a generation is complete when its digest is there, and older ones go only after
    that. Its owner holds a lock, so what has a temporary name was left by a crash.
    """

    def __init__(self, folder: Path, fingerprint: str) -> None:
        self.folder = folder
        self._fingerprint = fingerprint
        self._good: list[Path] = []

    def save(self, state: State) -> None:
        """Write the next generation; when this returns it is durable. Raises StepError, older ones intact, if it cannot."""
        numbers = [int(path.stem.removeprefix("last-")) for path in self.folder.glob("last-*.pt")]
        path = self.folder / f"last-{max(numbers, default=0) + 1:06d}.pt"
        save(path, {**state, "fingerprint": self._fingerprint})
        self._good = [*self._good, path][-KEPT:]
        self._tidy()

    def load(self) -> State | None:
        """The newest state that is whole and belongs to this training, or None; others are named in a warning."""
        for path in sorted(self.folder.glob("last-*.pt"), reverse=True):
            try:
                state = load(path)
            except StepError as error:
                log.warning("%s Trying the one before.", error)
                continue
            if state.get("fingerprint") != self._fingerprint:
                log.warning("%s is of another training (data or knobs differ): not resumed.", path)
                continue
            self._good = [path]
            return state
        return None

    def clear(self) -> None:
        """Keep nothing: what is there is of no use to anybody."""
        self._good = []
        self._tidy()

    def _tidy(self) -> None:
        kept = [*self._good, *map(digest_path, self._good)]
        for path in [*self.folder.glob("last-*"), *self.folder.glob(".*.tmp")]:
            if path not in kept:
                try:
                    path.unlink(missing_ok=True)
                except OSError as error:
                    log.warning("%s is no longer needed and could not be removed: %s.", path, error.strerror)


def save(path: Path, state: State) -> str:
    """Write tensors, numbers and strings to `path`, then the SHA-256 beside it, and return that.

    The same state gives the same bytes. Raises StepError when the disk is full or fails.
    """

    def write(file: BinaryIO) -> None:
        writer = _Digesting(file, digest)
        torch.save(state, writer)  # type: ignore[arg-type]
        if writer.failure is not None:
            raise writer.failure

    digest = hashlib.sha256()
    try:
        write_atomically(path, write)
        write_atomically(digest_path(path), f"{digest.hexdigest()}  {path.name}\n".encode())
    except OSError as error:
        size = sum(getattr(leaf, "nbytes", 8) for leaf in tree_leaves(state))
        raise StepError(why_not_written("a checkpoint", path.parent, size, error)) from error
    return digest.hexdigest()


def load(path: Path) -> State:
    """Read what `save` wrote, on the CPU, unpickling nothing but tensors, numbers and strings.

    Raises StepError when the file is missing, torn or altered: its digest is checked before its content is parsed.
    """
    if not digest_is_right(path):
        raise StepError(
            f"Checkpoint {path} is torn or altered: its SHA-256 is not the one in {digest_path(path).name}."
        )
    state: State = torch.load(path, map_location="cpu", weights_only=True)
    return state


def load_weights(checkpoint: Checkpoint) -> dict[str, torch.Tensor]:
    """The trained weights by name. Raises StepError when the file is not the one that the record speaks of."""
    if not checkpoint.path.exists() or sha256_of(checkpoint.path) != checkpoint.sha256:
        raise StepError(
            f"Checkpoint {checkpoint.path} is missing or not the one that was trained: train again with --force."
        )
    weights: dict[str, torch.Tensor] = load(checkpoint.path)["weights"]
    return weights


def files_to_mirror(folder: Path) -> list[str]:
    """What another machine needs of a training to go on: its newest whole checkpoint, its metrics, and its end if it has one."""
    whole = [path for path in sorted(folder.glob("last-*.pt")) if digest_path(path).exists()]
    paths = [*whole[-1:], folder / "best.pt"]
    names = [name for path in paths for name in (path.name, digest_path(path).name)]
    return [
        name for name in (*names, "metrics.jsonl", "checkpoint.json") if whole and (folder / name).exists()
    ]


def digest_path(path: Path) -> Path:
    return path.with_name(f"{path.name}.sha256")


def digest_is_right(path: Path) -> bool:
    """Whether the file is byte for byte what was saved; `sha256sum --check` says the same."""
    try:
        expected = digest_path(path).read_bytes()
        return expected == f"{sha256_of(path)}  {path.name}\n".encode()
    except OSError:
        return False


class _Digesting:
    """Hashes what passes, and keeps a failed write's error: out of torch's writer it would come as a RuntimeError."""

    def __init__(self, file: BinaryIO, digest: "hashlib._Hash") -> None:
        self._file, self._digest = file, digest
        self.failure: OSError | None = None

    def write(self, data: bytes) -> int:
        if self.failure is None:
            try:
                self._file.write(data)
                self._digest.update(data)
            except OSError as error:
                self.failure = error
        return len(data)

    def flush(self) -> None:
        """Left to the owner of the file, who flushes before it syncs."""
