"""A rollout in a worker: the new version's own lane beside the champion's, and which request takes which.

A key's lot is a salted hash, so that every server gives it the same lane without a word, and a growing weight moves no key back.
"""

from hashlib import blake2b
from typing import TYPE_CHECKING, NamedTuple

from infra.serving.ipc.messages import Release
from infra.serving.models.batching import Batcher
from infra.serving.models.execution import Done
from infra.serving.models.pairs import Pairs
from infra.serving.models.version import LoadedVersion
from tasks.rollout.record import RolloutRecord

if TYPE_CHECKING:
    from infra.serving.models.slot import Slot


class Lot(NamedTuple):
    """How a request came to its lane: the rollout, what chose (nothing where the request had no key), and with what chance."""

    record: RolloutRecord
    key: bytes
    weight: float

    @property
    def run(self) -> str:
        return self.record.run

    @property
    def new(self) -> int:
        return self.record.new

    @property
    def old(self) -> int:
        return self.record.old

    @property
    def hashed(self) -> str | None:
        """All that is kept of the key."""
        salt = self.record.salt.encode()
        return blake2b(salt + self.key, digest_size=8).hexdigest() if self.key else None


class Lane:
    """Where the new version answers; what it fails the champion answers. `pairs` compares the two, whoever answered."""

    def __init__(self, slot: "Slot", record: RolloutRecord, new: LoadedVersion, pairs: Pairs) -> None:
        self.slot = slot
        self.name = slot.name
        self.current: LoadedVersion | None = new
        self.previous: LoadedVersion | None = pairs.old
        self.pairs = pairs
        queue = slot.batcher
        self.batcher = Batcher(self, queue.loop, queue.budget, queue.max_wait, queue.timeout)
        self.salt = record.salt.encode()
        self.header = (record.key or "").lower().encode()
        self.obey(record)

    def obey(self, record: RolloutRecord) -> None:
        """Another step of the same rollout."""
        self.record = record
        self.cut = int(record.weight * 2**32).to_bytes(4, "big")

    def serves(self, release: Release) -> bool:
        return self.current is not None and self.current.is_of(release)

    def choose(self, key: bytes, id: bytes) -> "tuple[Lane | Slot, Lot]":
        """Which lane a request takes, by its key, or by its id where it has none."""
        record = self.record
        if record.weight and blake2b(self.salt + (key or id), digest_size=4).digest() < self.cut:
            return self, Lot(record, key, record.weight)
        return self.slot, Lot(record, key, 1 - record.weight)

    def ran(self, done: Done) -> None:
        """A batch of this lane has been answered."""
        self.pairs.saw(done)
        self.slot.looked(done)
