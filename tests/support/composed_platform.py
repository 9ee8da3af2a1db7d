"""The team's platform of infra/compose.yaml, up as processes, and what its servers answer."""

import base64
import contextlib
import json
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

import pytest
from composed import Composed

from infra.secrets.generate import make_secrets

T = TypeVar("T")

_SECONDS = 1200


@contextlib.contextmanager
def running(folder: Path, model: str) -> Iterator[Composed]:
    """All services but the workers, the model server and what only watches; the server's account may tag `model`."""
    make_secrets(folder / "secrets")
    (folder / "state").mkdir()
    composed = Composed(folder / "state", folder / "secrets")
    try:
        for service in ("postgres", "redis", "s3"):
            composed.start(service)
        for service in ("postgres", "redis", "s3"):
            composed.wait(service)
        until(lambda: bucket_exists(composed, "mlflow"), composed)
        composed.make_databases()
        accounts = composed.write_config("mlflow_auth", folder)
        composed.start("prefect")
        composed.start("mlflow", extra={"MLFLOW_AUTH_CONFIG_PATH": str(accounts)})
        composed.wait("prefect", "/api/health")
        composed.wait("mlflow", "/health")
        composed.start("mlflow-account", words={"digits": model})
        assert composed.processes.pop("mlflow-account").wait(240) == 0, composed.last_lines("mlflow-account")
        composed.start("prefect-services")
        composed.start("signer")
        composed.wait("signer", "/public-key")
        yield composed
    finally:
        composed.stop()


def state_of(platform: Composed, run: str) -> str:
    state = prefect(platform, f"flow_runs/{run}")["state"]
    assert state["type"] not in ("FAILED", "CRASHED", "CANCELLED"), state
    return str(state["type"])


def checkpoint_is_mirrored(platform: Composed, run: str) -> bool:
    """Whether the store has one of the run, which goes on."""
    state_of(platform, run)
    names = objects(platform, "slipway")
    return any(name.startswith("store/work/") and name.endswith("manifest.json") for name in names)


def prefect(
    platform: Composed, path: str, body: dict[str, Any] | None = None, method: str | None = None
) -> dict[str, Any]:
    address = f"{platform.address('prefect')}/api/{path}"
    return call(address, body, basic(platform.secret("prefect_auth")), method)


def mlflow(platform: Composed, path: str, body: dict[str, Any] | None = None) -> dict[str, Any]:
    account = basic(f"slipway:{platform.secret('mlflow_password')}")
    return call(f"{platform.address('mlflow')}/api/2.0/mlflow/{path}", body, account)


def basic(account: str) -> dict[str, str]:
    return {"Authorization": f"Basic {base64.b64encode(account.encode()).decode()}"}


def call(
    url: str, body: dict[str, Any] | None, headers: dict[str, str], method: str | None = None
) -> dict[str, Any]:
    data = None if body is None else json.dumps(body).encode()
    headers = {"Content-Type": "application/json", **headers}
    request = urllib.request.Request(url, data, headers, method=method)
    try:
        with urllib.request.urlopen(request, timeout=60) as answer:
            document: dict[str, Any] = json.loads(answer.read() or b"{}")
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


def s3_client(platform: Composed) -> Any:
    import boto3

    given = s3_environment(platform)
    return boto3.client(
        "s3",
        endpoint_url=given["AWS_ENDPOINT_URL"],
        region_name=given["AWS_DEFAULT_REGION"],
        aws_access_key_id=given["AWS_ACCESS_KEY_ID"],
        aws_secret_access_key=given["AWS_SECRET_ACCESS_KEY"],
    )


def objects(platform: Composed, bucket: str) -> list[str]:
    """The names in a bucket; none when there is no such bucket yet."""
    with contextlib.closing(s3_client(platform)) as client:
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
