"""What the follower asks of the registry, on a real server and on a local store; over HTTP without MLflow's import."""

import errno
import os
import subprocess
import sys
from pathlib import Path
from uuid import uuid4

import numpy as np
import pytest
import serving_models as models
from serving_process import publish

from infra.serving.lifecycle.follower import champion
from infra.serving.lifecycle.registry import Absent, AliasSource, Unfetched
from infra.serving.options import Target
from tasks.errors import StepError
from tasks.proof.permit import PERMIT_TAG


@pytest.fixture(params=["sqlite", pytest.param("http", marks=pytest.mark.slow)])
def uri(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "http":
        return str(request.getfixturevalue("mlflow_server"))
    database = tmp_path / "mlflow.db"
    database.write_bytes(request.getfixturevalue("empty_mlflow_database").read_bytes())
    return f"sqlite:///{database}"


@pytest.fixture
def name(uri: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A model with one version, its champion."""
    monkeypatch.chdir(tmp_path)  # where a local store without a server puts files
    row = np.zeros((1, 64), "float32")
    folder = models.save(tmp_path / "version", models.mlp(seed=1), {"x": row.tolist()})
    name = f"followed-{uuid4().hex[:8]}"
    publish(uri, name, folder, ("champion",))
    return name


def test_what_an_alias_names_its_files_and_what_it_does_not_name(uri: str, name: str, tmp_path: Path) -> None:
    registry = AliasSource(uri)
    pointer = registry.resolve(Target.parse(f"{name}@champion"))
    assert pointer == registry.resolve(Target.parse(f"{name}/1"))
    assert pointer.version == "1" and pointer.created > 1_700_000_000_000
    for missing in (f"{name}@challenger", f"{name}/2", "nobody-at-all"):
        with pytest.raises(Absent, match="^no .* yet: .* serves as soon as the registry has it"):
            registry.resolve(Target.parse(missing))
    with pytest.raises(Absent, match="^no version yet: nobody-at-all serves as soon as the registry has it"):
        registry.registered("nobody-at-all")
    with pytest.raises(Absent, match=f"^no challenger yet: {name}@challenger serves as soon as"):
        champion(Target.parse(f"{name}@challenger"), registry.registered(name), None)
    folder = registry.fetch(name, "1", tmp_path / "into")
    assert (folder / "model.onnx").read_bytes() == (tmp_path / "version" / "model.onnx").read_bytes()
    with pytest.raises(Unfetched, match="cannot be downloaded"):
        registry.fetch(name, "2", tmp_path / "nothing")


def test_a_version_that_was_gone_back_from_is_tagged(uri: str, name: str) -> None:
    registry, target = AliasSource(uri), Target.parse(f"{name}/1")
    before = registry.resolve(target)
    registry.note_revert(name, "1", "it failed")
    assert registry.resolve(target) == before.model_copy(update={"reverted": "it failed"})
    registry.note_revert(name, "99", "what was deleted meanwhile needs no tag")


def test_a_permit_that_changes_makes_another_pointer_of_the_same_version(uri: str, name: str) -> None:
    registry, target = AliasSource(uri), Target.parse(f"{name}/1")
    before = registry.resolve(target)
    registry.client.set_model_version_tag(name, "1", PERMIT_TAG, "signed")
    now = registry.resolve(target)
    assert now != before and now.identity == before.identity
    assert (before.permit, now.permit) == ("", "signed") and len(now.run_id) == 32


def test_the_newest_version_comes_with_its_model_as_it_is_when_asked_for_alone(
    uri: str, name: str, tmp_path: Path
) -> None:
    registry = AliasSource(uri)
    publish(uri, name, tmp_path / "version")
    registry.note_revert(name, "2", "it failed")
    newest = registry.registered(name).newest
    assert newest == (registry.resolve(Target.parse(f"{name}/2")) if uri.startswith("http") else None)


def test_a_full_disk_is_told_from_a_registry_that_is_down(
    uri: str, name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    registry = AliasSource(uri)

    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr("shutil.copyfileobj" if uri.startswith("sqlite") else "pathlib.Path.open", full)
    monkeypatch.setattr("shutil.copyfile", full)
    with pytest.raises(Unfetched, match="the disk of the cache is full"):
        registry.fetch(name, "1", tmp_path / "into")


def test_a_registry_that_is_away_is_said() -> None:
    with pytest.raises(StepError, match="MLflow does not answer at http://127.0.0.1:9 "):
        AliasSource("http://127.0.0.1:9")


def test_over_http_mlflow_is_not_imported(mlflow_server: str) -> None:
    """Its import takes seconds and a hundred megabytes, and the server's image has no MLflow."""
    code = (
        "import sys; from infra.serving.lifecycle.registry import Absent, AliasSource, Target\n"
        "try: AliasSource(sys.argv[1]).resolve(Target.parse('nobody-at-all'))\n"
        "except Absent: print('mlflow' in sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, mlflow_server], capture_output=True, text=True, check=True
    )
    assert done.stdout == "False\n"
