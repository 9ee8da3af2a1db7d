"""Results out: what steps hand to each other. Paths, digests and numbers, never live models; all are JSON."""

from math import prod
from pathlib import Path
from typing import Literal, NamedTuple

from pydantic import Field

from tasks.recipes import Recipe
from tasks.system.frozen import Frozen


class Metric(NamedTuple):
    """One point of a curve; the four together are its identity, so that delivering it twice changes nothing."""

    key: str
    value: float
    step: int
    timestamp: int


class TensorSpec(Frozen):
    """A named tensor; in `shape` a string is a dynamic axis, by its name ("batch" first)."""

    name: str
    dtype: str
    shape: tuple[int | str, ...]

    def __str__(self) -> str:
        """`image float32[batch, 1, 8, 8]`."""
        return f"{self.name} {self.dtype}[{', '.join(map(str, self.shape))}]"


class Fitted(Frozen):
    """What a goal has learned of training rows (its classes), and of validation rows (its thresholds)."""

    classes: tuple[str, ...] | None = Field(
        None, description="Class names in the order of the logits, or of the labels."
    )
    thresholds: tuple[float, ...] | None = None


class CodecInput(Frozen):
    """One input of a request that is no tensor by itself: whose values a column of the rows has."""

    name: str
    kind: Literal["text", "image", "codes"]
    column: str
    gives: tuple[str, ...] = Field(description="The tensors that it comes to.")


class CodecRecord(Frozen):
    """How a request's values become tensors: codec.json, which lies with its files in the dataset's folder `codec`."""

    sha256: str = Field(description="Of codec.json.")
    inputs: tuple[CodecInput, ...]


class Dataset(Frozen):
    """Validated, fingerprinted and split rows in a folder: Parquet for people, .npy arrays for the loop."""

    workload: str
    folder: Path
    fingerprint: str = Field(description="SHA-256 over columns, dtypes and every cell.")
    rows: dict[str, int] = Field(description="Rows per split: train, validation, test.")
    inputs: tuple[TensorSpec, ...]
    target: TensorSpec
    classes: tuple[str, ...] | None = Field(
        description="Class names in the order of the logits; None for regression."
    )
    newest: str | None = Field(None, description="The last moment in the time column; None without one.")
    arrays_sha256: str = Field("", description="SHA-256 over every file that is stored of the rows.")
    others: tuple[tuple[TensorSpec, Fitted], ...] = Field(
        (), description="Of each further goal: its target, and what it has learned."
    )
    codec: CodecRecord | None = Field(None, description="None where a request brings the inputs as they are.")

    @property
    def fitted(self) -> tuple[Fitted, ...]:
        """What each goal has learned."""
        return (Fitted(classes=self.classes), *(fitted for _, fitted in self.others))

    @property
    def asked(self) -> tuple[TensorSpec, ...]:
        """What a request brings: the inputs, but text for those that a codec makes of it."""
        if self.codec is None:
            return self.inputs
        made = {tensor for coded in self.codec.inputs for tensor in coded.gives}
        texts = [TensorSpec(name=coded.name, dtype="str", shape=("batch",)) for coded in self.codec.inputs]
        return (*texts, *(spec for spec in self.inputs if spec.name not in made))


class Material(Frozen):
    """A file, or the files of a folder, that a model is made of besides rows and code."""

    name: str
    sha256: str = Field(description="Of the file; of a folder, over its files' names and digests.")
    licence: str | None = Field(None, description="As the workload states it; None: not stated.")

    def __str__(self) -> str:
        """`model.onnx (SHA-256 0123456789abcdef…, Apache-2.0)`."""
        return f"{self.name} (SHA-256 {self.sha256[:16]}…, {self.licence or 'licence not stated'})"


class Checkpoint(Frozen):
    """Trained weights on disk, the best by validation score; or, where nothing is trained, those that were given."""

    path: Path
    sha256: str
    epoch: int
    step: int
    score: float | None = Field(description="On the validation split; None when nothing was trained.")
    stopped: str = Field(description="Why training ended, or that there was none, in words.")
    metrics: Path = Field(description="The append-only log of every metric of this training.")
    materials: tuple[Material, ...] = Field((), description="What the weights began as, or are.")

    @property
    def remarks(self) -> tuple[str, ...]:
        """What has to be said of weights that were not trained here."""
        return () if self.step else (self.stopped,)


class OnnxModel(Frozen):
    """One self-contained ONNX file."""

    path: Path
    sha256: str
    size_bytes: int
    opset: int
    exporter: str
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    reference: Path | None = Field(
        None, description="The torch model's outputs on the first validation rows, by name (.npz)."
    )
    lengths: Path | None = Field(
        None, description="The same at other lengths of further dynamic axes, by length and name (.npz)."
    )
    findings: tuple[str, ...] = Field((), description="What tracing may have frozen, in words.")


class Candidate(Frozen):
    """One way to ship the trained model: fp32, or what a recipe made of it; refused when it could not be made."""

    name: str
    recipe: Recipe | None = None
    onnx: OnnxModel | None = Field(None, description="The file that would ship.")
    bare: OnnxModel | None = Field(
        None, description="The same without the nodes that decide; None where it has none."
    )
    fitted: tuple[Fitted, ...] = Field(
        (), description="What each goal's decision in this file was fitted to."
    )
    refused: str | None = None
    notes: tuple[str, ...] = ()


class Interval(Frozen):
    """A confidence interval; `f"{interval:+.4f}"` is `-0.0123 to +0.0045`."""

    low: float
    high: float
    level: float

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
    fitted: tuple[Fitted, ...] = Field((), description="What the decision in this file was fitted to.")
    sha256: str = Field(description="Of the file that was measured.")
    size_bytes: int
    gzipped_bytes: int | None = None
    load_seconds: float | None = Field(None, description="To make a session by path in a fresh process.")
    peak_bytes: int | None = Field(
        None, description="Resident memory of that process after the largest batch."
    )
    speed: tuple[Speed, ...] = ()
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
    cross_validation: CrossValidation | None = Field(None, description="None unless gates.folds asks for it.")
    verdict: Verdict


class Version(Frozen):
    """A registered model version."""

    model: str
    version: int
    sha256: str
    run_id: str


def latency(report: Report) -> float:
    """The report's latency against fp32's as one number: the geometric mean over the batch sizes."""
    ratios = [speed.latency_ratio for speed in report.speed]
    return prod(ratios) ** (1 / len(ratios)) if ratios else 1.0
