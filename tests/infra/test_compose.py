"""infra/compose.yaml as processes: a run through Prefect on PostgreSQL and Redis, MLflow on PostgreSQL and S3, and two workers."""

import base64
import contextlib
import json
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

import pytest
from checkout import ROOT, SUPPORT
from composed import Composed

from infra.secrets.generate import make_secrets

T = TypeVar("T")
WORKLOAD = str(SUPPORT / "held_digits.py")
MODEL = "held-digits"
_SECONDS = 1200


@pytest.fixture
def platform(tmp_path: Path) -> Iterator[Composed]:
    """All services but the workers and what only watches, up."""
    make_secrets(tmp_path / "secrets")
    (tmp_path / "state").mkdir()
    composed = Composed(tmp_path / "state", tmp_path / "secrets")
    try:
        for service in ("postgres", "redis", "s3"):
            composed.start(service)
        for service in ("postgres", "redis", "s3"):
            composed.wait(service)
        until(lambda: bucket_exists(composed, "mlflow"), composed)
        composed.make_databases()
        accounts = composed.write_config("mlflow_auth", tmp_path)
        composed.start("prefect")
        composed.start("mlflow", extra={"MLFLOW_AUTH_CONFIG_PATH": str(accounts)})
        composed.wait("prefect", "/api/health")
        composed.wait("mlflow", "/health")
        composed.start("mlflow-account", words={"digits": MODEL})
        assert composed.processes.pop("mlflow-account").wait(240) == 0, composed.last_lines("mlflow-account")
        composed.start("prefect-services")
        yield composed
    finally:
        composed.stop()


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
    platform.start("server", words={"digits@champion": f"{MODEL}@champion"})
    run = start_run(platform)
    until(lambda: state_of(platform, run) == "COMPLETED", platform)

    tracked = mlflow_run_of(platform, run)
    assert tracked["info"]["status"] == "FINISHED"
    went_on_from_the_mirrored_checkpoint(platform)
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
    """What infra/automations/lost-runs.yaml does when a run's heartbeats stop; tested by itself."""
    body = {"state": {"type": "CRASHED", "message": "lost"}, "force": True}
    assert prefect(platform, f"flow_runs/{run}/set_state", body)["status"] == "ACCEPT"


def state_of(platform: Composed, run: str) -> str:
    state = prefect(platform, f"flow_runs/{run}")["state"]
    assert state["type"] not in ("FAILED", "CRASHED", "CANCELLED"), state
    return str(state["type"])


def checkpoint_is_mirrored(platform: Composed, run: str) -> bool:
    state_of(platform, run)
    names = objects(platform, "slipway")
    return any(name.startswith("store/work/") and name.endswith("manifest.json") for name in names)


def went_on_from_the_mirrored_checkpoint(platform: Composed) -> None:
    """The first worker's steps are in the second's log of metrics, and were not made by it."""
    log = next((platform.folder / "worker-2" / "work" / MODEL / "training").rglob("metrics.jsonl"))
    other = platform.folder / "worker-1" / log.relative_to(platform.folder / "worker-2")
    begun = other.read_text().splitlines()
    assert begun and log.read_text().splitlines()[: len(begun) // 2] == begun[: len(begun) // 2]


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
    url = f"{platform.address('server')}/invocations"
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


def prefect(platform: Composed, path: str, body: dict[str, Any] | None = None) -> dict[str, Any]:
    return call(f"{platform.address('prefect')}/api/{path}", body, basic(platform.secret("prefect_auth")))


def mlflow(platform: Composed, path: str, body: dict[str, Any] | None = None) -> dict[str, Any]:
    account = basic(f"slipway:{platform.secret('mlflow_password')}")
    return call(f"{platform.address('mlflow')}/api/2.0/mlflow/{path}", body, account)


def basic(account: str) -> dict[str, str]:
    return {"Authorization": f"Basic {base64.b64encode(account.encode()).decode()}"}


def call(url: str, body: dict[str, Any] | None, headers: dict[str, str]) -> dict[str, Any]:
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(url, data, {"Content-Type": "application/json", **headers})
    try:
        with urllib.request.urlopen(request, timeout=60) as answer:
            document: dict[str, Any] = json.load(answer)
            return document
    except urllib.error.HTTPError as error:
        error.close()
        raise


def s3_environment(platform: Composed) -> dict[str, str]:
    return {
        "AWS_ENDPOINT_URL": platform.address("s3"),
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_ACCESS_KEY_ID": platform.secret("s3_access_key"),
        "AWS_SECRET_ACCESS_KEY": platform.secret("s3_secret_key"),
    }


def objects(platform: Composed, bucket: str) -> list[str]:
    """The names in a bucket; none when there is no such bucket yet."""
    import boto3

    given = s3_environment(platform)
    client = boto3.client(
        "s3",
        endpoint_url=given["AWS_ENDPOINT_URL"],
        region_name=given["AWS_DEFAULT_REGION"],
        aws_access_key_id=given["AWS_ACCESS_KEY_ID"],
        aws_secret_access_key=given["AWS_SECRET_ACCESS_KEY"],
    )
    with contextlib.closing(client):
        return [entry["Key"] for entry in client.list_objects_v2(Bucket=bucket).get("Contents", ())]


def bucket_exists(platform: Composed, bucket: str) -> bool:
    from botocore.exceptions import BotoCoreError, ClientError

    try:
        objects(platform, bucket)
    except (BotoCoreError, ClientError):
        return False
    return True


def until(get: Callable[[], T], platform: Composed) -> T:
    """What `get` gives once it gives something; a service that is not there yet gives nothing."""
    end = time.monotonic() + _SECONDS
    problem: object = None
    while time.monotonic() < end:
        try:
            if given := get():
                return given
        except OSError as error:
            problem = error
        time.sleep(0.3)
    logs = {name: platform.last_lines(name) for name in platform.processes}
    pytest.fail(f"nothing within {_SECONDS} s; last {problem!r}; {logs}")
