"""What is measured of a candidate's file, what comes of comparing it, and the verdict: records that evidence holds."""

from math import prod
from pathlib import Path
from typing import Any, Literal

from pydantic import Field

from tasks.engines import Engine
from tasks.records import Fitted
from tasks.system.frozen import Frozen


class Interval(Frozen):
    """A confidence interval; `f"{interval:+.4f}"` is `-0.0123 to +0.0045`."""

    low: float
    high: float
    level: float
    undefined: float = Field(0.0, description="The share of the resamples on which there is no such number.")

    def __format__(self, spec: str) -> str:
        return f"{self.low:{spec}} to {self.high:{spec}}"

    def describe(self, spec: str = ".4f") -> str:
        """`95% interval 0.9012 to 0.9345`."""
        return f"{100 * self.level:.4g}% interval {self:{spec}}"


class Slice(Frozen):
    """A group of rows scored by itself."""

    column: str
    value: str
    rows: int
    score: float | None = Field(description="None when the score is not defined on these rows.")


class Parity(Frozen):
    """How far an ONNX file is from the torch model on real rows, at one batch size."""

    batch: int
    max_abs: float
    mean_abs: float
    changed: float = Field(description="Share of rows whose predicted class differs; 0 for regression.")
    sizes: str = Field(
        "", description="Further axes when they were shortened, such as: length=12; then against fp32."
    )


class OtherScore(Frozen):
    """A further goal's score on the same rows; it picks nothing, and must not be lost."""

    goal: str = Field(description="In words, such as: regression of 'weight'.")
    score: float | None
    score_name: str
    interval: Interval | None = None


class Detail(Frozen):
    """What a goal says beside its score, on the same rows; nothing is judged by it."""

    goal: str
    name: str = Field(description="Such as: mase, coverage of 0.8, mae by step.")
    values: tuple[float | None, ...] = Field(description="One number, or one for each step.")
    interval: Interval | None = Field(None, description="Of one number, by bootstrap over the rows.")


class OtherDifference(Frozen):
    """A further goal's score less another file's, on the same rows."""

    goal: str
    score_name: str
    difference: float
    interval: Interval | None = None


class Company(Frozen):
    """How far answers hang on the rows beside them: the same rows alone, in other batches and in another order."""

    rows: int
    max_abs: float = Field(description="Largest difference from the same row's outputs alone.")
    changed: float = Field(description="Share of rows that are answered otherwise in some company.")


class Speed(Frozen):
    """How fast a file is at one batch size, by itself and against fp32 in the same process."""

    batch: int
    p50_ms: float
    p95_ms: float
    rows_per_second: float
    latency_ratio: float = Field(description="Median over paired rounds; below 1 is faster than fp32.")
    throughput_ratio: float = Field(description="Above 1 is faster than fp32.")
    interval: Interval = Field(description="Of throughput_ratio.")
    rounds: int


class Behaviour(Frozen):
    """What a file does with input that nobody hopes for; recorded, not judged."""

    given: str = Field(description="Such as: NaN everywhere, no rows.")
    outcome: str


class Report(Frozen):
    """What was measured of one candidate on one split."""

    name: str
    split: Literal["validation", "test"]
    rows: int
    score: float
    score_name: str
    interval: Interval | None = Field(None, description="Of the score, by bootstrap over the rows.")
    others: tuple[OtherScore, ...] = Field((), description="Of each further goal.")
    details: tuple[Detail, ...] = Field((), description="What goals say beside their scores.")
    fitted: tuple[Fitted, ...] = Field((), description="What the decision in this file was fitted to.")
    sha256: str = Field(description="Of the file that was measured.")
    engine: Engine = Field(Engine(), description="What ran it, in everything that this says.")
    size_bytes: int
    gzipped_bytes: int | None = None
    load_seconds: float | None = Field(None, description="To make a session by path in a fresh process.")
    peak_bytes: int | None = Field(
        None, description="Resident memory of that process after the largest batch."
    )
    speed: tuple[Speed, ...] = Field((), description="Against fp32 in ONNX Runtime.")
    promise: tuple[Speed, ...] = Field(
        (),
        description="Of a proof: against ONNX Runtime on the same bytes; none where that is what ran them.",
    )
    parity: tuple[Parity, ...] = ()
    company: Company | None = None
    findings: tuple[str, ...] = Field((), description="What tracing may have frozen: a person has to look.")
    slices: tuple[Slice, ...] = ()
    behaviour: tuple[Behaviour, ...] = ()
    outputs: Path | None = Field(
        None, description="The file's outputs on all rows of the split, by name (.npz)."
    )
    problems: tuple[str, ...] = Field((), description="What a gate must refuse, in words.")


class SliceDifference(Frozen):
    """Challenger less champion on one group of rows."""

    column: str
    value: str
    rows: int
    difference: float
    interval: Interval = Field(
        description="Wider than the overall one: its level is corrected for the number of slices."
    )


class Champion(Frozen):
    """The serving version's own bytes, downloaded."""

    version: int
    sha256: str = Field(description="As it was registered; empty for a version that Slipway did not make.")
    folder: Path


class Comparison(Frozen):
    """Challenger and champion on the same rows, by the champion's own bytes."""

    champion: int = Field(description="The champion's version.")
    sha256: str = Field(description="Of the champion's file.")
    rows: int
    score: float | None = Field(description="The champion's, on these rows; None when it could not be asked.")
    difference: float | None = None
    interval: Interval | None = None
    changed: float | None = Field(
        None, description="Share of rows whose prediction differs from the champion's."
    )
    slices: tuple[SliceDifference, ...] = ()
    others: tuple[OtherDifference, ...] = Field((), description="Of each further goal.")
    classes: str | None = Field(None, description="Which classes only one of the two knows, in words.")
    problem: str | None = Field(None, description="Why the champion could not be scored on these rows.")
    new_signature: str | None = Field(
        None, description="What is taken or given otherwise than the champion does."
    )


