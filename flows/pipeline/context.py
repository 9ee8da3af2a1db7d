"""Where a pipeline run happens: its workload, its folder, its MLflow run. Every step is told, none asks around."""

from collections.abc import Callable, Sequence
from pathlib import Path

from flows.pipeline.keys import Key, code_of
from tasks.errors import StepError
from tasks.records import Checkpoint, Dataset, Material, Metric
from tasks.registry.registry import Registry
from tasks.settings import Settings
from tasks.system.frozen import Frozen
from tasks.system.storage import ObjectStorage

_PATIENCE_SECONDS = 300.0
"""A run that has trained for hours does not fail because MLflow is being restarted."""


def work_folder(home: Path, model: str) -> Path:
    return home / "work" / model


class RunContext(Frozen):
    """Handed to each step; JSON, so that a step may run on another machine."""

    workload: str
    model: str
    settings: Settings
    key: Key | None = None
    """Of the whole run; known once its rows are."""
    run_id: str | None = None
    forced: bool = False
    materials: tuple[Material, ...] = ()
    """What the workload's models are made of besides rows and code, as it was when the run began."""
    reason: str = ""
    """Why it is run, where something asked for it."""

    @property
    def home(self) -> Path:
        return self.settings.home

    @property
    def folder(self) -> Path:
        """The model's working folder: checkpoints, ONNX files, reports, remembered keys."""
        return work_folder(self.home, self.model)

    def state_of(self, function: str) -> str:
        """Names what a function may go on from: what other code left is not taken, and nothing is when a run is forced."""
        run = f"-{self.run_id[:16]}" if self.forced and self.run_id else ""
        return code_of(function, self.workload) + run

    def cost_path(self, step: str) -> Path:
        """Where a step leaves what it cost, for the runner to take."""
        return self.folder / "costs" / f"{step.replace(' ', '-')}.json"

    @property
    def registry(self) -> Registry:
        return Registry(self.settings, patience=_PATIENCE_SECONDS)

    @property
    def store(self) -> ObjectStorage | None:
        """Where other machines find this one's datasets and checkpoints."""
        return ObjectStorage(self.settings.store, self.home) if self.settings.store else None

    def check_materials(self, checkpoint: Checkpoint) -> None:
        """Raise StepError for weights of other files than the run has in its keys."""
        if other := [m.name for m in checkpoint.materials if m not in self.materials]:
            raise StepError(f"{', '.join(other)} was changed while this run went on: run again.")

    def publish(self) -> Callable[[Sequence[Metric]], None] | None:
        """Where training metrics go: the MLflow run, when there is one."""
        return self.registry.publisher(self.run_id) if self.run_id else None

    def metadata(self, dataset: Dataset) -> dict[str, str]:
        """What is written inside an ONNX file, so that a stray one can be traced.

        Nothing of this run, checkout or machine: the same training gives the same bytes, and who made them is evidence.
        """
        return {"slipway.model": self.model, "slipway.data": dataset.fingerprint}
