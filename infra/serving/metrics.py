"""Prometheus metrics of all workers: each writes its numbers to a file, whichever is scraped adds them up."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import orjson
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.exposition import CONTENT_TYPE_LATEST as CONTENT_TYPE
from prometheus_client.exposition import generate_latest
from prometheus_client.registry import Collector, CollectorRegistry

from infra.serving.board import Board
from infra.serving.numbers import LATENCY, ROWS
from infra.serving.service import Service

__all__ = ["CONTENT_TYPE", "Metrics"]


class Metrics(Collector):
    """The numbers of this worker, and of its siblings as they last wrote them."""

    def __init__(self, service: Service, board: Board, folder: Path, slot: int) -> None:
        self.service = service
        self.board = board
        self.folder = folder
        self.file = folder / f"numbers-{slot}-{os.getpid()}.json"
        self.registry = CollectorRegistry(auto_describe=False)
        self.registry.register(self)

    def text(self) -> bytes:
        return generate_latest(self.registry)

    def save(self) -> None:
        """Write this worker's numbers for its siblings to read."""
        temporary = self.file.with_suffix(".tmp")
        temporary.write_bytes(orjson.dumps(self._own()))
        temporary.rename(self.file)

    def _own(self) -> list[dict[str, Any]]:
        own = []
        for name, slot in self.service.slots.items():
            for version, numbers in slot.numbers.items():
                own.append({"model": name, "version": version, **numbers.dump()})
        return own

    def _all(self) -> list[dict[str, Any]]:
        everything = self._own()
        for path in self.folder.glob("numbers-*.json"):
            if path != self.file:
                everything += orjson.loads(path.read_bytes())
        return merged(everything)

    def of_model(self, name: str) -> list[dict[str, Any]]:
        """The numbers of each version of one model, over all workers."""
        return [entry for entry in self._all() if entry["model"] == name]

    def collect(self) -> Iterator[Metric]:
        yield from counted(self._all())
        yield from self._state()
        yield from self._shadows()
        yield from self._recorded()

    def _shadows(self) -> Iterator[Metric]:
        labels = ["model", "version"]
        rows = GaugeMetricFamily(
            "slipway_serving_shadow_rows", "Rows the challenger ran too, in this worker", labels=labels
        )
        agreed = GaugeMetricFamily(
            "slipway_serving_shadow_agreed_rows", "Of these, rows that say the same", labels=labels
        )
        lost = GaugeMetricFamily(
            "slipway_serving_shadow_dropped_batches", "Batches there was no time for", labels=labels
        )
        failed = GaugeMetricFamily(
            "slipway_serving_shadow_failed_batches", "Batches the challenger failed on", labels=labels
        )
        latency = HistogramMetricFamily(
            "slipway_serving_shadow_run_seconds", "Time of a batch", labels=["model", "which"]
        )
        for name, slot in self.service.slots.items():
            shadow = slot.shadow
            if shadow is None or shadow.model is None:
                continue
            named = [name, shadow.model.release.version]
            counts = (shadow.rows, shadow.agreed, shadow.dropped, shadow.failed)
            for family, value in zip((rows, agreed, lost, failed), counts, strict=True):
                family.add_metric(named, value)
            for which, times in (("challenger", shadow.latency), ("champion", shadow.champion)):
                latency.add_metric([name, which], buckets(LATENCY, times.counts), times.total)
        yield from (rows, agreed, lost, failed, latency)

    def _recorded(self) -> Iterator[Metric]:
        recorder = next((slot.recorder for slot in self.service.slots.values() if slot.recorder), None)
        if recorder is not None:
            family = CounterMetricFamily(
                "slipway_serving_recorded_requests", "Traffic record", labels=["outcome"]
            )
            family.add_metric(["written"], recorder.written)
            family.add_metric(["dropped"], recorder.dropped)
            yield family

    def _state(self) -> Iterator[Metric]:
        serving = GaugeMetricFamily(
            "slipway_serving_version", "1 for the version that answers", labels=["model", "version", "digest"]
        )
        ready = GaugeMetricFamily("slipway_serving_ready", "Whether every model is loaded")
        ready.add_metric([], float(self.service.ready))
        stale = GaugeMetricFamily(
            "slipway_serving_registry_seen_timestamp_seconds",
            "When the registry was last seen",
            labels=["model"],
        )
        queued = GaugeMetricFamily(
            "slipway_serving_queued_rows", "Rows waiting in this worker", labels=["model"]
        )
        events = CounterMetricFamily(
            "slipway_serving_events", "Swaps, refusals and reverts", labels=["model", "event"]
        )
        for name, slot in self.service.slots.items():
            if slot.current is not None:
                serving.add_metric([name, slot.current.release.version, slot.current.release.digest], 1)
            if name in self.board.looked:
                stale.add_metric([name], self.board.looked[name])
            queued.add_metric([name], slot.batcher.rows)
        for (name, kind), count in self.board.counts.items():
            events.add_metric([name, kind], count)
        yield from (serving, ready, stale, queued, events)


def merged(entries: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Entries of one model and version added up, over workers and over loads of the same version."""
    total: dict[tuple[str, str], dict[str, Any]] = {}
    for entry in entries:
        key = (entry["model"], entry["version"])
        total[key] = added(total[key], entry) if key in total else entry
    return list(total.values())


def added(left: Any, right: Any) -> Any:
    if isinstance(left, dict):
        return {
            key: added(left[key], right[key])
            if key in left and key in right
            else left.get(key, right.get(key))
            for key in left | right
        }
    if isinstance(left, list):
        return [a + b for a, b in zip(left, right, strict=True)]
    return left if isinstance(left, str) else left + right


def counted(entries: list[dict[str, Any]]) -> Iterator[Metric]:
    labels = ["model", "version"]
    answers = CounterMetricFamily(
        "slipway_serving_requests", "Predict requests answered", labels=[*labels, "status"]
    )
    rows = CounterMetricFamily("slipway_serving_rows", "Rows predicted", labels=labels)
    seconds = CounterMetricFamily("slipway_serving_run_seconds", "Time inside the model", labels=labels)
    odd = CounterMetricFamily(
        "slipway_serving_not_finite_batches", "Batches with an output that is not finite", labels=labels
    )
    rescued = CounterMetricFamily(
        "slipway_serving_rescued_requests", "Requests the version before answered", labels=labels
    )
    latency = HistogramMetricFamily(
        "slipway_serving_latency_seconds", "From the whole request to its answer", labels=labels
    )
    batches = HistogramMetricFamily("slipway_serving_batch_rows", "Rows a run of the model", labels=labels)
    for entry in entries:
        named = [entry["model"], entry["version"]]
        for status, count in entry["answers"].items():
            answers.add_metric([*named, status], count)
        rows.add_metric(named, entry["rows"])
        seconds.add_metric(named, entry["run_seconds"])
        odd.add_metric(named, entry["not_finite"])
        rescued.add_metric(named, entry["rescued"])
        latency.add_metric(named, buckets(LATENCY, entry["latency"]["counts"]), entry["latency"]["total"])
        batches.add_metric(named, buckets(ROWS, entry["batches"]["counts"]), entry["batches"]["total"])
    yield from (answers, rows, seconds, odd, rescued, latency, batches)


def buckets(bounds: tuple[float, ...], counts: list[int]) -> list[tuple[str, float]]:
    """Counts by bound as Prometheus wants them: cumulative."""
    found, total = [], 0
    for bound, count in zip([*bounds, float("inf")], counts, strict=True):
        total += count
        found.append(("+Inf" if bound == float("inf") else str(bound), float(total)))
    return found
