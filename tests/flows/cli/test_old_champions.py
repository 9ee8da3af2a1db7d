"""What was promoted before there were permits is served on, where its owner's key is; elsewhere a sentence says what to run."""

import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import promotions
import pytest
import serving_models as models
from serving_process import ServerProcess, publish, wait_for

from flows.cli.old_champions import permit
from tasks.proof.permit import PERMIT_TAG
from tasks.registry.registry import Registry
from tasks.settings import load_settings
from tasks.system.signing import public_key


@pytest.fixture
def registry(home: Path, empty_mlflow_database: Path) -> Registry:
    home.mkdir(mode=0o700)
    shutil.copyfile(empty_mlflow_database, home / "mlflow.db")
    return Registry(load_settings())


@pytest.mark.slow
def test_a_champion_of_the_last_release_gets_its_permit_and_nothing_else_does(
    registry: Registry, home: Path, tmp_path: Path
) -> None:
    passed = promotions.register(registry, "toy", tmp_path, 1.0)
    failed = promotions.register(registry, "other", tmp_path, 2.0, "fail")
    for version in (passed, failed):
        registry.set_alias(version.model, "champion", version.version)
    private = home / "keys" / "private.pem"
    private.rename(home / "elsewhere.pem")
    permit(registry.settings, ["toy", "other@champion"])
    assert PERMIT_TAG not in registry.tags(passed) and not private.exists(), "there is no key here"
    (home / "elsewhere.pem").rename(private)
    permit(registry.settings, ["toy", "other@champion", "nobody@champion", f"local={tmp_path}"])
    assert PERMIT_TAG in registry.tags(passed) and PERMIT_TAG not in registry.tags(failed)


def test_a_home_without_a_database_gets_none(home: Path) -> None:
    settings = load_settings()
    (home / "keys").mkdir()
    (home / "keys" / "private.pem").touch()
    permit(settings, ["digits@champion"])
    assert not (home / "mlflow.db").exists()


@contextmanager
def slipway_serve(*words: str) -> Iterator[dict[str, object]]:
    """What the command says once it serves."""
    process = subprocess.Popen([sys.executable, "-m", "flows.cli", "serve", *words], stdout=subprocess.PIPE)
    assert process.stdout is not None
    with process.stdout:
        try:
            yield json.loads(process.stdout.readline())
        finally:
            process.terminate()
            process.wait()


@pytest.mark.slow
def test_slipway_serve_serves_what_an_older_release_promoted_and_another_machine_does_from_then_on(
    registry: Registry, home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)  # where a local store without a server puts files
    uri = registry.settings.tracking_uri
    folder = models.save(tmp_path / "version", models.mlp(), {"x": [[0.5] * 64]})
    models.seal(folder, "toy")
    publish(uri, "toy", folder, ["champion"], permitted=False)
    options = {"tracking_uri": uri, "public_key": public_key(), "poll": 0.1}
    server = ServerProcess("toy", home=tmp_path / "pod", ready=False, **options)
    try:
        server.wait_listening()
        refused = wait_for(lambda: server.get("/ready").json["behind"].get("toy"))
        assert "it has no permit" in refused["reason"] and "`slipway serve toy`" in refused["reason"]
        with slipway_serve("toy", "--port", "0", "--home", str(home)) as said:
            assert said["models"]["toy"]["version"] == "1"  # type: ignore[index]
        server.wait_ready()
        assert server.post("/invocations", {"inputs": {"x": [[0.5] * 64]}}).version == "1"
    finally:
        server.stop()
