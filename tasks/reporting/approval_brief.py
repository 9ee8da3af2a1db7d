"""What whoever decides about a version has to see, on one page: the verdict, both versions' numbers, where to read on."""

from collections.abc import Iterator

from tasks.measured import Comparison, Interval, Verdict
from tasks.proof.evidence import Evidence
from tasks.system.frozen import Frozen

_WORST = 5


class Addresses(Frozen):
    """Where to read on, when a server shows it."""

    report: str | None = None
    version: str | None = None
    run: str | None = None


def brief(number: int, evidence: Evidence, verdict: Verdict, champion: int | None, links: Addresses) -> str:
    """Markdown: shall version `number` become the champion in place of version `champion`?"""
    return "\n".join(
        [
            *_verdict(number, evidence, verdict, champion),
            *_links(links),  # early: the form shows ten lines and scrolls
            *_numbers(number, evidence, verdict, champion),
            *_slices(evidence, champion),
            "\nIf the champion changes before you answer, the gate is asked again first.",
        ]
    )


def _verdict(number: int, evidence: Evidence, verdict: Verdict, champion: int | None) -> Iterator[str]:
    instead = f"in place of version {champion}" if champion is not None else "as the first champion"
    yield f"## Promote {evidence.model} version {number}, {instead}?\n"
    yield f"The gate says **{verdict.decision}**:\n"
    yield from (f"- {reason}" for reason in verdict.reasons)
    if evidence.code.dirty:
        yield "- made by code that was not committed"


def _numbers(number: int, evidence: Evidence, verdict: Verdict, champion: int | None) -> Iterator[str]:
    report = evidence.proof.report
    yield f"\n| | version {number} |"
    yield "|---|---|"
    yield f"| {report.score_name}, {report.rows} {report.split} rows | {report.score:.4f} {_range(report.interval)} |"
    if champion is not None and verdict.difference is not None:
        yield f"| less version {champion}, same rows | {verdict.difference:+.4f} {_range(verdict.interval, '+.4f')} |"
    if (comparison := _comparison(evidence, champion)) is not None and comparison.changed is not None:
        yield f"| answers that change | {100 * comparison.changed:.1f}% of rows |"
    yield f"| file | {evidence.picked}, {report.size_bytes / 1e3:,.0f} kB |"
    for speed in report.speed:
        yield f"| batch of {speed.batch} | {speed.p50_ms:.2f} ms, {speed.throughput_ratio:.2f}× as fast as fp32 |"
    if (trial := evidence.proof.trial) is not None:
        yield f"| in the server | {trial.requests} requests, p95 {trial.single_p95_ms:.1f} ms, {trial.peak_bytes / 1e6:.0f} MB |"
    yield f"| data | {evidence.described_rows} rows, `{evidence.fingerprint[:12]}` |"
    yield f"| made | {evidence.created:%d %B %Y, %H:%M} UTC by code `{(evidence.code.revision or 'unknown')[:12]}` |"
    if evidence.origin is not None:
        yield f"| workload | {evidence.origin} |"


def _slices(evidence: Evidence, champion: int | None) -> Iterator[str]:
    """Where it loses most against the champion that it was compared with."""
    comparison = _comparison(evidence, champion)
    worse = [group for group in comparison.slices if group.difference < 0] if comparison is not None else []
    if worse:
        yield "\nWorse than the champion on:\n"
    for group in sorted(worse, key=lambda group: group.difference)[:_WORST]:
        yield f"- {group.column}={group.value}: {group.difference:+.4f} {_range(group.interval, '+.4f')} on {group.rows} rows"


def _links(addresses: Addresses) -> Iterator[str]:
    named = {
        "Report with pictures": addresses.report,
        "Version in MLflow": addresses.version,
        "Run": addresses.run,
    }
    if links := [f"[{name}]({address})" for name, address in named.items() if address]:
        yield "\n" + " · ".join(links)


def _comparison(evidence: Evidence, champion: int | None) -> Comparison | None:
    """The evidence's, when it is with the champion of now."""
    comparison = evidence.proof.comparison
    return comparison if comparison is not None and comparison.champion == champion else None


def _range(interval: Interval | None, spec: str = ".4f") -> str:
    return f"({100 * interval.level:.4g}%: {interval:{spec}})" if interval is not None else ""
