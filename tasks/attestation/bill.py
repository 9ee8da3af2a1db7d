"""Evidence → a bill of materials in CycloneDX 1.6 with a model card in it: libraries, rows, base weights, scores with intervals and slices.

Written as JSON: cyclonedx-python-lib 11 has no model card (`Component.model_card` stands in it as a comment), so that it checks what is
written here, in a test, against the official schema, and does not write it. https://cyclonedx.org/docs/1.6/json/
"""

import json
import uuid
from collections.abc import Iterator, Mapping
from typing import Any

from tasks.attestation.statements import moment
from tasks.measured import Interval, Report
from tasks.proof.evidence import Evidence

BILL = "bom.cdx.json"

_MODEL, _ROWS = "model", "rows"


def bill_of_materials(evidence: Evidence, version: int) -> bytes:
    """The same evidence makes the same bytes."""
    parts = [_rows(evidence), *_base(evidence), *_libraries(evidence)]
    bill = {
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "serialNumber": f"urn:uuid:{uuid.uuid5(uuid.NAMESPACE_OID, evidence.model_sha256)}",
        "version": 1,
        "metadata": {
            "timestamp": moment(evidence.created),
            "lifecycles": [{"phase": "post-build"}],
            "tools": {"components": [{"type": "application", "name": "slipway", "purl": "pkg:pypi/slipway"}]},
            "component": _model(evidence, version),
        },
        "components": parts,
        "dependencies": [{"ref": _MODEL, "dependsOn": [part["bom-ref"] for part in parts]}],
    }
    return f"{json.dumps(bill, indent=1)}\n".encode()


def _model(evidence: Evidence, version: int) -> dict[str, Any]:
    origin, code = evidence.origin, evidence.code
    known = {
        "run": evidence.run_id,
        "picked": evidence.picked,
        "verdict": evidence.decision,
        "checkpoint": f"sha256:{evidence.checkpoint_sha256}",
        "code": code.revision,
        "lock": code.lock and f"sha256:{code.lock}",
        "workload": str(origin) if origin is not None else evidence.workload,
    }
    ancestors = [{key: part[key] for key in part if key != "bom-ref"} for part in _base(evidence)]
    return {
        "type": "machine-learning-model",
        "bom-ref": _MODEL,
        "name": evidence.model,
        "version": str(version),
        "hashes": [{"alg": "SHA-256", "content": evidence.model_sha256}],
        "modelCard": _card(evidence),
        "properties": [*_properties(known)],
    } | ({"pedigree": {"ancestors": ancestors}} if ancestors else {})


def _card(evidence: Evidence) -> dict[str, Any]:
    report = evidence.proof.report
    parameters: dict[str, Any] = {"datasets": [{"ref": _ROWS}]}
    if evidence.goals:
        parameters |= {"task": ", ".join(evidence.goals)}
    limits = [f"{odd.given}: {odd.outcome}" for odd in report.behaviour]
    limits += [
        f"{group.column}={group.value} is not scored: {group.rows} rows"
        for group in report.slices
        if group.score is None
    ]
    considerations = {
        "technicalLimitations": limits,
        "performanceTradeoffs": [f"{name} was not picked: {why}" for name, why in evidence.losers.items()],
    }
    return {
        "modelParameters": parameters,
        "quantitativeAnalysis": {"performanceMetrics": [*_metrics(report)]},
        "considerations": {name: said for name, said in considerations.items() if said},
        "properties": [*_properties({f"remark {n}": said for n, said in enumerate(evidence.remarks, 1)})],
    }


def _metrics(report: Report) -> Iterator[dict[str, Any]]:
    yield _metric(report.score_name, report.score, interval=report.interval)
    for group in report.slices:
        if group.score is not None:
            yield _metric(report.score_name, group.score, of=f"{group.column}={group.value}")
    for other in report.others:
        if other.score is not None:
            yield _metric(f"{other.score_name}, {other.goal}", other.score, interval=other.interval)
    for detail in report.details:
        for step, value in enumerate(detail.values, 1):
            name = detail.name if len(detail.values) == 1 else f"{detail.name}, {step}"
            if value is not None:
                yield _metric(name, value, interval=detail.interval)
    for speed in report.speed:
        yield _metric(f"latency in ms, batch {speed.batch}", speed.p50_ms)
        yield _metric(
            f"throughput over fp32's, batch {speed.batch}", speed.throughput_ratio, interval=speed.interval
        )


def _metric(name: str, value: float, *, of: str = "", interval: Interval | None = None) -> dict[str, Any]:
    """Numbers are text in this schema; `of`: a slice."""
    metric: dict[str, Any] = {"type": name, "value": repr(value)}
    if of:
        metric["slice"] = of
    if interval is not None:
        metric["confidenceInterval"] = {"lowerBound": repr(interval.low), "upperBound": repr(interval.high)}
    return metric


def _rows(evidence: Evidence) -> dict[str, Any]:
    counts = _properties({f"rows: {split}": str(count) for split, count in evidence.rows.items()})
    data = {
        "type": "dataset",
        "name": f"rows of {evidence.workload}",
        "description": f"{evidence.described_rows} rows",
        "contents": {"properties": [*counts]},
    }
    return {
        "type": "data",
        "bom-ref": _ROWS,
        "name": f"rows of {evidence.workload}",
        "hashes": [{"alg": "SHA-256", "content": evidence.fingerprint}],
        "data": [data],
    }


def _base(evidence: Evidence) -> Iterator[dict[str, Any]]:
    """What the weights began as, or are."""
    for number, material in enumerate(evidence.materials):
        licence = material.licence
        licences = {"licenses": [{"license": {"name": licence}}]} if licence else {}
        yield {
            "type": "machine-learning-model",
            "bom-ref": f"base {number}",
            "name": material.name,
            "hashes": [{"alg": "SHA-256", "content": material.sha256}],
        } | licences


def _libraries(evidence: Evidence) -> Iterator[dict[str, Any]]:
    for name, version in sorted(evidence.libraries.items()):
        if name == "python":
            yield {"type": "platform", "bom-ref": name, "name": name, "version": version}
        else:
            purl = f"pkg:pypi/{name}@{version}"
            yield {"type": "library", "bom-ref": purl, "name": name, "version": version, "purl": purl}


def _properties(values: Mapping[str, str | None]) -> Iterator[dict[str, str]]:
    yield from ({"name": f"slipway:{name}", "value": value} for name, value in values.items() if value)
