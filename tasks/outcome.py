"""What a pipeline run came to. Apart from tasks/records.py, so that a change here is no reason to train or measure again."""

from typing import Literal

from pydantic import Field

from tasks.system.frozen import Frozen


class CandidateResult(Frozen):
    """A candidate's line in a run's outcome; ratios against the fp32 ONNX of the same model."""

    name: str
    status: Literal["picked", "front", "dominated", "refused"]
    engine: str = Field("onnxruntime", description="What would run it.")
    precision: str | None = Field(
        None, description="Such as fp32, int8, bf16 or int8+bf16; None: it was not measured."
    )
    score: float | None = None
    score_drop: float | None = None
    size_bytes: int | None = None
    latency_ratio: float | None = None
    throughput_ratio: float | None = None
    reasons: tuple[str, ...] = ()


class Selection(Frozen):
    """Which candidate ships, why, and what became of every other."""

    picked: str
    reason: str = Field(
        description='Against fp32, in words with numbers: "int8: 1.80× as fast, 27% of the size, …".'
    )
    candidates: tuple[CandidateResult, ...]


class Cost(Frozen):
    """What a step took of the machine that it ran on: its process with all threads, and children that it waited for."""

    cpu_seconds: float
    wall_seconds: float
    peak_bytes: int | None = Field(None, description="Resident memory of the process at its highest.")
    written_bytes: int | None = Field(None, description="Sent to the disk; None where no one counts.")


class StepTime(Frozen):
    """One step of a pipeline run: how long it took, and why it ran or did not have to."""

    name: str
    seconds: float
    reason: str
    cached: bool
    cost: Cost | None = Field(None, description="None for a step that was reused, or ran on another machine.")


class Outcome(Frozen):
    """What a pipeline run came to: the object that `slipway run --json` prints."""

    workload: str
    model: str
    run_id: str | None
    version: int | None
    decision: Literal["promoted", "rolling", "registered", "refused", "unchanged", "failed"]
    reasons: tuple[str, ...]
    picked: str | None = None
    score: float | None = None
    digest: str | None = None
    seconds: float = 0.0
    report: str | None = None
    candidates: tuple[CandidateResult, ...] = ()
    steps: tuple[StepTime, ...] = ()
    score_name: str | None = None
    difference: float | None = Field(
        None, description="Of the score and that of the champion it was compared with, on the same rows."
    )

    @property
    def headline(self) -> str:
        """What came of it, for a list of runs: "promoted v7, accuracy 0.981 (+0.4 pt)"."""
        if self.decision in ("refused", "unchanged", "failed"):
            return ": ".join([self.decision, *self.reasons[:1]])
        score = "" if self.score is None else f", {self.score_name or 'score'} {self.score:.3f}"
        return f"{self.decision} v{self.version}{score}{self._against()}"

    def _against(self) -> str:
        """In points where scores are shares."""
        if self.difference is None or self.score is None:
            return ""
        share = 0 <= self.score <= 1
        return f" ({100 * self.difference:+.1f} pt)" if share else f" ({self.difference:+.4g})"
