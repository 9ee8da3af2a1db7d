"""Evidence → statements that stock tools read: SLSA provenance of each transformation, chained by digests, and in-toto's test results.

https://slsa.dev/spec/v1.1/provenance and https://github.com/in-toto/attestation/blob/main/spec/predicates/test-result.md
"""

import datetime
import json
from collections.abc import Iterator, Mapping
from typing import Any

from tasks.attestation.results import test_results
from tasks.proof.evidence import MODEL, Evidence
from tasks.proof.permit import policy_digest
from tasks.system.envelope import digest_of, statement
from tasks.system.signers import Level
from tasks.system.signing import level

Statement = dict[str, Any]

PROVENANCE = "https://slsa.dev/provenance/v1"

TESTS = "tests"
"""The name of the statement that is no transformation's."""

_TOOL = "pkg:pypi/slipway"

_NOT_SEEN = Level(1, "stated afterwards, when nothing shows that the process that trained could not reach it")

_OTHERWISE_SAID = {"outputs", "created", "run_id"}


def subjects(evidence: Evidence) -> dict[str, tuple[str, str]]:
    """What each statement is about, a name and SHA-256, in the order of the work; compression only where there was some."""
    baseline, shipped = evidence.proof.baseline.sha256, evidence.model_sha256
    made = {
        "prepare": (f"rows of {evidence.model}", evidence.fingerprint),
        "train": ("checkpoint", evidence.checkpoint_sha256),
        "export": (MODEL if baseline == shipped else f"fp32 {MODEL}", baseline),
        "compress": (MODEL, shipped),
        TESTS: (MODEL, shipped),
        "decide": (MODEL, shipped),
    }
    return {name: about for name, about in made.items() if name != "compress" or baseline != shipped}


def state(
    evidence: Evidence, evidence_sha256: str, afterwards: datetime.datetime | None = None
) -> dict[str, Statement]:
    """Every statement by its name; `afterwards`: when they are made, of a version that was made without."""
    said: dict[str, Statement] = {}
    reach = level() if afterwards is None else _NOT_SEEN
    for name, (what, sha256) in subjects(evidence).items():
        about = [artifact(what, sha256)]
        if name == TESTS:
            said[name] = test_results(evidence, about, evidence_sha256)
            continue
        before = [artifact(f"statement {step}", digest_of(each)) for step, each in said.items()]
        definition = {
            "buildType": f"{_TOOL}#{name}",
            "externalParameters": _asked(name, evidence),
            "internalParameters": _ran(name, evidence, afterwards, reach),
            "resolvedDependencies": [*_went_in(name, evidence), *before, *_code(evidence)],
        }
        details = {
            "builder": {"id": _TOOL, "version": dict(evidence.libraries)},
            "metadata": _metadata(name, evidence),
            "byproducts": [*_came_out(name, evidence, evidence_sha256)],
        }
        said[name] = statement(PROVENANCE, about, {"buildDefinition": definition, "runDetails": details})
    return said


def missing(evidence: Evidence) -> tuple[str, ...]:
    """What statements do not say because the evidence of their time did not, in words."""
    lacking = {
        "the digest of the lock": evidence.code.lock is None,
        "the revision of Slipway's code": evidence.code.revision is None,
        "the digest of the definitions that the run rests on": evidence.definitions is None,
        "the recipe of the picked file": evidence.recipe is None and "compress" in subjects(evidence),
    }
    return tuple(what for what, lacks in lacking.items() if lacks)


def artifact(name: str, sha256: str, **annotations: Any) -> dict[str, Any]:
    """One of in-toto's resource descriptors."""
    noted = {key: value for key, value in annotations.items() if value is not None}
    return {"name": name, "digest": {"sha256": sha256}} | ({"annotations": noted} if noted else {})


def _asked(name: str, evidence: Evidence) -> dict[str, Any]:
    """What whoever started the run could choose."""
    knobs = {"prepare": ("data",), "train": ("model", "train"), "export": ("model",), "decide": ("gates",)}
    recipe = {"recipe": evidence.recipe or {"name": evidence.picked}} if name == "compress" else {}
    chosen = {knob: evidence.config.get(knob) for knob in knobs.get(name, ())}
    return {"workload": evidence.workload} | chosen | recipe


