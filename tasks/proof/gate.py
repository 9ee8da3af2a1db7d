"""Measurements and gates in, a verdict out. Pure: no files, no clock, no registry."""

from collections.abc import Iterator, Sequence
from typing import Literal

from tasks.config import Gates
from tasks.measured import (
    Comparison,
    CrossValidation,
    Interval,
    OtherDifference,
    Proof,
    Report,
    ServingCheck,
    SliceDifference,
    Verdict,
)

Decision = Literal["pass", "fail", "inconclusive"]

Concern = Literal["parity", "score", "slices", "company", "size", "signature", "sea trial"]

_UNDEFINED = 0.01
"""The share of the resamples on which a score may have no value."""


def gate(
    report: Report,
    baseline: Report,
    against_fp32: Interval | None,
    comparison: Comparison | None,
    trial: ServingCheck | None,
    gates: Gates,
    others: Sequence[OtherDifference] = (),
    in_onnxruntime: Report | None = None,
    its_against_fp32: Interval | None = None,
) -> Verdict:
    """Whether the challenger may serve. `pass` promotes by itself; `inconclusive` needs a person; `fail` does not serve.

    Against the champion: pass when the whole interval of the difference lies above −margin, fail when it lies below
    zero with its middle beyond the margin, and inconclusive between. No champion: the absolute gates alone. Each further
    goal must not lose more than the margin, against the champion and (`others`) against fp32. `in_onnxruntime`: the same bytes
    there, which serve where the engine cannot be had; None where these are fp32's. `its_against_fp32`: of their score less fp32's.
    """
    reasons: dict[Decision, list[str]] = {"fail": [], "inconclusive": [], "pass": []}
    found = concerns(
        report, baseline, against_fp32, comparison, trial, gates, others, in_onnxruntime, its_against_fp32
    )
    for _, decision, reason in found:
        reasons[decision].append(reason)
    decision = next((word for word in reasons if reasons[word]), "pass")
    if decision == "fail":
        reasons["pass"].clear()
    said = [*reasons["fail"], *reasons["inconclusive"], *reasons["pass"]]
    said.insert(0 if decision == "pass" else len(said), _score_reason(report, gates))  # the best comes first
    return Verdict(
        decision=decision,
        reasons=tuple(said),
        difference=comparison.difference if comparison else None,
        interval=comparison.interval if comparison else None,
        new_signature=comparison.new_signature if comparison else None,
        more_rows=more_rows(comparison, gates) if comparison and decision == "inconclusive" else None,
    )


def concerns(
    report: Report,
    baseline: Report,
    against_fp32: Interval | None,
    comparison: Comparison | None,
    trial: ServingCheck | None,
    gates: Gates,
    others: Sequence[OtherDifference] = (),
    in_onnxruntime: Report | None = None,
    its_against_fp32: Interval | None = None,
) -> Iterator[tuple[Concern, Decision, str]]:
    """All that the gate finds of a challenger: what about, what follows from it, and why."""
    yield from (("parity", "fail", problem) for problem in report.problems)
    yield from (("company", "fail", reason) for reason in beside_others(report, gates))
    yield from _below_minimum(report, gates)
    yield from (("sea trial", "fail", problem) for problem in (trial.problems if trial else ()))
    yield from _without_its_engine(report, in_onnxruntime or baseline, baseline, its_against_fp32, gates)
    yield from (("parity", "inconclusive", finding) for finding in report.findings)
    yield from (("score", "inconclusive", reason) for reason in _undefined(report))
    yield from (("score", *each) for each in _beside_fp32(report, baseline, against_fp32, gates))
    yield from _beside_champion(comparison, gates)
    yield from (("score", *each) for each in _other_goals(others, "fp32", gates.max_score_drop))


