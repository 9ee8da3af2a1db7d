"""What all workers have counted: each writes its numbers to a file, whichever is asked adds them up."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import orjson

from infra.serving.models.slot import Slot
from infra.serving.telemetry.board import Board

Entry = dict[str, Any]


class Metrics:
    """The numbers of this worker, and of its siblings as they last wrote them."""

    def __init__(
        self,
        slots: Mapping[str, Slot],
        board: Board,
        folder: Path,
        slot: int,
        others: Mapping[str, int] | None = None,
    ) -> None:
        self.slots = slots
        self.others = {} if others is None else others  # answers that no version gave, by status
        self.board = board
        self.folder = folder
        self.file = folder / f"numbers-{slot}-{os.getpid()}.json"

    def save(self) -> None:
        """Write this worker's numbers for its siblings to read."""
        temporary = self.file.with_suffix(".tmp")
        temporary.write_bytes(self._own())
        temporary.rename(self.file)

    def _own(self) -> bytes:
        slots = self.slots.values()
        recorders = {slot.recorder for slot in slots if slot.recorder is not None}  # it is the same for all
        return orjson.dumps(
            {
                "versions": [numbers for slot in slots for numbers in slot.numbers.values()],
                "pairs": [
                    {"model": slot.name, "version": version, **counted}
                    for slot in slots
                    for version, counted in slot.counted.items()
                ],
                "others": [{"answers": self.others}],
                "recorders": [{"written": each.written, "dropped": each.dropped} for each in recorders],
            }
        )

    def _all(self, kind: str) -> list[Entry]:
        siblings = (path.read_bytes() for path in self.folder.glob("numbers-*.json") if path != self.file)
        return merged([entry for text in (self._own(), *siblings) for entry in orjson.loads(text)[kind]])

    def versions(self) -> list[Entry]:
        """The numbers of each version of each model, over all workers."""
        return self._all("versions")

    def pairs(self) -> list[Entry]:
        """What each new version came to beside the one before it, over all workers."""
        return self._all("pairs")

    def rollout(self, name: str) -> Entry | None:
        """How a model's rollout stands here, and what all workers have counted of it; None where there is none."""
        slot = self.slots[name]
        if (record := slot.record) is None:
            return None if not slot.why else {"why": slot.why}
        key = (name, str(record.new))
        counts = [entry for entry in self.pairs() if (entry["model"], entry["version"]) == key]
        return {
            **record.model_dump(include={"run", "old", "new", "step", "weight", "open", "sequence"}),
            "answering": slot.lane is not None,
            "why": slot.why or None,
            "counts": counts[0] if counts and slot.run == record.run else None,
        }

    def answers(self) -> dict[str, int]:
        """All answers to all requests by status, whatever they were to."""
        total: dict[str, int] = {}
        for entry in (*self._all("versions"), *self._all("others")):
            for status, count in entry["answers"].items():
                total[status] = total.get(status, 0) + count
        return total

    def recorded(self) -> Entry:
        """How many requests the traffic record took and dropped; empty when there is no record."""
        return next(iter(self._all("recorders")), {})


def merged(entries: list[Entry]) -> list[Entry]:
    """Entries of one model and version added up, over workers and over loads of the same version."""
    total: dict[tuple[str | None, str | None], Entry] = {}
    for entry in entries:
        key = (entry.get("model"), entry.get("version"))
        total[key] = added(total[key], entry) if key in total else entry
    return list(total.values())


def added(left: Any, right: Any) -> Any:
    """What two workers counted as one."""
    if isinstance(left, dict):
        both = {key: added(left[key], right[key]) for key in left.keys() & right.keys()}
        return left | right | both
    if isinstance(left, list):
        return [a + b for a, b in zip(left, right, strict=True)]
    return left if isinstance(left, str) else left + right
