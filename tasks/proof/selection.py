"""Reports → the Pareto front and the pick, with each loser's reason in words. Pure: numbers in, numbers out."""

from collections.abc import Iterable, Iterator, Sequence
from math import isfinite, log
from operator import ge

from tasks.config import Gates
from tasks.measured import Interval, Report, latency, speed_up
from tasks.outcome import CandidateResult, Selection
from tasks.proof.gate import beside_others
from tasks.records import Candidate

_NOISE = 0.03
"""Latency ratios and sizes closer than this count as equal: a rerun would swap them."""


def select(reports: Sequence[Report], candidates: Iterable[Candidate], gates: Gates) -> Selection:
    """Pick what ships, from reports on the validation split (fp32's among them) and the candidates that were not made.

    A candidate is refused for a problem its report names, for losing more score than the gate allows, for being surely
    slower than fp32 at any batch size measured, or for its size. Of the rest, those that no other beats in score,
    latency and size are the front, of which the best by what is preferred is picked (`Gates.prefer`).
    """
    fp32 = next(report for report in reports if report.name == "fp32")
    reasons = {report.name: tuple(_refusals(report, fp32, gates)) for report in reports}
    sound = [report for report in reports if not reasons[report.name]] or [fp32]
    front = [report for report in sound if _beaten_by(report, sound) is None]
    picked = _preferred(front, gates.prefer)
    results = [_result(report, fp32, reasons[report.name], sound, picked) for report in reports]
    not_made = [
        CandidateResult(
            name=candidate.name,
            status="refused",
            engine=candidate.engine.name,
            precision=candidate.engine.precision,
            reasons=(candidate.refused or "was not made",),
        )
        for candidate in candidates
        if candidate.refused is not None
    ]
    return Selection(
        picked=picked.name,
        reason=_why(picked, fp32, sound, front, len(results) + len(not_made), gates.prefer),
        candidates=(*results, *not_made),
    )


def worth_another_engine(reports: Sequence[Report], gates: Gates) -> list[str]:
    """The candidates whose files are tried in another engine: fp32, the front, and 8-bit ones that speed alone keeps out."""
    standing = {result.name: result for result in select(reports, (), gates).candidates}
    sound = [report for report in reports if standing[report.name].status != "refused"]

    def kept_out_by_speed(report: Report) -> bool:
        """Also where one of about the same size beats it: static 8 bits lose to dynamic ones in ONNX Runtime, and win elsewhere."""
        if standing[report.name].status == "refused":
            return standing[report.name].reasons == tuple(_slowness(report, gates))
        smaller = [other for other in sound if other.size_bytes < report.size_bytes * (1 - 3 * _NOISE)]
        return _beaten_by(report, smaller) is None

    return [
        report.name
        for report in reports
        if report.name == "fp32"
        or standing[report.name].status in ("picked", "front")
        or (report.engine.precision == "int8" and kept_out_by_speed(report))
    ]


def _refusals(report: Report, fp32: Report, gates: Gates) -> Iterator[str]:
    """What keeps a candidate out, in words with numbers; fp32 itself is only held to what its report names."""
    yield from report.problems
    yield from beside_others(report, gates)
    if gates.max_size_mb is not None and report.size_bytes > gates.max_size_mb * 1e6:
        yield f"is {report.size_bytes / 1e6:.2f} MB, over the {gates.max_size_mb:g} MB allowed"
    if report.name == fp32.name:
        return
    drop = fp32.score - report.score
    if not isfinite(report.score) or drop > gates.max_score_drop + 1e-12:
        yield (
            f"{report.score_name} {report.score:.4f} is {_points(drop, fp32.score)} below fp32's {fp32.score:.4f}, "
            f"over the {_points(gates.max_score_drop, fp32.score)} allowed"
        )
    yield from _lost_goals(report, fp32, gates)
    yield from _slowness(report, gates)


def _slowness(report: Report, gates: Gates) -> Iterator[str]:
    allowed = "" if gates.max_latency_ratio == 1 else f", over the {gates.max_latency_ratio:g}× allowed"
    for speed in report.speed:
        if 1 / speed.interval.high > gates.max_latency_ratio:
            yield (
                f"takes {speed.latency_ratio:.2f}× fp32's time at batch {speed.batch} "
                f"({1 / speed.interval.high:.2f}–{1 / speed.interval.low:.2f}){allowed}"
            )