def _without_its_engine(
    report: Report, plain: Report, baseline: Report, against_fp32: Interval | None, gates: Gates
) -> Iterator[tuple[Concern, Decision, str]]:
    """What is wrong with the same bytes in ONNX Runtime."""
    if report.engine.is_always_there:
        return
    found: list[tuple[Concern, Decision, str]]
    found = [("parity", "fail", lack) for lack in (*plain.problems, *beside_others(plain, gates))]
    found += [each for each in _below_minimum(plain, gates) if each[0] == "score"]
    found += [("score", *each) for each in _beside_fp32(plain, baseline, against_fp32, gates)]
    for concern, decision, lack in found:
        yield concern, decision, f"in ONNX Runtime, where its engine cannot be had: {lack}"


def with_folds(verdict: Verdict, cross: CrossValidation, gates: Gates) -> Verdict:
    """The verdict with a cross-validated score: surely below the minimum is a failure, unsurely above it a doubt."""
    decision, reason = verdict.decision, cross.describe()
    if gates.min_score is not None and cross.interval is not None:
        if cross.interval.high < gates.min_score:
            decision, reason = "fail", f"{reason}, surely below the minimum of {gates.min_score:g}"
        elif cross.interval.low < gates.min_score:
            decision = "fail" if decision == "fail" else "inconclusive"
            reason = (
                f"{reason}: these rows cannot tell whether it is above the minimum of {gates.min_score:g}"
            )
    return verdict.model_copy(update={"decision": decision, "reasons": (*verdict.reasons, reason)})


def with_cross_validation(proof: Proof, cross: CrossValidation, gates: Gates) -> Proof:
    """The proof with the cross-validation in it, and the verdict that follows from both."""
    verdict = with_folds(proof.verdict, cross, gates)
    return proof.model_copy(update={"verdict": verdict, "cross_validation": cross})


def more_rows(comparison: Comparison, gates: Gates) -> int | None:
    """About how many further rows would make the interval narrow enough to decide; None when hardly any number would.

    An interval's width falls with the square root of the rows.
    """
    interval, difference = comparison.interval, comparison.difference
    if interval is None or difference is None:
        return None
    if difference >= -gates.margin:
        reach, room = difference - interval.low, difference + gates.margin
    else:
        reach, room = interval.high - difference, -difference
    if reach <= 0 or room <= reach / 30:
        return None
    wanted = comparison.rows * max(1.0, (reach / room) ** 2)
    return max(1, round(wanted - comparison.rows)) if wanted > comparison.rows else None


def beside_others(report: Report, gates: Gates) -> Iterator[str]:
    """Why the gate does not let a file through that answers a row by its neighbours."""
    company = report.company
    if company is not None and company.changed > gates.max_company_change:
        yield (
            f"{company.changed:.1%} of {company.rows} rows are answered otherwise when other rows come with them, "
            f"over the {gates.max_company_change:.1%} allowed (gates.max_company_change): dynamic quantisation and normalisation over a "
            "batch do that, static quantisation does not"
        )


def _undefined(report: Report) -> Iterator[str]:
    """Why an interval is of too few resamples to rest on."""
    if report.interval is not None and report.interval.undefined > _UNDEFINED:
        yield (
            f"{report.score_name} is not defined in {report.interval.undefined:.0%} of the resamples (a target that is nearly constant, "
            "or one class alone): use more rows, or leave that target out"
        )


def _below_minimum(report: Report, gates: Gates) -> Iterator[tuple[Concern, Decision, str]]:
    if gates.min_score is not None and report.score < gates.min_score:
        reason = f"{report.score_name} {report.score:.4f} is below the minimum of {gates.min_score:g}"
        yield "score", "fail", reason
    if gates.max_size_mb is not None and report.size_bytes > gates.max_size_mb * 1e6:
        yield (
            "size",
            "fail",
            f"the file has {report.size_bytes / 1e6:.2f} MB, more than {gates.max_size_mb:g}",
        )


