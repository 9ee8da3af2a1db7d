"""A rollout in a worker: the new version's own lane beside the champion's, and which request takes which.

A key's lot is a salted hash, so that every server gives it the same lane without a word, and a growing weight moves no key back.
"""

from hashlib import blake2b
from random import random
from typing import NamedTuple, Protocol

from infra.serving.ipc.messages import Release
from infra.serving.models.batching import Batcher
from infra.serving.models.execution import Done
from infra.serving.models.pairs import Pairs
from infra.serving.models.version import LoadedVersion
from tasks.rollout.record import RolloutRecord

MOST_KEYS, LONGEST_KEY = 16_384, 64
"""Whose lots are remembered: together a few megabytes."""


class Lot(NamedTuple):
    """How a request came to its lane: in which rollout, and with what chance."""

    record: RolloutRecord
    weight: float

    def hashed(self, key: bytes) -> str:
        """All that is kept of a key."""
        return blake2b(self.record.salt.encode() + key, digest_size=8).hexdigest()


class Champion(Protocol):
    """Where everybody else is answered, and what there is to do with a batch of either lane."""

    name: str
    batcher: Batcher

    def looked(self, done: Done) -> None: ...


class Lane:
    """Where the new version answers; what it fails the champion answers. `pairs` compares the two, whoever answered."""

    def __init__(self, slot: Champion, record: RolloutRecord, new: LoadedVersion, pairs: Pairs) -> None:
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
        self.weight = record.weight
        self.cut = int(record.weight * 2**32).to_bytes(4, "big")
        self.lots = Lot(record, 1 - record.weight), Lot(record, record.weight)
        self.keys: dict[bytes, bool] = {}  # that came, and whether they are answered here

    def serves(self, release: Release) -> bool:
        return self.current is not None and self.current.is_of(release)

    def takes(self, key: bytes, id: bytes = b"") -> bool:
        """Whether a request is answered here: by its key, or else by its own id, with neither by chance.

        Keys come again, and a look is a fifth of a hash; an id comes again when a client asks again.
        """
        if not key:
            return self._has(id) if id else random() < self.weight
        takes = self.keys.get(key)
        if takes is None:
            takes = self._has(key)
            if len(key) <= LONGEST_KEY:
                if len(self.keys) >= MOST_KEYS:
                    self.keys.clear()
                self.keys[key] = takes
        return takes

    def _has(self, key: bytes) -> bool:
        return blake2b(self.salt + key, digest_size=4).digest() < self.cut

    def ran(self, done: Done) -> None:
        """A batch of this lane has been answered."""
        self.pairs.saw(done)
        self.slot.looked(done)
