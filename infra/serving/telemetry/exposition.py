"""The server's numbers as Prometheus reads them. Imported when the first scrape needs it."""

from collections.abc import Collection, Iterator

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.exposition import CONTENT_TYPE_LATEST as CONTENT_TYPE
from prometheus_client.exposition import generate_latest
from prometheus_client.registry import Collector, CollectorRegistry

from infra.serving.models.counters import LATENCY, ROWS
from infra.serving.telemetry.metrics import Entry, Metrics

__all__ = ["CONTENT_TYPE", "exposition"]

EVENTS = ("swap", "refusal", "revert")


def exposition(metrics: Metrics, ready: bool, followed: Collection[str]) -> bytes:
    """The text that a scrape gets; `followed` are the models whose alias is looked up in a registry."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(Numbers(metrics, ready, followed))
    return generate_latest(registry)


class Numbers(Collector):
    """What all workers have counted, and what this one holds."""

    def __init__(self, metrics: Metrics, ready: bool, followed: Collection[str]) -> None:
        self.metrics = metrics
        self.ready = ready
        self.followed = followed

    def collect(self) -> Iterator[Metric]:
        yield from counted(self.metrics.versions())
        yield from self._state()
        yield from self._shadows()
        yield from self._recorded()

    def _shadows(self) -> Iterator[Metric]:
        labels = ["model", "version"]
        families = {
            "rows": GaugeMetricFamily(
                "slipway_serving_shadow_rows", "Rows the challenger ran too", labels=labels
            ),
            "agreed": GaugeMetricFamily(
                "slipway_serving_shadow_agreed_rows", "Of these, rows that say the same", labels=labels
            ),
            "dropped": GaugeMetricFamily(
                "slipway_serving_shadow_dropped_batches", "Batches there was no time for", labels=labels
            ),
            "failed": GaugeMetricFamily(
                "slipway_serving_shadow_failed_batches", "Batches the challenger failed on", labels=labels
            ),
        }
        latency = HistogramMetricFamily(
            "slipway_serving_shadow_run_seconds", "Time of a batch", labels=["model", "which"]
        )
        for name in self.metrics.slots:
            shadow = self.metrics.shadow(name)
            if shadow is None:
                continue
            for key, family in families.items():
                family.add_metric([name, shadow["version"]], shadow[key])
            for which, times in (("challenger", shadow["latency"]), ("champion", shadow["champion"])):
                latency.add_metric([name, which], buckets(LATENCY, times["counts"]), times["total"])
        yield from (*families.values(), latency)

    def _recorded(self) -> Iterator[Metric]:
        recorded = self.metrics.recorded()
        if recorded is not None:
            family = CounterMetricFamily(
                "slipway_serving_recorded_requests", "Traffic record", labels=["outcome"]
            )
            family.add_metric(["written"], recorded["written"])
            family.add_metric(["dropped"], recorded["dropped"])
            yield family

    def _state(self) -> Iterator[Metric]:
        board = self.metrics.board
        serving = GaugeMetricFamily(
            "slipway_serving_version", "1 for the version that answers", labels=["model", "version", "digest"]
        )
        ready = GaugeMetricFamily("slipway_serving_ready", "Whether every model is loaded")
        ready.add_metric([], float(self.ready))
        stale = GaugeMetricFamily(
            "slipway_serving_registry_seen_timestamp_seconds",
            "When the registry was last seen; 0: not since the start",
            labels=["model"],
        )
        queued = GaugeMetricFamily(
            "slipway_serving_queued_rows", "Rows waiting in this worker", labels=["model"]
        )
        events = CounterMetricFamily(
            "slipway_serving_events", "Swaps, refusals and reverts", labels=["model", "event"]
        )
        for name, slot in self.metrics.slots.items():
            if slot.current is not None:
                serving.add_metric([name, slot.current.release.version, slot.current.release.digest], 1)
            if name in self.followed:
                stale.add_metric([name], board.registry_seen.get(name, 0.0))
            queued.add_metric([name], slot.batcher.rows)
            for kind in EVENTS:  # from zero on, or Prometheus would not see the first as an increase
                events.add_metric([name, kind], board.counts.get((name, kind), 0))
        yield from (serving, ready, stale, queued, events)


def counted(entries: list[Entry]) -> Iterator[Metric]:
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
    cumulative, total = [], 0
    for bound, count in zip([*bounds, float("inf")], counts, strict=True):
        total += count
        cumulative.append(("+Inf" if bound == float("inf") else str(bound), float(total)))
    return cumulative
