"""What a rollout's files of pairs were found to say, remembered from one look to the next: a file is written whole and never changes.

HOME/counted/MODEL/RUN.json: by each file's name and size how many pairs it counts, and of each that differs whose it is and what
came of holding it to a label. It can be deleted at any time, and then all is read again.
"""

import logging
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from pydantic_core import from_json, to_json

from tasks.rollout.record import RolloutRecord
from tasks.system.files import write_atomically
from tasks.traffic.labels import Key

log = logging.getLogger("slipway")

_FORMAT = 1


@dataclass(slots=True)
class Row:
    """A row on which the versions differ; `word` is the label that it was held to, `right` what that says of the new one and the old one."""

    id: str
    row: int
    time: float
    word: str | None = None
    right: tuple[bool, bool] | None = None
    """None: the word is no class of either."""

    @property
    def key(self) -> Key:
        return self.id, self.row


@dataclass(slots=True)
class CountedFile:
    """One file: its name and size, when it was closed (0: it has nothing of this rollout), its counts, and the rows that differ."""

    name: str
    size: int
    closed: float = 0.0
    pairs: int = 0
    agreed: int = 0
    rows: list[Row] = field(default_factory=list)


class CountedFiles:
    """The files of one rollout. Without a `path` nothing is remembered."""

    def __init__(self, path: Path | None, versions: tuple[str, str]) -> None:
        self.path = path
        self.versions = versions
        self.files: dict[str, CountedFile] = {}
        self.changed = False
        if path is not None and path.is_file():
            self._recall(path)

    def _recall(self, path: Path) -> None:
        try:
            content = from_json(path.read_bytes())
            if (content["format"], tuple(content["versions"])) != (_FORMAT, self.versions):
                return
            for name, size, closed, pairs, agreed, rows in content["files"]:
                said = [
                    Row(id, row, time, word, right and (right[0], right[1]))
                    for id, row, time, word, right in rows
                ]
                self.files[name] = CountedFile(name, size, closed, pairs, agreed, said)
        except (OSError, ValueError, KeyError, TypeError, IndexError) as error:
            log.warning("%s cannot be read, all pairs are counted again: %s", path, error)
            self.files = {}

    def read(
        self, folder: Path, ending: str, read: Callable[[Path, str, int], CountedFile | None]
    ) -> Iterator[CountedFile]:
        """All that are there now, oldest first, those of this rollout; `read` is asked for what is new. What is gone is forgotten."""
        there = {}
        for path in sorted(folder.glob(f"*/*/*{ending}")):
            name = str(path.relative_to(folder))
            with suppress(FileNotFoundError):
                size = path.stat().st_size
                counted = self.files.get(name)
                if counted is None or counted.size != size:
                    counted = read(path, name, size)
                    self.changed = self.changed or counted is not None
                if counted is not None:
                    there[name] = counted
        self.changed = self.changed or there.keys() != self.files.keys()
        self.files = there
        yield from (counted for counted in there.values() if counted.closed)

    def keep(self) -> None:
        """Remember it, where anything is new; of the model's rollouts before, nothing is needed any more."""
        if self.path is None or not self.changed:
            return
        content = {
            "format": _FORMAT,
            "versions": self.versions,
            "files": [_listed(counted) for counted in self.files.values()],
        }
        try:
            write_atomically(self.path, to_json(content))
            for other in self.path.parent.glob("*.json"):
                if other != self.path:
                    other.unlink(missing_ok=True)
            self.changed = False
        except OSError as error:
            log.warning("%s cannot be written, pairs are counted again the next time: %s", self.path, error)


def _listed(counted: CountedFile) -> tuple[object, ...]:
    rows = [(row.id, row.row, row.time, row.word, row.right) for row in counted.rows]
    return counted.name, counted.size, counted.closed, counted.pairs, counted.agreed, rows


def counted_files(home: Path, record: RolloutRecord, remembered: bool) -> CountedFiles:
    """Those of a rollout, as this home remembers them, or as if it did not."""
    path = home / "counted" / record.model / f"{record.run}.json"
    return CountedFiles(path if remembered else None, (record.old_sha256, record.new_sha256))
