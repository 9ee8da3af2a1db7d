"""A model in a real registry, whose versions are sealed and permitted where a test asks for it, and servers that follow it."""

from collections.abc import Callable
from pathlib import Path
from typing import Any
from uuid import uuid4

import mlflow
import numpy as np
import serving_models as models
from onnx.onnx_ml_pb2 import ModelProto
from serving_process import ServerProcess, move, permit, publish, wait_for

from tasks.rollout.record import ROLLOUT_TAG, RolloutRecord, sign_record
from tasks.rollout.reported import PodReport, read_reports
from tasks.system.files import sha256_of
from tasks.system.signing import private_key

ROW = np.linspace(-1, 1, 64, dtype=np.float32)[None]
BODY = {"inputs": {"x": ROW.tolist()}}
AWAY = "http://127.0.0.1:9"
"""A registry that does not answer."""


class Registered:
    """A model in the registry, and the folders its versions came from."""

    def __init__(self, uri: str, folder: Path, *, sealed: bool = False) -> None:
        self.uri = uri
        self.folder = folder
        self.sealed = sealed
        self.name = (
            f"model-{uuid4().hex[:8]}"  # the registry is every test's, and of every process that runs tests
        )
        self.folders: dict[str, Path] = {}
        self.client = mlflow.MlflowClient(uri, uri)

    def add(
        self,
        model: ModelProto,
        *aliases: str,
        change: Callable[[Path], object] = lambda folder: None,
        permitted: bool = True,
    ) -> str:
        folder = models.save(self.folder / f"{len(self.folders)}", model, {"x": ROW.tolist()})
        if self.sealed:
            models.seal(folder, self.name)
        change(folder)
        version = publish(self.uri, self.name, folder, aliases, permitted=permitted)
        self.folders[version] = folder
        return version

    def move(self, version: str, alias: str = "champion") -> None:
        move(self.uri, self.name, alias, version)

    def permit(self, version: str, **what: Any) -> str:
        return permit(self.uri, self.name, version, **what)

    def withdraw(self, version: str, serial: int = 2) -> str:
        return self.permit(version, granted=False, serial=serial, basis="ledger", why="wrong sevens")

    def tags(self, version: str) -> dict[str, str]:
        return dict(self.client.get_model_version(self.name, version).tags)

    def tag(self, version: str, key: str, value: str) -> None:
        self.client.set_model_version_tag(self.name, version, key, value)

    def untag(self, version: str, key: str) -> None:
        self.client.delete_model_version_tag(self.name, version, key)

    def serve(self, home: Path, **options: Any) -> ServerProcess:
        given = {"tracking_uri": self.uri, "allow_unsigned": not self.sealed, "poll": 0.1, **options}
        return ServerProcess(f"{self.name}@champion", home=home, **given)


def looked_again(server: ServerProcess, name: str) -> None:
    """Wait until the registry has been read anew, from beginning to end."""

    def seen() -> float:
        return server.metric(f'slipway_serving_registry_seen_timestamp_seconds{{model="{name}"')

    for _ in range(2):
        before = seen()
        wait_for(lambda: seen() > before)  # noqa: B023


def serves(server: ServerProcess, version: str) -> Callable[[], bool]:
    return lambda: server.post("/invocations", BODY).version == version


class Rollout:
    """A rollout of two versions of a model, as a controller would have written it: nothing but the record and its run."""

    def __init__(self, registered: Registered, old: str, new: str, **record: Any) -> None:
        self.registered = registered
        client = registered.client
        self.run = client.create_run(client.get_experiment_by_name("serving").experiment_id).info.run_id
        digests = {
            f"{which}_sha256": sha256_of(registered.folders[version] / "model.onnx")
            for which, version in (("old", old), ("new", new))
        }
        usual: dict[str, Any] = {"salt": "salt", "step": 0, "weight": 0.0, "sequence": 1}
        self.record = RolloutRecord(
            model=registered.name, run=self.run, old=int(old), new=int(new), **digests, **usual | record
        )

    def write(self, text: str | None = None, **changes: Any) -> str:
        """Put the record where servers find it, the next in its sequence unless another is asked for; or a text as it is."""
        if text is None:
            self.record = self.record.model_copy(update={"sequence": self.record.sequence + 1, **changes})
            text = sign_record(self.record, private_key())
        self.registered.client.set_registered_model_tag(self.registered.name, ROLLOUT_TAG, text)
        return text

    def reports(self) -> dict[str, PodReport]:
        """What each process has counted."""
        return read_reports(self.registered.client.get_run(self.run).data.tags)

    def stands(self, server: ServerProcess) -> Any:
        """What a server says of it."""
        return server.get("/health").json["models"][self.registered.name]["rollout"] or {}
