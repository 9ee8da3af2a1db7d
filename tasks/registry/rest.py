"""MLflow's REST API, as much of it as a decision takes: importing MLflow's own client costs seconds, and a rollback has five.

The methods have the names, arguments and results of `mlflow.MlflowClient`, so that `tasks.registry` can use either.
"""

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from tasks.registry.download import download_folder
from tasks.registry.http import MlflowServer, RestError, needs_mlflow

_API = "/api/2.0/mlflow"


@dataclass(frozen=True)
class ModelVersion:
    name: str
    version: str
    run_id: str | None
    tags: dict[str, str]


@dataclass(frozen=True)
class Tagged:
    """What has tags: a registered model, a run."""

    tags: dict[str, str]


@dataclass(frozen=True)
class Experiment:
    experiment_id: str


@dataclass(frozen=True)
class RunInfo:
    run_id: str


@dataclass(frozen=True)
class RestRun:
    info: RunInfo
    data: Tagged


@dataclass(frozen=True)
class Page:
    """Runs, and where the next ones begin."""

    runs: list[RestRun]
    token: str | None

    def __iter__(self) -> Iterator[RestRun]:
        return iter(self.runs)


def speaks_rest(uri: str) -> bool:
    """Whether this module is enough for `uri`: signed requests, plugins and workspaces are MLflow's own client's."""
    return urlsplit(uri).scheme in ("http", "https") and not needs_mlflow()


@dataclass(frozen=True)
class RestClient:
    """One server; accounts and certificates come from where MLflow's own client takes them."""

    uri: str
    patience: float = 0.0
    """Seconds to wait for a server that is away, about."""

    def get_registered_model(self, name: str) -> Tagged:
        return Tagged(_tags(self._get("registered-models/get", name=name)["registered_model"]))

    def get_model_version(self, name: str, version: str) -> ModelVersion:
        return _version(self._get("model-versions/get", name=name, version=version)["model_version"])

    def get_model_version_by_alias(self, name: str, alias: str) -> ModelVersion:
        return _version(self._get("registered-models/alias", name=name, alias=alias)["model_version"])

    def search_model_versions(self, filter_string: str) -> list[ModelVersion]:
        """The newest that match, at most a page of them."""
        found = self._get("model-versions/search", filter=filter_string)
        return [_version(one) for one in found.get("model_versions", [])]

    def set_model_version_tag(self, name: str, version: str, key: str, value: str) -> None:
        self._post("model-versions/set-tag", name=name, version=version, key=key, value=value)

    def set_registered_model_alias(self, name: str, alias: str, version: str) -> None:
        self._post("registered-models/alias", name=name, alias=alias, version=version)

    def delete_registered_model_alias(self, name: str, alias: str) -> None:
        self._ask("DELETE", "registered-models/alias", json={"name": name, "alias": alias})

    def set_registered_model_tag(self, name: str, key: str, value: str) -> None:
        self._post("registered-models/set-tag", name=name, key=key, value=value)

    def delete_registered_model_tag(self, name: str, key: str) -> None:
        self._ask("DELETE", "registered-models/delete-tag", json={"name": name, "key": key})

    def get_experiment_by_name(self, name: str) -> Experiment | None:
        try:
            found = self._get("experiments/get-by-name", experiment_name=name)
        except RestError as error:
            if error.error_code == "RESOURCE_DOES_NOT_EXIST":
                return None
            raise
        return Experiment(found["experiment"]["experiment_id"])

    def create_experiment(self, name: str, artifact_location: str | None = None) -> str:
        place = {"artifact_location": artifact_location} if artifact_location else {}
        return str(self._post("experiments/create", name=name, **place)["experiment_id"])

    def create_run(self, experiment_id: str, *, run_name: str, tags: Mapping[str, str]) -> RestRun:
        made = self._post(
            "runs/create",
            experiment_id=experiment_id,
            run_name=run_name,
            start_time=now_ms(),
            tags=[{"key": key, "value": value} for key, value in tags.items()],
        )
        return _run(made["run"])

    def set_terminated(self, run_id: str, status: str = "FINISHED") -> None:
        self._post("runs/update", run_id=run_id, status=status, end_time=now_ms())

    def search_runs(
        self, experiment_ids: Sequence[str], *, max_results: int = 1000, page_token: str | None = None
    ) -> Page:
        token = {"page_token": page_token} if page_token else {}
        found = self._post(
            "runs/search", experiment_ids=list(experiment_ids), max_results=max_results, **token
        )
        return Page([_run(run) for run in found.get("runs", [])], found.get("next_page_token") or None)

    def download(self, name: str, version: str, folder: Path) -> Path | None:
        """Every file of a version, below `folder`; its path, or None when the server does not hand out artifacts itself.

        Raises RestError for a version without files.
        """
        where = self._get("model-versions/get-download-uri", name=name, version=version)["artifact_uri"]
        return download_folder(self._server, where, folder)

    @cached_property
    def _server(self) -> MlflowServer:
        return MlflowServer(self.uri, self.patience)

    def _get(self, path: str, **params: Any) -> dict[str, Any]:
        return self._ask("GET", path, params=params)

    def _post(self, path: str, **body: Any) -> dict[str, Any]:
        return self._ask("POST", path, json=body)

    def _ask(self, method: str, path: str, **how: Any) -> dict[str, Any]:
        answer: dict[str, Any] = self._server.request(method, f"{_API}/{path}", **how).json()
        return answer


def _version(found: dict[str, Any]) -> ModelVersion:
    return ModelVersion(found["name"], found["version"], found.get("run_id"), _tags(found))


def _run(found: dict[str, Any]) -> RestRun:
    return RestRun(RunInfo(found["info"]["run_id"]), Tagged(_tags(found["data"])))


def _tags(found: dict[str, Any]) -> dict[str, str]:
    return {tag["key"]: tag.get("value", "") for tag in found.get("tags", [])}


def now_ms() -> int:
    """Milliseconds since the epoch, as MLflow takes them."""
    return time.time_ns() // 1_000_000