def _beside_fp32(
    report: Report, baseline: Report, interval: Interval | None, gates: Gates
) -> Iterator[tuple[Decision, str]]:
    """Selection held the pick to this on validation rows; fewer test rows may show a larger drop by chance."""
    if (drop := baseline.score - report.score) <= gates.max_score_drop:
        return
    reason = f"{report.score_name} is {drop:.4f} below fp32's, more than the {gates.max_score_drop:g} allowed"
    if interval is None or interval.high < 0:
        yield "fail", reason
    else:
        chance = f"which these {report.rows} rows cannot tell from chance ({interval.describe('+.4f')})"
        yield "pass", f"{reason}, {chance}"


def _beside_champion(comparison: Comparison | None, gates: Gates) -> Iterator[tuple[Concern, Decision, str]]:
    if comparison is None:
        yield "score", "pass", "there is no champion to compare with"
        return
    if comparison.new_signature is not None:
        told = f"tell whoever asks champion v{comparison.champion}, and promote with --new-signature"
        yield "signature", "inconclusive", f"{comparison.new_signature}: {told}"
    if comparison.problem is not None:
        reason = f"champion v{comparison.champion} could not be compared: {comparison.problem}"
        yield "score", "inconclusive", reason
        return
    yield "score", *_on_all_rows(comparison, gates)
    champion = f"champion v{comparison.champion}"
    yield from (("score", *each) for each in _other_goals(comparison.others, champion, gates.margin))
    for group in comparison.slices:
        if _is_worse(group.difference, group.interval, gates.slice_margin):
            yield "slices", "fail", _slice_reason(group)
        elif group.difference < -gates.slice_margin:
            yield "slices", "inconclusive", f"{_slice_reason(group)}, though not for certain"


def _other_goals(
    others: Sequence[OtherDifference], whose: str, margin: float
) -> Iterator[tuple[Decision, str]]:
    """Of goals that pick nothing: surely worse by more than the margin is a failure, perhaps worse a doubt."""
    for other in others:
        if other.difference >= -margin:
            continue
        reason = f"{other.goal}: {other.score_name} is {-other.difference:.4f} below {whose}'s, more than the {margin:g} allowed"
        if other.interval is not None and _is_worse(other.difference, other.interval, margin):
            yield "fail", f"{reason} ({other.interval.describe('+.4f')})"
        else:
            yield "inconclusive", f"{reason}, though not for certain"


def _on_all_rows(comparison: Comparison, gates: Gates) -> tuple[Decision, str]:
    """How much better or worse, how sure, and what follows."""
    champion, rows = f"champion v{comparison.champion}", comparison.rows
    difference, interval = comparison.difference, comparison.interval
    if difference is None or interval is None:
        return "inconclusive", f"the score's interval against {champion} is not defined on {rows} rows"
    known = f"; {comparison.classes}" if comparison.classes else ""
    size = (
        f"{abs(difference):.4f} {'worse' if difference < 0 else 'better'} than {champion} "
        f"on the same {rows} rows ({interval.describe('+.4f')}{known})"
    )
    if interval.low >= -gates.margin:
        return "pass", f"{size}: not worse by more than the margin of {gates.margin:g}"
    if _is_worse(difference, interval, gates.margin):
        return "fail", f"{size}: worse by more than the margin of {gates.margin:g}"
    hint = "it lies so near the margin that more rows will not decide"
    if more := more_rows(comparison, gates):
        hint = f"about {more} more test rows would decide"
    doubt = f"these rows cannot tell whether it is worse by more than {gates.margin:g}"
    return "inconclusive", f"{size}: {doubt}; {hint}"


def _is_worse(difference: float, interval: Interval, margin: float) -> bool:
    return interval.high < 0 and difference < -margin


def _slice_reason(group: SliceDifference) -> str:
    return f"{group.column}={group.value} is worse by {-group.difference:.4f} on {group.rows} rows ({group.interval.describe('+.4f')})"


def _score_reason(report: Report, gates: Gates) -> str:
    interval = f" ({report.interval.describe()})" if report.interval else ""
    minimum = f", at least {gates.min_score:g} is asked" if gates.min_score is not None else ""
    return f"{report.score_name} {report.score:.4f}{interval} on {report.rows} {report.split} rows{minimum}"
