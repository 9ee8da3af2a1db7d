"""What a pipeline run writes to MLflow while it runs: itself, its settings, metrics, data and candidates."""

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tasks.config import flatten
from tasks.records import Dataset, Metric
from tasks.registry.claims import find
from tasks.registry.connection import Connection
from tasks.registry.pages import AS_MACHINE_LEARNING, AS_RUNS, OPENS_AS
from tasks.registry.rest import now_ms
from tasks.registry.tags import PARENT_TAG
from tasks.system.urls import without_secrets

if TYPE_CHECKING:
    from mlflow.entities import LoggedModel
    from mlflow.models import Model

_BATCH = 1000  # the most metrics that MLflow takes in one call


class Runs(Connection):
    """Runs, and the candidates that they make."""

    def start_run(self, model: str, name: str, tags: Mapping[str, str]) -> str:
        """A new run in the model's experiment, which opens as ours do also where it is older; its id."""
        experiment = self.experiment(model)
        shown = self.client.get_experiment(experiment).tags
        for key, value in OPENS_AS.items():
            if shown.get(key) != value:
                self.client.set_experiment_tag(experiment, key, value)
        run = self.client.create_run(experiment, run_name=name, tags=dict(tags))
        return str(run.info.run_id)

    def run_by_tag(self, model: str, tag: str, value: str) -> str | None:
        """The id of a run in the model's experiment with this tag, or None."""
        runs = self.client.search_runs([self.experiment(model)], f"tags.`{tag}` = '{value}'", max_results=1)
        return next((str(run.info.run_id) for run in runs), None)

    def adopt(self, model: str, tag: str, value: str, parent: str) -> None:
        """Let the runs with this tag be shown below `parent`, wherever they were begun."""
        token = None
        while True:
            query = f"tags.`{tag}` = '{value}' and tags.`{PARENT_TAG}` != '{parent}'"
            page = self.client.search_runs(
                [self.experiment(model)], query, max_results=1000, page_token=token
            )
            for run in page:
                self.client.set_tag(run.info.run_id, PARENT_TAG, parent)
            if not (token := page.token):
                return

    def begin_rollout(self, model: str, name: str, tags: Mapping[str, str]) -> str:
        """The id of a run of the model's ledger for what servers report of a rollout; ended from the start, for no process is it."""
        experiment = self.experiment(f"slipway-rollouts/{model}")
        run = self.decisions.create_run(experiment, run_name=name, tags=dict(tags))
        self.decisions.set_terminated(run.info.run_id)
        return str(run.info.run_id)

    def run_tags(self, run_id: str) -> dict[str, str] | None:
        """None of a run that was deleted, to which nobody can write."""
        run = find(lambda: self.decisions.get_run(run_id))
        return dict(run.data.tags) if run is not None and run.info.lifecycle_stage == "active" else None

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

    def metrics(self, run_id: str) -> dict[str, float]:
        """The last value of each."""
        return dict(self.client.get_run(run_id).data.metrics)

    def metric_history(self, run_id: str, key: str) -> dict[int, float]:
        """A metric's values by step, of several at one the last."""
        return {metric.step: metric.value for metric in self.client.get_metric_history(run_id, key)}

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

    def log_source(self, run_id: str, folder: Path) -> None:
        """A bundle, as it ran, as artifacts of the run under source/."""
        for path in sorted(path for path in folder.rglob("*") if path.is_file()):
            self.log_file(run_id, path, (Path("source") / path.relative_to(folder)).parent.as_posix())

    def log_candidate(
        self,
        run_id: str,
        dataset: Dataset,
        name: str,
        metrics: Mapping[str, float],
        params: Mapping[str, str],
    ) -> str:
        """A candidate as a LoggedModel of the run, with its validation metrics; its id. `finish_candidate` or `register` ends it."""
        model_id = self.log_model(run_id, dataset.workload, name, params=params)
        self.log_measured(run_id, dataset, model_id, metrics, "validation")
        return model_id

    def log_measured(
        self, run_id: str, dataset: Dataset, model_id: str, metrics: Mapping[str, float], split: str
    ) -> None:
        """What was measured of a candidate on a split. A metric has one name for all candidates: the run shows that of the last one, and of the test rows."""
        from mlflow.entities import Metric as Entity

        entities = [
            Entity(
                key,
                value,
                now_ms(),
                int(split == "test"),  # of two, the one of the later step is the run's
                model_id=model_id,
                dataset_name=f"{dataset.workload}-{split}",
                dataset_digest=dataset.fingerprint[:16],
                run_id=run_id,
            )
            for key, value in metrics.items()
        ]
        self.client.log_batch(run_id, metrics=entities)

    def log_model(
        self,
        run_id: str,
        model: str,
        name: str,
        tags: Mapping[str, str] | None = None,
        params: Mapping[str, str] | None = None,
    ) -> str:
        """A LoggedModel of the run, without files yet; its id."""
        from mlflow.entities import LoggedModelOutput

        logged = self.client.create_logged_model(
            self.experiment(model),
            name=name.replace(".", "_"),  # a recipe may have a dot in its name, and MLflow takes none
            source_run_id=run_id,
            tags=dict(tags or {}),
            params=dict(params or {}),
            model_type="onnx",
        )
        self.client.log_outputs(run_id, [LoggedModelOutput(logged.model_id, step=0)])
        return str(logged.model_id)

    def whole_model(self, model: str, run_id: str) -> str | None:
        """The id of a LoggedModel of the run that has all its files, or None."""
        whole = (logged for logged in self._logged(model, run_id) if str(logged.status) == "READY")
        return next((str(logged.model_id) for logged in whole), None)

    def drop_candidates(self, model: str, run_id: str, *, whole: bool = True) -> None:
        """Those that a try of the same run logged, which was killed before it had registered one; `whole` False: only uploads that it broke off."""
        for logged in self._logged(model, run_id):
            if whole or str(logged.status) != "READY":
                self.client.delete_logged_model(logged.model_id)

    def _logged(self, model: str, run_id: str) -> "Sequence[LoggedModel]":
        return self.client.search_logged_models([self.experiment(model)], f"source_run_id = '{run_id}'")

    def model_card(self, model_id: str, run_id: str) -> "Model":
        """The MLmodel that belongs to a candidate of a run."""
        from mlflow.models import Model

        location = self.client.get_logged_model(model_id).artifact_location
        return Model(artifact_path=location, model_uuid=model_id, run_id=run_id, model_id=model_id)

    def finish_candidate(self, model_id: str, *, refused: bool) -> None:
        """End a candidate that is not the pick."""
        self.client.finalize_logged_model(model_id, "FAILED" if refused else "READY")

    def run_address(self, model: str, run_id: str, artifact: str = "") -> str | None:
        """The run's page, or that of one of its artifacts, when a server shows one."""
        if self.settings.embedded:
            return None
        page = f"{self.pages}/experiments/{self.experiment(model)}/runs/{run_id}"
        return f"{page}{artifact and f'/artifacts/{artifact}'}{AS_MACHINE_LEARNING}"

    def runs_address(self, model: str) -> str | None:
        """All runs of the model, with what came of each, when a server shows them."""
        return (
            None
            if self.settings.embedded
            else f"{self.pages}/experiments/{self.experiment(model)}/runs{AS_RUNS}"
        )

    @property
    def pages(self) -> str:
        """Where the server's pages are; without the password, for it is written down and passed on."""
        return f"{without_secrets(self.settings.tracking_uri).rstrip('/')}/#"
