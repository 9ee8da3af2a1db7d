"""What was measured → in-toto's test results: each test passed, warned or failed, as the gate says pass, inconclusive or fail."""

import json
from collections.abc import Iterator, Sequence
from typing import Any

from tasks.config import Gates
from tasks.measured import Proof, Verdict, latency
from tasks.proof.evidence import EVIDENCE, Evidence
from tasks.proof.gate import Decision, concerns, with_folds
from tasks.proof.permit import policy_digest
from tasks.system.envelope import statement

RESULTS = "https://in-toto.io/attestation/test-result/v0.1"

_WORDS: dict[str, str] = {"pass": "PASSED", "inconclusive": "WARNED", "fail": "FAILED"}

_WORST: tuple[Decision, ...] = ("pass", "inconclusive", "fail")


def test_results(
    evidence: Evidence, subject: Sequence[dict[str, Any]], evidence_sha256: str
) -> dict[str, Any]:
    """One statement of every test that was made; one that was not is in no list."""
    gates, proof = evidence.config.get("gates", {}), evidence.proof
    said = judged(proof, Gates.model_validate(gates))
    lists = {
        f"{word.lower()}Tests": [test for test, each in said.items() if worst(each) == decision]
        for decision, word in _WORDS.items()
    }
    measured = dict(_measured(proof))
    tests = [
        {
            "name": test,
            "annotations": {"reasons": [reason for _, reason in each], "measured": measured.get(test)},
        }
        for test, each in said.items()
    ]
    configuration = [
        {"name": "gates", "digest": {"sha256": policy_digest(gates)}, "annotations": dict(gates)},
        {"name": EVIDENCE, "digest": {"sha256": evidence_sha256}},
        *tests,
    ]
    predicate = {"result": _WORDS[evidence.decision], "configuration": configuration}
    return statement(RESULTS, subject, predicate | lists)


def worst(said: Sequence[tuple[Decision, str]]) -> Decision:
    return max((decision for decision, _ in said), key=_WORST.index, default="pass")


def judged(proof: Proof, gates: Gates) -> dict[str, list[tuple[Decision, str]]]:
    """What the gate finds, by the test that it is about; nothing found is a pass."""
    said: dict[str, list[tuple[Decision, str]]] = {test: [] for test, _ in _measured(proof)}
    found = concerns(
        proof.report,
        proof.baseline,
        proof.against_fp32,
        proof.comparison,
        proof.trial,
        gates,
        proof.others_against_fp32,
        proof.in_onnxruntime,
        proof.in_onnxruntime_against_fp32,
    )
    for test, decision, reason in found:
        said.setdefault(test, []).append((decision, reason))
    if proof.report.speed and (ratio := latency(proof.report)) > gates.max_latency_ratio:
        if proof.report.sha256 != proof.baseline.sha256:
            reason = f"{ratio:.2f} of fp32's latency on the test rows, above {gates.max_latency_ratio:g}"
            said["speed"].append(("inconclusive", reason))
    if (cross := proof.cross_validation) is not None:
        verdict = with_folds(Verdict(decision="pass", reasons=()), cross, gates)
        said["cross-validation"] = [(verdict.decision, verdict.reasons[0])]
    return said


def _measured(proof: Proof) -> Iterator[tuple[str, Any]]:
    """The numbers of each test that was made."""
    report = json.loads(proof.report.model_dump_json())
    for test, names in _TESTS.items():
        numbers = {name: report[name] for name in names if report[name] not in (None, [])}
        if numbers:
            yield test, numbers
    if proof.trial is not None:
        yield "sea trial", json.loads(proof.trial.model_dump_json())
    if proof.cross_validation is not None:
        yield "cross-validation", json.loads(proof.cross_validation.model_dump_json())


_TESTS: dict[str, tuple[str, ...]] = {
    "parity": ("parity",),
    "score": ("score", "score_name", "interval", "rows", "split", "others", "details"),
    "slices": ("slices",),
    "speed": ("speed",),
    "company": ("company",),
}
"""Which fields of a report a test's numbers are."""
