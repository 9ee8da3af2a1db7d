"""Evidence → a model card as Hugging Face's Hub reads it: metadata with a model-index of the scores, and what people read."""

from collections.abc import Iterator
from typing import Any

from tasks.measured import Interval, Report
from tasks.proof.evidence import Evidence
from tasks.reporting.model_card import measured

CARD = "model-card.md"


def hub_card(evidence: Evidence, version: int) -> str:
    """Markdown behind YAML; a Hub repository has it as README.md. No licence: what rows and base weights allow, a person says."""
    import yaml

    report = evidence.proof.report
    metadata = {
        "library_name": "onnx",
        "tags": ["onnx", "slipway"],
        "model-index": [{"name": evidence.model, "results": [*_results(evidence, report)]}],
    }
    head = f"# {evidence.model}, version {version}: {report.score_name} {report.score:.4f}\n"
    reasons = [f"- {reason}" for reason in (*evidence.proof.verdict.reasons, *evidence.remarks)]
    facts = (
        f"\nONNX, {report.size_bytes / 1e3:,.0f} kB, SHA-256 `{evidence.model_sha256}`, made on {evidence.created:%d %B %Y}; "
        f"the verdict of its gate: {evidence.decision}.\n"
    )
    body = "\n".join([head, *reasons, facts, *measured(evidence)])
    return f"---\n{yaml.safe_dump(metadata, sort_keys=False, allow_unicode=True)}---\n\n{body}\n"


def _results(evidence: Evidence, report: Report) -> Iterator[dict[str, Any]]:
    """A result for all test rows, and one for each slice that has a score."""
    whole = [_metric(report.score_name, report.score, report.interval)]
    for other in report.others:
        if other.score is not None:
            whole.append(_metric(f"{other.score_name} of {other.goal}", other.score, other.interval))
    for detail in report.details:
        if len(detail.values) == 1 and detail.values[0] is not None:
            whole.append(_metric(detail.name, detail.values[0], detail.interval))
    yield _result(evidence, whole)
    for group in report.slices:
        if group.score is not None:
            metrics = [_metric(report.score_name, group.score, None)]
            yield _result(evidence, metrics, f"{group.column}={group.value}", group.rows)


def _result(
    evidence: Evidence, metrics: list[dict[str, Any]], of: str | None = None, rows: int | None = None
) -> dict[str, Any]:
    dataset = {
        "name": f"rows of {evidence.workload}" + (f", {of}" if of else ""),
        "type": evidence.workload,
        "split": evidence.proof.report.split,
        "revision": evidence.fingerprint,
        "args": {"rows": evidence.proof.report.rows if rows is None else rows},
    }
    task = {"type": next(iter(evidence.goals), "other")}
    return {"task": task, "dataset": dataset | ({"config": of} if of else {}), "metrics": metrics}


def _metric(name: str, value: float, interval: Interval | None) -> dict[str, Any]:
    bounds = {"args": {"interval": interval.model_dump()}} if interval is not None else {}
    return {"type": name, "value": value, "name": name} | bounds
