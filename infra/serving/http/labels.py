"""`POST /v2/models/M/labels`: what turned out to be true of rows that were answered here, on disk before it is confirmed."""

import asyncio
import logging
import time
from pathlib import Path

import orjson

from infra.serving.models.mirror import Mirror
from infra.serving.wire.problems import Problem, malformed, unacceptable
from tasks.traffic.labels import Label, label_of, labels_of, write_labels

logger = logging.getLogger("slipway.serving")

MOST = 10_000

TYPES = frozenset({b"application/json", b"application/json;charset=utf-8", b""})

TOGETHER = 0.2
"""Seconds that the first waits for others, so that many small requests are few files."""


class LabelSpool:
    """Writes the labels of requests that come together as one file a model; whoever waits for it knows that they are kept."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.mirror = Mirror(home)
        self.waiting: dict[str, list[Label]] = {}
        self.writing: asyncio.Task[None] | None = None

    async def keep(self, model: str, labels: list[Label]) -> None:
        """Problem 503 when they cannot be written; then none of them is."""
        self.waiting.setdefault(model, []).extend(labels)
        if self.writing is None:
            self.writing = asyncio.create_task(self._write())
        await asyncio.shield(self.writing)

    async def _write(self) -> None:
        await asyncio.sleep(TOGETHER)
        waiting, self.waiting, self.writing = self.waiting, {}, None
        try:
            await asyncio.to_thread(self._write_all, waiting)
        except OSError as error:
            logger.error("labels cannot be written: %s", error)
            raise Problem(503, "labels_not_kept", "labels cannot be written here now", 1) from None

    def _write_all(self, waiting: dict[str, list[Label]]) -> None:
        for model, labels in waiting.items():
            self.mirror.copy(write_labels(labels_of(self.home, model), labels))


def read_labels(body: bytes) -> list[Label]:
    """Those of a request's body. Problem names the first that is none."""
    try:
        said = orjson.loads(body)
    except ValueError:
        raise malformed("the body is not JSON") from None
    given = said.get("labels") if isinstance(said, dict) else None
    if not isinstance(given, list) or not given:
        raise unacceptable('the body has to be {"labels": [{"id": …, "label": …}, …]}, with at least one')
    if len(given) > MOST:
        raise unacceptable(f"{len(given)} labels are more than the {MOST} that are taken at once")
    labels, received = [], time.time()
    for place, label in enumerate(given):
        try:
            labels.append(label_of(label if isinstance(label, dict) else {}, received))
        except ValueError as error:
            raise unacceptable(f"label {place}: {error}") from None
    return labels
