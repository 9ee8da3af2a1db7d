"""Results out: what steps hand to each other. Paths, digests and numbers, never live models; all are JSON."""

from pathlib import Path
from typing import Literal, NamedTuple

from pydantic import Field

from tasks.engines import Engine
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
    """One way to ship the trained model: fp32, or what a recipe made of it, in an engine; refused when it could not be made."""

    name: str
    recipe: Recipe | None = None
    engine: Engine = Field(Engine(), description="What would run it.")
    onnx: OnnxModel | None = Field(None, description="The file that would ship.")
    bare: OnnxModel | None = Field(
        None, description="The same without the nodes that decide; None where it has none."
    )
    fitted: tuple[Fitted, ...] = Field(
        (), description="What each goal's decision in this file was fitted to."
    )
    refused: str | None = None
    notes: tuple[str, ...] = ()


class Version(Frozen):
    """A registered model version."""

    model: str
    version: int
    sha256: str
    run_id: str