def _ran(name: str, evidence: Evidence, afterwards: datetime.datetime | None, reach: Level) -> dict[str, Any]:
    steps = [
        {"name": step.name, "seconds": step.seconds, "reused": step.cached}
        for step in evidence.times
        if step.name.split(" ")[0] == name
    ]
    ran: dict[str, Any] = {
        "machine": evidence.machine,
        "run": evidence.run_id,
        "key": evidence.key,
        "definitions": evidence.definitions,
        "steps": steps,
        "slsaBuildLevel": reach.number,
        "signer": reach.why,
        "statedAfterwards": afterwards.isoformat(timespec="seconds") if afterwards else None,
    }
    if name == "decide":
        ran |= {"evidence": _plain(evidence), "report": _plain(evidence.proof.report)}
        ran["verdict"] = {
            "decision": evidence.decision,
            "reasons": [*evidence.proof.verdict.reasons, *evidence.remarks],
        }
    return {key: value for key, value in ran.items() if value not in (None, [])}


def _went_in(name: str, evidence: Evidence) -> Iterator[dict[str, Any]]:
    """What the step was given, of other steps and from outside."""
    rows, checkpoint, fp32 = (artifact(*subjects(evidence)[step]) for step in ("prepare", "train", "export"))
    recipe = evidence.recipe or {}
    if name == "train":
        yield rows
        for material in evidence.materials:
            yield artifact(material.name, material.sha256, licence=material.licence or "not stated")
    elif name == "export":
        yield checkpoint
    elif name == "compress":
        yield from (rows, checkpoint, fp32)
        if any(step.get("teacher") for step in recipe.get("steps", ())):
            yield artifact("teacher", evidence.checkpoint_sha256, role="its answers were learned from too")
    elif name == "decide":
        yield artifact("gates", policy_digest(evidence.config.get("gates", {})))
        comparison = evidence.proof.comparison
        if comparison is not None and comparison.sha256:
            yield artifact(f"champion {MODEL}", comparison.sha256, version=str(comparison.champion))


def _code(evidence: Evidence) -> Iterator[dict[str, Any]]:
    code, origin = evidence.code, evidence.origin
    if code.revision is not None:
        noted = {"annotations": {"uncommittedChanges": code.dirty}}
        yield {"name": "slipway", "digest": {"gitCommit": code.revision}} | noted
    if code.lock is not None:
        yield artifact("requirements.lock", code.lock)
    if origin is not None:
        digest = {"gitCommit": origin.commit, "sha256": origin.bundle}
        address = {"uri": origin.repository} if origin.repository else {}
        yield {
            "name": f"workload {evidence.workload}",
            "digest": {kind: value for kind, value in digest.items() if value},
            "annotations": {"origin": str(origin), "clean": origin.clean, "changes": origin.changes},
        } | address


def _metadata(name: str, evidence: Evidence) -> dict[str, Any]:
    ended = {"finishedOn": moment(evidence.created)} if name == "decide" else {}
    return {"invocationId": evidence.run_id} | ended


def _came_out(name: str, evidence: Evidence, evidence_sha256: str) -> Iterator[dict[str, Any]]:
    if name == "prepare":
        yield {"name": "splits", "annotations": dict(evidence.rows)}
    if name == "decide":
        yield artifact("evidence.json", evidence_sha256)
        for report in evidence.candidates:
            why = evidence.losers.get(report.name)
            yield artifact(f"candidate {report.name}", report.sha256, picked=why is None, lostBecause=why)


def _plain(record: Any) -> Mapping[str, Any]:
    """All of a record's plain values, also those that this page does not know of."""
    values = json.loads(record.model_dump_json(exclude=_OTHERWISE_SAID))
    return {name: value for name, value in values.items() if isinstance(value, str | int | float)}


def moment(at: datetime.datetime) -> str:
    """As protobuf's JSON has a time."""
    return at.astimezone(datetime.UTC).isoformat().replace("+00:00", "Z")
