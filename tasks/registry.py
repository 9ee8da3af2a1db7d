"""The only code that writes to MLflow: runs, metrics, artifacts, candidates, versions and aliases."""

import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from tasks import rest
from tasks.errors import StepError
from tasks.http import without_secrets
from tasks.keys import flatten
from tasks.metrics import Metric
from tasks.reach import check_mlflow, explain_database
from tasks.records import Dataset, OnnxModel, Version
from tasks.rest import RestClient, speaks_rest
from tasks.settings import Settings

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities.model_registry import ModelVersion
    from mlflow.models import Model

T = TypeVar("T")

KEY_TAG = "slipway.key"
NEWEST_TAG = "slipway.newest"
_BATCH = 1000  # the most metrics that MLflow takes in one call
_LONGEST = 5000  # of a version's description


@dataclass(frozen=True)
class Registry:
    """A connection to MLflow: the embedded SQLite store, or a server."""

    settings: Settings
    patience: float = 0.0
    """Seconds to wait for a server that is away: a run waits, a person is told at once."""

    @cached_property
    def client(self) -> "MlflowClient":
        """Made at first use: importing MLflow takes seconds, and a connection must not cross a fork."""
        self.check_reachable()
        import mlflow
        from mlflow.exceptions import MlflowException
        from sqlalchemy.exc import SQLAlchemyError

        uri = self.settings.tracking_uri
        mlflow.set_tracking_uri(uri)
        mlflow.set_registry_uri(uri)
        try:
            client = mlflow.MlflowClient(uri, uri)
            client.search_experiments(max_results=1)
        except (MlflowException, SQLAlchemyError) as error:
            raise explain_database(uri, error) from error
        return client

    @cached_property
    def _decisions(self) -> "MlflowClient | RestClient":
        """For what a decision asks and moves: a server is spoken to without importing MLflow."""
        if not speaks_rest(self.settings.tracking_uri):
            return self.client
        self.check_reachable()
        return RestClient(self.settings.tracking_uri, self.patience)

    def check_reachable(self) -> None:
        """Raise StepError or UserError, at once and in a sentence, when there is no MLflow where settings say."""
        check_mlflow(self.settings.tracking_uri, self.patience)

    def experiment(self, name: str) -> str:
        """The experiment's id; made when it is not there, embedded with its artifacts under SLIPWAY_HOME."""
        found = self._decisions.get_experiment_by_name(name)
        if found is not None:
            return str(found.experiment_id)
        root = (self.settings.home / "mlartifacts" / name).as_uri() if self.settings.embedded else None
        try:
            return str(self._decisions.create_experiment(name, artifact_location=root))
        except Exception:
            if (found := self._decisions.get_experiment_by_name(name)) is None:
                raise
            return str(found.experiment_id)  # another process made it first

    def start_run(self, model: str, name: str, tags: Mapping[str, str]) -> str:
        """A new run in the model's experiment; its id."""
        run = self.client.create_run(self.experiment(model), run_name=name, tags=dict(tags))
        return str(run.info.run_id)

    def resume_run(self, run_id: str) -> bool:
        """Set an interrupted run going again; False when MLflow no longer has it, or it had ended well."""
        from mlflow.exceptions import MlflowException

        try:
            run = self.client.get_run(run_id)
        except MlflowException:
            return False
        if run.info.lifecycle_stage != "active" or run.info.status == "FINISHED":
            return False
        self.client.update_run(run_id, status="RUNNING")
        return True

    def finish_run(self, run_id: str, status: str = "FINISHED") -> None:
        self.client.set_terminated(run_id, status)

    def tag_run(self, run_id: str, tags: Mapping[str, str]) -> None:
        from mlflow.entities import RunTag

        self.client.log_batch(run_id, tags=[RunTag(key, value) for key, value in tags.items()])

    def log_params(self, run_id: str, params: Mapping[str, Any]) -> None:
        """Nested knobs as dotted parameters; logging the same ones again changes nothing."""
        from mlflow.entities import Param

        flat = [Param(key, value[:500]) for key, value in flatten(params).items()]
        self.client.log_batch(run_id, params=flat)

    def log_metrics(self, run_id: str, metrics: Sequence[Metric]) -> None:
        """Metrics in batches. One with the same key, value, step and time as another is stored once."""
        from mlflow.entities import Metric as Entity

        entities = [Entity(m.key, m.value, m.timestamp, m.step) for m in metrics]
        for start in range(0, len(entities), _BATCH):
            self.client.log_batch(run_id, metrics=entities[start : start + _BATCH])

    def publisher(self, run_id: str) -> Callable[[Sequence[Metric]], None]:
        """`log_metrics` bound to one run, for the training loop."""
        return lambda metrics: self.log_metrics(run_id, metrics)

    def log_dataset(self, run_id: str, dataset: Dataset) -> None:
        """The splits as inputs of the run, by fingerprint."""
        from mlflow.entities import Dataset as Entity
        from mlflow.entities import DatasetInput, InputTag

        inputs = [
            DatasetInput(
                Entity(
                    name=f"{dataset.workload}-{split}",
                    digest=dataset.fingerprint[:16],
                    source_type="local",
                    source=json.dumps({"uri": (dataset.folder / split / "frame.parquet").as_uri()}),
                    profile=json.dumps({"num_rows": rows}),
                ),
                [InputTag("mlflow.data.context", split)],
            )
            for split, rows in dataset.rows.items()
        ]
        self.client.log_inputs(run_id, datasets=inputs)

    def log_file(self, run_id: str, path: Path, folder: str | None = None) -> None:
        self.client.log_artifact(run_id, str(path), folder)

    def log_candidate(
        self, run_id: str, dataset: Dataset, name: str, metrics: Mapping[str, float], tags: Mapping[str, str]
    ) -> str:
        """A candidate as a LoggedModel of the run, its validation metrics linked to that split; its id.

        `finish_candidate` or `register` ends it.
        """
        from mlflow.entities import LoggedModelOutput
        from mlflow.entities import Metric as Entity

        logged = self.client.create_logged_model(
            self.experiment(dataset.workload),
            name=name.replace(".", "_"),  # a recipe may have a dot in its name, and MLflow takes none
            source_run_id=run_id,
            tags=dict(tags),
            model_type="onnx",
        )
        self.client.log_outputs(run_id, [LoggedModelOutput(logged.model_id, step=0)])
        entities = [
            Entity(
                f"{name}/{key}",
                value,
                now_ms(),
                0,
                model_id=logged.model_id,
                dataset_name=f"{dataset.workload}-validation",
                dataset_digest=dataset.fingerprint[:16],
                run_id=run_id,
            )
            for key, value in metrics.items()
        ]
        self.client.log_batch(run_id, metrics=entities)
        return str(logged.model_id)

    def model_card(self, model_id: str, run_id: str) -> "Model":
        """The MLmodel that belongs to a candidate of a run."""
        from mlflow.models import Model

        location = self.client.get_logged_model(model_id).artifact_location
        return Model(artifact_path=location, model_uuid=model_id, run_id=run_id, model_id=model_id)

    def register(
        self,
        run_id: str,
        model: str,
        model_id: str,
        folder: Path,
        onnx_model: OnnxModel,
        tags: Mapping[str, str],
        description: str = "",
    ) -> Version:
        """Upload a candidate's sealed folder and make it the model's next version. No alias moves."""
        from mlflow.exceptions import MlflowException

        self.client.log_model_artifacts(model_id, str(folder))
        self.client.finalize_logged_model(model_id, "READY")
        try:
            self.client.create_registered_model(model)
        except MlflowException:
            self.client.get_registered_model(model)  # it was there; anything else is raised here
        made = self.client.create_model_version(
            model,
            source=f"models:/{model_id}",
            run_id=run_id,
            tags={"slipway.sha256": onnx_model.sha256, **tags},
            description=_cut(description),
            model_id=model_id,
        )
        return Version(model=model, version=int(made.version), sha256=onnx_model.sha256, run_id=run_id)

    def finish_candidate(self, model_id: str, *, refused: bool) -> None:
        """End a candidate that is not the pick."""
        self.client.finalize_logged_model(model_id, "FAILED" if refused else "READY")

    def version(self, model: str, version: int) -> Version | None:
        """A registered version, or None."""
        found = self._find(lambda: self._decisions.get_model_version(model, str(version)))
        return _version(found) if found is not None else None

    def by_alias(self, model: str, alias: str) -> Version | None:
        """The version an alias points at, or None."""
        found = self._find(lambda: self._decisions.get_model_version_by_alias(model, alias))
        return _version(found) if found is not None else None

    def by_key(self, model: str, key: str) -> Version | None:
        """The newest version that a run with this key made, or None."""
        query = f"name = '{model}' AND tags.`{KEY_TAG}` = '{key}'"
        found = self._decisions.search_model_versions(query)
        return max((_version(v) for v in found), key=lambda v: v.version, default=None)

    def tags(self, version: Version) -> dict[str, str]:
        return dict(self._decisions.get_model_version(version.model, str(version.version)).tags)

    def tag_version(self, version: Version, tags: Mapping[str, str]) -> None:
        for key, value in tags.items():
            self._decisions.set_model_version_tag(version.model, str(version.version), key, value)

    def set_alias(self, model: str, alias: str, version: int) -> None:
        """Move an alias. The registry takes no expected version (the last writer wins): callers hold the model's lock."""
        self._decisions.set_registered_model_alias(model, alias, str(version))

    def delete_alias(self, model: str, alias: str) -> None:
        self._decisions.delete_registered_model_alias(model, alias)

    def add_ledger_entry(self, model: str, name: str, tags: Mapping[str, str]) -> str:
        """A finished run in the model's ledger, made with all its tags in one transaction; its id."""
        run = self._decisions.create_run(
            self.experiment(f"slipway-ledger/{model}"), run_name=name, tags=dict(tags)
        )
        self._decisions.set_terminated(run.info.run_id)
        return str(run.info.run_id)

    def ledger_entries(self, model: str) -> list[tuple[str, dict[str, str]]]:
        """(run id, tags) of every run of the model's ledger that is not deleted, in no order to rely on."""
        found = self._decisions.get_experiment_by_name(f"slipway-ledger/{model}")
        entries: list[tuple[str, dict[str, str]]] = []
        token = None
        while found is not None:
            page = self._decisions.search_runs([found.experiment_id], max_results=1000, page_token=token)
            entries += [(str(run.info.run_id), dict(run.data.tags)) for run in page]
            if not (token := page.token):
                break
        return entries

    def model_tags(self, model: str) -> dict[str, str] | None:
        """The registered model's tags, or None when there is no such model."""
        found = self._find(lambda: self._decisions.get_registered_model(model))
        return dict(found.tags) if found is not None else None

    def tag_model(self, model: str, key: str, value: str | None) -> None:
        """Set one tag of the registered model; None removes it."""
        if value is not None:
            self._decisions.set_registered_model_tag(model, key, value)
        elif key in (self.model_tags(model) or {}):
            self._decisions.delete_registered_model_tag(model, key)

    def download(self, version: Version, folder: Path) -> Path:
        """The version's whole folder, downloaded below `folder`; its path. Raises StepError when its files are not to be had."""
        folder.mkdir(parents=True, exist_ok=True)
        if isinstance(self._decisions, RestClient):
            whole = self._decisions.download(version.model, str(version.version), folder)
            if whole is not None:
                return whole
        import mlflow.artifacts
        from mlflow.exceptions import MlflowException

        self.client  # noqa: B018  # tells MLflow where models:/ is
        uri = f"models:/{version.model}/{version.version}"
        try:
            found = mlflow.artifacts.download_artifacts(
                uri, dst_path=str(folder), tracking_uri=self.settings.tracking_uri
            )
        except (MlflowException, OSError) as error:
            raise StepError((str(error).strip() or type(error).__name__).splitlines()[0]) from error
        return Path(found)

    def run_address(self, model: str, run_id: str) -> str | None:
        """The run's page, when a server shows one; without the password, for it is written down and passed on."""
        if self.settings.embedded:
            return None
        return f"{self._pages}/experiments/{self.experiment(model)}/runs/{run_id}"

    def version_address(self, version: Version) -> str | None:
        """The version's page, when a server shows one."""
        if self.settings.embedded:
            return None
        return f"{self._pages}/models/{version.model}/versions/{version.version}"

    @property
    def _pages(self) -> str:
        return f"{without_secrets(self.settings.tracking_uri).rstrip('/')}/#"

    def _find(self, get: Callable[[], T]) -> T | None:
        try:
            return get()
        except Exception as error:  # MLflow's, or ours for the same answer
            if getattr(error, "error_code", None) in ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE"):
                return None
            raise


def _cut(description: str) -> str:
    """As much of it as a database of MLflow's holds; SQLite alone would take more."""
    return description if len(description) <= _LONGEST else f"{description[: _LONGEST - 1]}…"


def now_ms() -> int:
    """Milliseconds since the epoch, as MLflow's metrics take them."""
    return time.time_ns() // 1_000_000


def _version(found: "ModelVersion | rest.ModelVersion") -> Version:
    sha256 = (found.tags or {}).get("slipway.sha256", "")
    return Version(model=found.name, version=int(found.version), sha256=sha256, run_id=found.run_id or "")
