"""What all workers have counted: each writes its numbers to a file, whichever is asked adds them up."""

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import orjson

from infra.serving.models.slot import Slot
from infra.serving.telemetry.board import Board

Entry = dict[str, Any]


class Metrics:
    """The numbers of this worker, and of its siblings as they last wrote them."""

    def __init__(self, slots: Mapping[str, Slot], board: Board, folder: Path, slot: int) -> None:
        self.slots = slots
        self.board = board
        self.folder = folder
        self.file = folder / f"numbers-{slot}-{os.getpid()}.json"

    def save(self) -> None:
        """Write this worker's numbers for its siblings to read."""
        temporary = self.file.with_suffix(".tmp")
        temporary.write_bytes(orjson.dumps(self._own()))
        temporary.rename(self.file)

    def _own(self) -> dict[str, list[Entry]]:
        slots = self.slots
        return {
            "versions": [
                {"model": name, "version": version, **numbers.dump()}
                for name, slot in slots.items()
                for version, numbers in slot.numbers.items()
            ],
            "shadows": [
                {"model": name, **slot.shadow.dump()}
                for name, slot in slots.items()
                if slot.shadow is not None and slot.shadow.loaded is not None
            ],
            "recorders": [
                {
                    "model": "",
                    "version": "",
                    "written": slot.recorder.written,
                    "dropped": slot.recorder.dropped,
                }
                for slot in list(slots.values())[:1]
                if slot.recorder is not None
            ],
        }

    def _all(self, kind: str) -> list[Entry]:
        everything = self._own()[kind]
        for path in self.folder.glob("numbers-*.json"):
            if path != self.file:
                everything += orjson.loads(path.read_bytes())[kind]
        return merged(everything)

    def versions(self) -> list[Entry]:
        """The numbers of each version of each model, over all workers."""
        return self._all("versions")

    def of_model(self, name: str) -> list[Entry]:
        return [entry for entry in self.versions() if entry["model"] == name]

    def shadow(self, name: str) -> Entry | None:
        """What the challenger that shadows a model here has done, in all workers."""
        shadow = self.slots[name].shadow
        if shadow is None or shadow.loaded is None:
            return None
        key = (name, shadow.loaded.release.version)
        return next(entry for entry in self._all("shadows") if (entry["model"], entry["version"]) == key)

    def recorded(self) -> Entry | None:
        """How many requests the traffic record took and dropped; None when there is no record."""
        return next(iter(self._all("recorders")), None)


def merged(entries: list[Entry]) -> list[Entry]:
    """Entries of one model and version added up, over workers and over loads of the same version."""
    total: dict[tuple[str, str], Entry] = {}
    for entry in entries:
        key = (entry["model"], entry["version"])
        total[key] = added(total[key], entry) if key in total else entry
    return list(total.values())


def added(left: Any, right: Any) -> Any:
    if isinstance(left, dict):
        return {
            key: together(key)(left[key], right[key])
            if key in left and key in right
            else left.get(key, right.get(key))
            for key in left | right
        }
    if isinstance(left, list):
        return [a + b for a, b in zip(left, right, strict=True)]
    return left if isinstance(left, str) else left + right


def together(name: str) -> Callable[[Any, Any], Any]:
    """How one number of two workers becomes one: the sum, but for the largest of something."""
    return max if name.startswith("largest") else added