def _lost_goals(report: Report, fp32: Report, gates: Gates) -> Iterator[str]:
    """Of the goals that pick nothing."""
    for ours, theirs in zip(report.others, fp32.others, strict=False):
        if ours.score is None or theirs.score is None or theirs.score - ours.score > gates.max_score_drop:
            mine, its = (
                "not defined" if value is None else f"{value:.4f}" for value in (ours.score, theirs.score)
            )
            yield (
                f"{ours.goal}: {ours.score_name} {mine} is below fp32's {its} by more than the "
                f"{_points(gates.max_score_drop, theirs.score)} allowed"
            )


def _beaten_by(report: Report, others: Sequence[Report]) -> Report | None:
    """Another that is nowhere worse and somewhere better."""
    mine = _merits(report)
    for other in others:
        if (theirs := _merits(other)) != mine and all(map(ge, theirs, mine)):
            return other
    return None


def _merits(report: Report) -> tuple[float, int, int]:
    """Score, speed and smallness, each better when higher; the measured ones in steps of the noise."""
    return report.score, -_step(latency(report)), -_step(report.size_bytes)


def _step(value: float) -> int:
    return round(log(value) / log(1 + _NOISE))


_MERIT: dict[str, tuple[str, str]] = {
    "speed": ("speed", "is faster"),
    "size": ("size", "is smaller"),
    "score": ("score", "scores higher"),
    "balanced": ("speed and size alike", "gains more in speed and size"),
}
"""What each preference is for, and what none that lost to fp32 does, in words."""


def _preferred(front: Sequence[Report], prefer: str) -> Report:
    """Of those that are equal but for noise, the one that is better in the rest."""
    if prefer == "score":
        return max(front, key=lambda report: (report.score, -latency(report) * report.size_bytes))
    costs = [_cost(report, prefer) for report in front]
    near = [r for r, cost in zip(front, costs, strict=True) if cost <= min(costs) * (1 + 2 * _NOISE)]
    return min(near, key=lambda report: (latency(report) * report.size_bytes, -report.score))


def _cost(report: Report, prefer: str) -> float:
    """Time, size, or both: half the one is then worth double the other."""
    time = 1.0 if prefer == "size" else latency(report)
    return time if prefer == "speed" else time * report.size_bytes


def _result(
    report: Report, fp32: Report, reasons: tuple[str, ...], sound: Sequence[Report], picked: Report
) -> CandidateResult:
    beaten = _beaten_by(report, sound)
    if report is picked:
        status, reasons = "picked", ()
    elif reasons:
        status = "refused"
    elif beaten is not None:
        status, reasons = "dominated", (f"{beaten.name} beats it: {_against(beaten, report)}",)
    else:
        status, reasons = "front", (f"{picked.name} is preferred: {_against(picked, report)}",)
    return CandidateResult(
        name=report.name,
        status=status,
        engine=report.engine.name,
        precision=report.engine.precision,
        score=report.score,
        score_drop=fp32.score - report.score,
        size_bytes=report.size_bytes,
        latency_ratio=latency(report),
        throughput_ratio=1 / latency(report),
        reasons=reasons,
    )


def _against(report: Report, other: Report, spread: Interval | None = None) -> str:
    """How a candidate compares with another, in words: "1.80× (1.71–1.92) as fast, 27% of the size, score −0.10 pt"."""
    speed = latency(other) / latency(report)
    between = "" if spread is None else f" ({spread.low:.2f}–{spread.high:.2f})"
    parts = [f"{speed:.2f}×{between} as fast", f"{report.size_bytes / other.size_bytes:.0%} of the size"]
    parts.append(f"{report.score_name} {_points(report.score - other.score, other.score, sign='+')}")
    return ", ".join(parts)


def _why(
    picked: Report, fp32: Report, sound: Sequence[Report], front: Sequence[Report], count: int, prefer: str
) -> str:
    purpose, better = _MERIT[prefer]
    if picked.name != fp32.name:
        others = [report for report in front if report.name != fp32.name]
        chosen = f"; of {len(others)} the one for {purpose}" if len(others) > 1 else ""
        return f"{picked.name}: {_against(picked, fp32, speed_up(picked))}{chosen}"
    if count == 1:
        return "fp32: nothing else was tried"
    if len(sound) > 1:
        return f"fp32: no candidate within the gates {better}"
    return "fp32: no candidate is within the gates"


def _points(value: float, of: float | None, sign: str = "") -> str:
    """A difference in points where scores are shares, else in the score's own unit, as degrees are."""
    shares = of is None or not of < 0 and not of > 1
    return f"{value * 100:{sign}.2f} pt" if shares else f"{value:{sign}.4g}"
