"""infra/compose.yaml as processes: a run through Prefect on PostgreSQL and Redis, MLflow on PostgreSQL and S3, and two workers."""

import subprocess
import sys
import urllib.error
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from checkout import ROOT, SUPPORT
from composed import Composed
from composed_platform import (
    call,
    checkpoint_is_mirrored,
    mlflow,
    objects,
    prefect,
    running,
    s3_environment,
    state_of,
    until,
)

WORKLOAD = str(SUPPORT / "held_digits.py")
MODEL = "held-digits"


@pytest.fixture
def platform(tmp_path: Path) -> Iterator[Composed]:
    with running(tmp_path, MODEL) as composed:
        yield composed


@pytest.mark.platform
@pytest.mark.timeout(3600)
def test_a_run_outlives_its_worker_on_the_composed_platform(platform: Composed, tmp_path: Path) -> None:
    refuses_who_has_no_credentials(platform)
    hold = tmp_path / "hold"
    hold.touch()
    platform.start("worker", "worker-1", {"SLIPWAY_TEST_HOLD": str(hold)})
    lost = start_run(platform)
    until(lambda: checkpoint_is_mirrored(platform, lost), platform)
    platform.kill("worker-1")
    hold.unlink()
    give_up(platform, lost)

    platform.start("worker", "worker-2")
    platform.start("server")
    run = start_run(platform)
    until(lambda: state_of(platform, run) == "COMPLETED", platform)

    tracked = mlflow_run_of(platform, run)
    assert tracked["info"]["status"] == "FINISHED"
    went_on_from_the_mirrored_checkpoint(platform)
    all_was_signed_where_no_worker_has_the_key(platform)
    artifacts_are_on_s3(platform, tracked)
    serves_the_model_to_who_has_a_key(platform)
    no_secret_is_written_anywhere(platform)
    a_wrong_password_and_a_missing_bucket_are_one_sentence(platform, tmp_path)


def refuses_who_has_no_credentials(platform: Composed) -> None:
    for address in (
        f"{platform.address('prefect')}/api/flows/count",
        f"{platform.address('mlflow')}/api/2.0/mlflow/experiments/search",
    ):
        with pytest.raises(urllib.error.HTTPError, match="401"):
            call(address, {}, {})


def start_run(platform: Composed) -> str:
    """A run of the deployment for any workload; its id. The worker registers the deployments when it starts."""
    deployment = until(lambda: prefect(platform, "deployments/name/retrain/any"), platform)
    parameters = {"file": WORKLOAD, "recipes": ["fp32"]}
    made = prefect(
        platform,
        f"deployments/{deployment['id']}/create_flow_run",
        {"parameters": parameters, "state": {"type": "SCHEDULED"}},
    )
    return str(made["id"])


def give_up(platform: Composed, run: str) -> None:
    """What infra/automations/lost-runs.yaml does when a run's heartbeats stop; shown in test_own_model.py."""
    body = {"state": {"type": "CRASHED", "message": "lost"}, "force": True}
    assert prefect(platform, f"flow_runs/{run}/set_state", body)["status"] == "ACCEPT"


def went_on_from_the_mirrored_checkpoint(platform: Composed) -> None:
    """The first worker's steps are in the second's log of metrics, and were not made by it."""
    log = next((platform.folder / "worker-2" / "work" / MODEL / "training").rglob("metrics.jsonl"))
    other = platform.folder / "worker-1" / log.relative_to(platform.folder / "worker-2")
    begun = other.read_text().splitlines()
    assert begun and log.read_text().splitlines()[: len(begun) // 2] == begun[: len(begun) // 2]


def all_was_signed_where_no_worker_has_the_key(platform: Composed) -> None:
    environment = platform.environment("worker")
    assert platform.secret("signing_private") not in "".join(environment.values())
    assert "signing_private" not in "".join(environment.values())
    assert not [path for path in (platform.folder / "worker-2").rglob("private.pem")]
    said = platform.log("signer").read_text()
    for kind in (
        "signed a folder's files",
        "signed a permit",
        "signed entry 1",
        "signed how far a ledger has come",
    ):
        assert kind in said, said[-3000:]


def mlflow_run_of(platform: Composed, run: str) -> dict[str, Any]:
    """The one finished MLflow run that names this Prefect run."""
    experiment = mlflow(platform, f"experiments/get-by-name?experiment_name={MODEL}")["experiment"]
    query = {
        "experiment_ids": [experiment["experiment_id"]],
        "filter": f"tags.`prefect.flow_run_id` = '{run}'",
    }
    runs = mlflow(platform, "runs/search", query)["runs"]
    assert len(runs) == 1
    return dict(runs[0])


def artifacts_are_on_s3(platform: Composed, tracked: dict[str, Any]) -> None:
    names = objects(platform, "mlflow")
    assert any(tracked["info"]["run_id"] in name and name.endswith("report.html") for name in names)
    assert any(name.endswith("model.onnx") for name in names)


def serves_the_model_to_who_has_a_key(platform: Composed) -> None:
    url = f"{platform.address('server')}/models/{MODEL}/invocations"
    rows = {"inputs": {"image": [[[[0] * 8] * 8]]}}
    with pytest.raises(urllib.error.HTTPError, match="401"):
        call(url, rows, {})
    key = {"Authorization": f"Bearer {platform.secret('serve_keys')}"}
    answer = until(lambda: call(url, rows, key), platform)
    assert len(answer["predictions"]["logits"][0]) == 10


def no_secret_is_written_anywhere(platform: Composed) -> None:
    """Logs, workers' folders, S3's volumes and PostgreSQL's files: parameters, tags and artifacts are in them."""
    names = [path.name for path in platform.secrets.iterdir() if path.name != "signing_public"]
    secrets = {name: platform.secret(name).split(":")[-1].encode() for name in names}
    written = {
        (str(path.relative_to(platform.folder.parent)), name)
        for path in platform.files()
        for content in [path.read_bytes()]
        for name, secret in secrets.items()
        if secret in content
    }
    assert written == set()


def a_wrong_password_and_a_missing_bucket_are_one_sentence(platform: Composed, tmp_path: Path) -> None:
    wrong = {"MLFLOW_TRACKING_PASSWORD": "wrong", "SLIPWAY_HOME": str(tmp_path / "laptop")}
    environment = {**platform.environment("worker"), **wrong}
    command = [sys.executable, "-m", "flows.cli", "history", MODEL]
    asked = subprocess.run(command, env=environment, cwd=ROOT, capture_output=True, text=True)
    assert asked.returncode == 1
    assert asked.stderr.startswith(f"slipway: MLflow at {platform.address('mlflow')} does not accept")
    assert asked.stderr.count("\n") == 1
    probe = "from pathlib import Path; from tasks.system.storage import ObjectStorage; ObjectStorage('s3://nobodys/store', Path()).check()"
    environment = {**platform.environment("worker"), **s3_environment(platform)}
    asked = subprocess.run(
        [sys.executable, "-c", probe], env=environment, cwd=ROOT, capture_output=True, text=True
    )
    assert "StepError: SLIPWAY_STORE=s3://nobodys/store is not there" in asked.stderr
