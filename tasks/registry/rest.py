"""MLflow's REST API, as much of it as a decision takes: importing MLflow's own client costs seconds, and a rollback has five.

The methods have the names, arguments and results of `mlflow.MlflowClient`, so that either will do.
"""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any
from urllib.parse import urlsplit

from tasks.registry.http import LONGEST_PAUSE_SECONDS, MlflowError, MlflowServer, needs_mlflow

_API = "/api/2.0/mlflow"


class Entity:
    """What MLflow answers, with the attributes of its client's entities; None for what is not in the answer."""

    def __init__(self, fields: dict[str, Any]) -> None:
        self._fields = fields

    def __getattr__(self, name: str) -> Any:
        if name in ("tags", "params"):
            return {pair["key"]: pair.get("value", "") for pair in self._fields.get(name, ())}
        if name == "aliases":
            return {pair["alias"]: pair["version"] for pair in self._fields.get(name, ())}
        value = self._fields.get(name)
        if name == "latest_versions":
            return [*map(Entity, value or ())]
        return Entity(value) if isinstance(value, dict) else value


class Page(list[Entity]):
    """Entities, and where the next ones begin."""

    token: str | None = None


def speaks_rest(uri: str) -> bool:
    """Whether this module is enough for `uri`: signed requests, plugins and workspaces are MLflow's own client's."""
    return urlsplit(uri).scheme in ("http", "https") and not needs_mlflow()


@dataclass(frozen=True)
class RestClient:
    """One server; accounts and certificates come from where MLflow's own client takes them."""

    tracking_uri: str
    patience: float = 0.0
    """Seconds to wait for a server that is away, about."""

    @cached_property
    def server(self) -> MlflowServer:
        return MlflowServer(self.tracking_uri, tries=3 + round(self.patience / LONGEST_PAUSE_SECONDS))

    def get_registered_model(self, name: str) -> Any:
        return self._get("registered-models/get", name=name).registered_model

    def search_registered_models(self, max_results: int = 100, page_token: str | None = None) -> Page:
        asked = {"max_results": max_results, "page_token": page_token}
        return _page(self._get("registered-models/search", **asked), "registered_models")

    def get_model_version(self, name: str, version: str) -> Any:
        return self._get("model-versions/get", name=name, version=version).model_version

    def get_model_version_by_alias(self, name: str, alias: str) -> Any:
        return self._get("registered-models/alias", name=name, alias=alias).model_version

    def get_model_version_download_uri(self, name: str, version: str) -> str:
        return str(self._get("model-versions/get-download-uri", name=name, version=version).artifact_uri)

    def search_model_versions(self, filter_string: str) -> Page:
        """The newest that match, at most a page of them."""
        return _page(self._get("model-versions/search", filter=filter_string), "model_versions")

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

    def get_experiment_by_name(self, name: str) -> Any:
        try:
            return self._get("experiments/get-by-name", experiment_name=name).experiment
        except MlflowError as error:
            if error.error_code == "RESOURCE_DOES_NOT_EXIST":
                return None
            raise

    def create_experiment(
        self, name: str, artifact_location: str | None = None, tags: Mapping[str, str] | None = None
    ) -> str:
        pairs = _pairs(tags or {})
        answer = self._post("experiments/create", name=name, artifact_location=artifact_location, tags=pairs)
        return str(answer.experiment_id)

    def set_experiment_tag(self, experiment_id: str, key: str, value: str) -> None:
        self._post("experiments/set-experiment-tag", experiment_id=experiment_id, key=key, value=value)

    def create_run(self, experiment_id: str, *, run_name: str, tags: Mapping[str, str]) -> Any:
        return self._post(
            "runs/create",
            experiment_id=experiment_id,
            run_name=run_name,
            start_time=now_ms(),
            tags=_pairs(tags),
        ).run

    def get_run(self, run_id: str) -> Any:
        return self._get("runs/get", run_id=run_id).run

    def log_param(self, run_id: str, key: str, value: str) -> None:
        self._post("runs/log-parameter", run_id=run_id, key=key, value=value)

    def set_tag(self, run_id: str, key: str, value: str) -> None:
        self._post("runs/set-tag", run_id=run_id, key=key, value=value)

    def set_terminated(self, run_id: str, status: str = "FINISHED") -> None:
        self._post("runs/update", run_id=run_id, status=status, end_time=now_ms())

    def search_runs(
        self, experiment_ids: Sequence[str], *, max_results: int = 1000, page_token: str | None = None
    ) -> Page:
        asked = {"experiment_ids": experiment_ids, "max_results": max_results, "page_token": page_token}
        return _page(self._post("runs/search", **asked), "runs")

    def _get(self, path: str, **params: Any) -> Any:
        return self._ask("GET", path, params=params)

    def _post(self, path: str, **body: Any) -> Any:
        return self._ask("POST", path, json=body)

    def _ask(self, method: str, path: str, **how: Any) -> Any:
        return Entity(self.server.ask(method, f"{_API}/{path}", **how))


def _pairs(values: Mapping[str, str]) -> list[dict[str, str]]:
    return [{"key": key, "value": value} for key, value in values.items()]


def _page(answer: Entity, what: str) -> Page:
    page = Page(map(Entity, getattr(answer, what) or ()))
    page.token = answer.next_page_token
    return page


def now_ms() -> int:
    """Milliseconds since the epoch, as MLflow takes them."""
    return time.time_ns() // 1_000_000
