"""The server's numbers as Prometheus reads them. Imported when the first scrape needs it."""

from collections.abc import Collection, Iterable, Iterator
from itertools import accumulate
from typing import Any

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.exposition import CONTENT_TYPE_LATEST as CONTENT_TYPE
from prometheus_client.exposition import generate_latest
from prometheus_client.registry import Collector

from infra.serving.models.counters import LATENCY, ROWS
from infra.serving.telemetry.metrics import Entry, Metrics
from tasks.rollout.counts import Counts

__all__ = ["CONTENT_TYPE", "exposition"]

EVENTS = ("swap", "refusal", "revert")

PREFIX = "slipway_serving_"

VERSION = ("model", "version")

FAMILIES: dict[str, tuple[Any, str, tuple[str, ...]]] = {
    "requests": (CounterMetricFamily, "Predict requests answered", (*VERSION, "status")),
    "answers": (CounterMetricFamily, "Everything answered, whatever was asked", ("status",)),
    "held_bytes": (GaugeMetricFamily, "Bytes of requests and answers that this worker holds", ()),
    "rows": (CounterMetricFamily, "Rows predicted", VERSION),
    "engine_rows": (CounterMetricFamily, "Rows by which of two engines ran them", (*VERSION, "engine")),
    "run_seconds": (CounterMetricFamily, "Time inside the model", VERSION),
    "not_finite_batches": (CounterMetricFamily, "Requests whose answer is not finite", VERSION),
    "rescued_requests": (CounterMetricFamily, "Requests the version before answered", VERSION),
    "latency_seconds": (HistogramMetricFamily, "From the whole request to its answer", VERSION),
    "batch_rows": (HistogramMetricFamily, "Rows a run of the model", VERSION),
    "version": (GaugeMetricFamily, "1 for the version that answers", (*VERSION, "digest")),
    "engine": (
        GaugeMetricFamily,
        "1 for what runs the version that answers; proved: what it was proved in",
        (*VERSION, "engine", "proved"),
    ),
    "ready": (GaugeMetricFamily, "Whether every model is loaded", ()),
    "registry_seen_timestamp_seconds": (
        GaugeMetricFamily,
        "When the registry was last seen; 0: not since the start",
        ("model",),
    ),
    "queued_rows": (GaugeMetricFamily, "Rows that wait or are being run in this worker", ("model",)),
    "events": (CounterMetricFamily, "Swaps, refusals and reverts", ("model", "event")),
    "compared": (
        CounterMetricFamily,
        "A new version beside the one before it, on the same rows",
        (*VERSION, "count"),
    ),
    "rollout_weight": (GaugeMetricFamily, "Share of the keys that the new version answers here", VERSION),
    "rollout_step": (GaugeMetricFamily, "Of the policy's steps, from 0", VERSION),
    "status_timestamp_seconds": (
        GaugeMetricFamily,
        "When flows said last how a model does, on each subject, and in which tone",
        ("model", "subject", "tone"),
    ),
    "recorded_requests": (CounterMetricFamily, "Traffic record", ("outcome",)),
}
"""By their name behind the prefix: the kind, the help and the labels."""

Sample = tuple[Any, ...]
"""The family's name, the labels' values, and the value or, of a histogram, the buckets and the sum."""


def exposition(metrics: Metrics, ready: bool, followed: Collection[str]) -> bytes:
    """The text that a scrape gets; `followed` are the models whose alias is looked up in a registry."""
    return generate_latest(Numbers(metrics, ready, followed))


class Numbers(Collector):
    """What all workers have counted, and what this one holds."""

    def __init__(self, metrics: Metrics, ready: bool, followed: Collection[str]) -> None:
        self.metrics = metrics
        self.ready = ready
        self.followed = followed

    def collect(self) -> Iterable[Metric]:
        families = {
            name: kind(PREFIX + name, text, labels=labels) for name, (kind, text, labels) in FAMILIES.items()
        }
        for samples in (self._versions(), self._state(), self._pairs(), self._recorded()):
            for name, labels, *values in samples:
                families[name].add_metric(labels, *values)
        return families.values()

    def _versions(self) -> Iterator[Sample]:
        for entry in self.metrics.versions():
            version = (entry["model"], entry["version"])
            for status, count in entry["answers"].items():
                yield "requests", (*version, status), count
            yield "rows", version, entry["rows"]
            for engine, count in entry["engines"].items():
                yield "engine_rows", (*version, engine), count
            yield "run_seconds", version, entry["run_seconds"]
            yield "not_finite_batches", version, entry["not_finite"]
            yield "rescued_requests", version, entry["rescued"]
            yield "latency_seconds", version, buckets(LATENCY, entry["latency"]), entry["latency"]["total"]
            yield "batch_rows", version, buckets(ROWS, entry["batches"]), entry["batches"]["total"]

    def _state(self) -> Iterator[Sample]:
        board = self.metrics.board
        yield "ready", (), float(self.ready)
        for status, count in self.metrics.answers().items():
            yield "answers", (status,), count
        budgets = {slot.batcher.budget for slot in self.metrics.slots.values()}  # it is the same for all
        yield "held_bytes", (), sum(budget.used for budget in budgets)
        for name, slot in self.metrics.slots.items():
            if slot.current is not None:
                release = slot.current.release
                yield "version", (name, release.version, release.digest), 1
                engines = (slot.current.running.engine.name, release.engine.name)
                yield "engine", (name, release.version, *engines), 1
            if name in self.followed:
                yield "registry_seen_timestamp_seconds", (name,), board.registry_seen.get(name, 0.0)
            if slot.record is not None:
                version = (name, str(slot.record.new))
                yield "rollout_weight", version, 0.0 if slot.lane is None else slot.record.weight
                yield "rollout_step", version, slot.record.step
            for subject, tag in board.statuses.get(name, {}).items():
                yield "status_timestamp_seconds", (name, subject, tag.tone), tag.at.timestamp()
            yield "queued_rows", (name,), slot.batcher.rows + slot.batcher.running
            for kind in EVENTS:  # from zero on, or Prometheus would not see the first as an increase
                yield "events", (name, kind), board.counts[name, kind]

    def _pairs(self) -> Iterator[Sample]:
        for entry in self.metrics.pairs():
            for name in Counts.model_fields:
                yield "compared", (entry["model"], entry["version"], name), entry[name]

    def _recorded(self) -> Iterator[Sample]:
        for outcome, count in self.metrics.recorded().items():
            yield "recorded_requests", (outcome,), count


def buckets(bounds: tuple[float, ...], histogram: Entry) -> list[tuple[str, float]]:
    """Counts by bound as Prometheus wants them: cumulative."""
    return list(zip([*map(str, bounds), "+Inf"], accumulate(map(float, histogram["counts"])), strict=True))