class ServingCheck(Frozen):
    """The sea trial: the real server on these very bytes, asked over HTTP."""

    requests: int
    rows: int
    max_abs: float = Field(description="Largest difference from ONNX Runtime in process.")
    single_p50_ms: float
    single_p95_ms: float
    batch: int
    batch_p50_ms: float
    peak_bytes: int = Field(description="Resident memory of the server's processes.")
    start_seconds: float
    problems: tuple[str, ...] = ()


class Verdict(Frozen):
    """What the gate says, and why."""

    decision: Literal["pass", "fail", "inconclusive"]
    reasons: tuple[str, ...]
    difference: float | None = Field(
        None, description="Challenger's score less the champion's, on the same rows."
    )
    interval: Interval | None = None
    new_signature: str | None = Field(
        None, description="What clients of the champion have to be told before this version serves."
    )
    more_rows: int | None = Field(
        None, description="About how many more test rows would decide, if more would."
    )


class CrossValidation(Frozen):
    """The score over all rows, each predicted by a training that did not see it: how good such a training is."""

    folds: int
    rows: int
    score: float
    score_name: str
    interval: Interval | None = Field(None, description="By bootstrap over the rows.")
    scores: tuple[float, ...] = Field(description="Of each fold that has one.")

    def describe(self) -> str:
        """The score, how sure it is and how much the folds differ, in one phrase."""
        between = f" ({self.interval.describe()})" if self.interval else ""
        spread = f" from {min(self.scores):.4f} to {max(self.scores):.4f}" if self.scores else ""
        return f"cross-validated {self.score_name} {self.score:.4f}{between} on all {self.rows} rows, {self.folds} folds{spread}"


class TriedTraining(Frozen):
    """A training that a search tried: what it set, and how good that was on the validation rows."""

    name: str = Field(description="Its number, from 000.")
    knobs: dict[str, Any]
    state: Literal["finished", "ended early", "failed"]
    why: str = Field(description="Why it ended.")
    scores: tuple[float | None, ...] = Field(
        description="The validation score after each epoch; None where there is none."
    )
    score: float | None = Field(description="The best of them; None when it failed.")
    run_id: str | None = Field(None, description="The MLflow run with its curve.")
    cpu_seconds: float
    wall_seconds: float
    began: float = Field(0.0, description="When, in seconds since 1970.")

    @property
    def rank(self) -> tuple[bool, float]:
        """By which the better comes after the worse: what came to its end, by its score."""
        return self.state == "finished", float("-inf") if self.score is None else self.score

    @property
    def set(self) -> str:
        """`train.lr=0.003, model=wide`."""
        return ", ".join(f"{name}={value}" for name, value in self.knobs.items())


class Searched(Frozen):
    """All trainings that were tried before one of them was chosen, by validation rows alone."""

    trainings: tuple[TriedTraining, ...]
    chosen: str
    ended: str = Field(description="Why no more were tried.")

    @property
    def choice(self) -> TriedTraining:
        return next(tried for tried in self.trainings if tried.name == self.chosen)

    def count(self, state: str) -> int:
        return sum(tried.state == state for tried in self.trainings)

    @property
    def sentence(self) -> str:
        """`the best of 20 trainings by validation rows, 7 of them ended early: train.lr=0.003`."""
        others = [(self.count("ended early"), "ended early"), (self.count("failed"), "failed")]
        said = "".join(f", {count} {state}" for count, state in others if count)
        return f"the best of {len(self.trainings)} trainings by validation rows{said}: {self.choice.set}"


class Proof(Frozen):
    """All that was proved of the pick: on the test rows, against the champion, in the server."""

    report: Report
    baseline: Report = Field(description="fp32 on the same rows; the same as `report` when fp32 was picked.")
    against_fp32: Interval | None = Field(
        None, description="Of the pick's score less fp32's, on the same rows."
    )
    others_against_fp32: tuple[OtherDifference, ...] = Field(
        (), description="Of each further goal: the pick's score less fp32's."
    )
    comparison: Comparison | None = Field(None, description="None when there was no champion.")
    trial: ServingCheck | None = None
    in_onnxruntime: Report | None = Field(
        None,
        description="The same bytes where the engine cannot be had. None where it is ONNX Runtime, or they are fp32's.",
    )
    in_onnxruntime_against_fp32: Interval | None = Field(
        None, description="Of their score there less fp32's, on the same rows."
    )
    cross_validation: CrossValidation | None = Field(None, description="None unless gates.folds asks for it.")
    verdict: Verdict


def latency(report: Report) -> float:
    """The report's latency against fp32's as one number: the geometric mean over the batch sizes."""
    return _middle([speed.latency_ratio for speed in report.speed])


def speed_up(report: Report) -> Interval | None:
    """How far its speed against fp32's was seen to go, over the batch sizes as `latency`; None where nothing was measured.

    Within this one run: another day, or another machine, differs by more.
    """
    if not report.speed:
        return None
    bounds = [speed.interval for speed in report.speed]
    low, high = _middle([bound.low for bound in bounds]), _middle([bound.high for bound in bounds])
    return Interval(low=low, high=high, level=bounds[0].level)


def _middle(ratios: list[float]) -> float:
    return prod(ratios) ** (1 / len(ratios)) if ratios else 1.0
