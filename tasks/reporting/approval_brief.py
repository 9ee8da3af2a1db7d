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


def brief(
    number: int,
    evidence: Evidence,
    verdict: Verdict,
    champion: int | None,
    links: Addresses,
    serving: Evidence | None = None,
) -> str:
    """Markdown: shall version `number` become the champion in place of version `champion`, whose evidence is `serving`?"""
    return "\n".join(
        [
            *_verdict(number, evidence, verdict, champion),
            *_links(links),  # early: the form shows ten lines and scrolls
            *_numbers(number, evidence, verdict, champion, serving),
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


def _numbers(
    number: int, evidence: Evidence, verdict: Verdict, champion: int | None, serving: Evidence | None
) -> Iterator[str]:
    """Both side by side: scores on the same rows, the rest as measured when each was made. Words are few: the form is narrow."""
    report, difference, beside = evidence.proof.report, verdict.difference, champion is not None
    theirs = dict(_facts(serving)) if serving is not None else {}
    mean, its_mean = report.interval, _interval_on(evidence, serving)
    rows = [
        (f"{report.score_name}, {report.rows} rows", f"{report.score:.4f}", "" if difference is None else f"{report.score - difference:.4f}"),
        *([(f"{100 * mean.level:.4g}% interval", f"{mean.low:.4f}–{mean.high:.4f}", its_mean)] if mean else []),
        *((name, mine, theirs.get(name, "")) for name, mine in _facts(evidence)),
    ]  # fmt: skip
    yield f"\n| | v{number} |{f' v{champion}, serves |' if beside else ''}"
    yield f"|---|---|{'---|' if beside else ''}"
    yield from (f"| {name} | {mine} |{f' {its} |' if beside else ''}" for name, mine, its in rows)
    yield from _remarks(number, evidence, verdict, champion)


def _interval_on(evidence: Evidence, serving: Evidence | None) -> str:
    """The champion's own, where it was proved on the same rows and at the same level; else nothing is known of it on these."""
    mine, its = evidence.proof.report.interval, serving.proof.report.interval if serving else None
    if serving is None or mine is None or its is None or mine.level != its.level:
        return ""
    same = serving.fingerprint == evidence.fingerprint and serving.config["data"] == evidence.config["data"]
    return f"{its.low:.4f}–{its.high:.4f}" if same else ""


def _remarks(number: int, evidence: Evidence, verdict: Verdict, champion: int | None) -> Iterator[str]:
    """What takes a sentence."""
    if champion is not None and verdict.difference is not None:
        yield f"\nVersion {number} less version {champion}, same rows: {verdict.difference:+.4f} {_range(verdict.interval, '+.4f')}"
    if (comparison := _comparison(evidence, champion)) is not None and comparison.changed is not None:
        yield f"\nAnswers that change: {100 * comparison.changed:.1f}% of rows."
    if evidence.origin is not None:
        yield f"\nThe workload: {evidence.origin}."


def _facts(evidence: Evidence) -> Iterator[tuple[str, str]]:
    """What is known of a version by itself."""
    report = evidence.proof.report
    yield "file", evidence.picked
    yield "size", f"{report.size_bytes / 1e3:,.0f} kB"
    for speed in report.speed:
        yield f"batch of {speed.batch}", f"{speed.p50_ms:.2f} ms"
        yield f"… × fp32's at {speed.batch}", f"{speed.interval.low:.2f}–{speed.interval.high:.2f}×"
    if (trial := evidence.proof.trial) is not None:
        yield "in the server, p95", f"{trial.single_p95_ms:.1f} ms"
        yield "… its memory", f"{trial.peak_bytes / 1e6:.0f} MB"
    yield "rows, all splits", f"{sum(evidence.rows.values()):,}"
    yield "data", f"`{evidence.fingerprint[:10]}`"
    yield "made (UTC)", f"{evidence.created:%d %b, %H:%M}"
    yield "code", f"`{(evidence.code.revision or 'unknown')[:10]}`"


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
