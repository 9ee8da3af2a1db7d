"""The model server's account on a real MLflow server: it reads, notes what it went back from, and is no admin."""

import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from free_ports import free_port

from infra.platform.accounts import accounts
from infra.platform.mlflow_account import make_account
from infra.platform.services import RunningService, Service
from tasks.errors import RefusedError
from tasks.promotion.deciders import Decider, check_may_decide, decided_by
from tasks.registry.http import MlflowError, MlflowServer
from tasks.registry.rest import RestClient
from tasks.registry.tags import MOVED_BY_TAG
from tasks.settings import Policy, Settings

API = "/api/2.0/mlflow"


@pytest.fixture(scope="module")
def mlflow(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a server that asks who asks; the first account is admin's."""
    folder, port = tmp_path_factory.mktemp("mlflow"), free_port()
    command = (
        "infra.platform.mlflow_server",
        str(port),
        f"sqlite:///{folder / 'mlflow.db'}",
        folder.as_uri(),
    )
    url = f"http://127.0.0.1:{port}"
    service = RunningService(Service("mlflow", command, health=f"{url}/health"), folder / "log")
    given = {"MLFLOW_AUTH_ADMIN_PASSWORD": "a-long-first-password"}
    service.start(given | accounts(folder, given) | {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"})
    try:
        while not service.ready:
            service.check()
            time.sleep(0.1)
        yield url
    finally:
        service.stop(5)


def account(patch: pytest.MonkeyPatch, name: str, password: str) -> None:
    patch.setenv("MLFLOW_TRACKING_USERNAME", name)
    patch.setenv("MLFLOW_TRACKING_PASSWORD", password)


@pytest.mark.slow
def test_the_servers_account_does_no_more_than_it_must_and_who_moves_the_champion_is_noted(
    mlflow: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    account(monkeypatch, "admin", "a-long-first-password")
    admin = MlflowServer(mlflow)
    for model in ("digits", "others"):
        admin.ask("POST", f"{API}/registered-models/create", json={"name": model})
        admin.ask(
            "POST", f"{API}/model-versions/create", json={"name": model, "source": "s3://bucket/nowhere"}
        )
    alias = {"name": "others", "alias": "champion", "version": "1"}
    admin.ask("POST", f"{API}/registered-models/alias", json=alias)
    (noted,) = RestClient(mlflow).get_registered_model("others").tags.items()
    assert noted == (MOVED_BY_TAG, '{"who": "admin", "version": "1"}')
    for password in ("an-older-password-of-it", "the-password-of-the-server"):
        make_account(MlflowServer(mlflow), "server", password, ["digits"])

    account(monkeypatch, "server", "the-password-of-the-server")
    client = RestClient(mlflow)
    assert client.get_model_version("digits", "1").version == "1"
    client.set_model_version_tag("digits", "1", "slipway.reverted", "{}")
    server = MlflowServer(mlflow)
    for method, path, body in (
        ("POST", "model-versions/set-tag", {"name": "others", "version": "1", "key": "x", "value": "y"}),
        ("POST", "users/create", {"username": "eve", "password": "a-long-password-of-eve"}),
        ("PATCH", "users/update-admin", {"username": "server", "is_admin": True}),
    ):
        with pytest.raises(MlflowError, match="does not accept who asks"):
            server.request(method, f"{API}/{path}", json=body)
    account(monkeypatch, "server", "an-older-password-of-it")
    with pytest.raises(MlflowError, match="does not accept"):
        RestClient(mlflow).get_model_version("digits", "1")


@pytest.mark.slow
def test_who_decides_is_the_account_that_the_server_knows_and_a_wrong_password_proves_nobody(
    mlflow: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SLIPWAY_USER", "night shift")
    account(monkeypatch, "admin", "a-long-first-password")
    make_account(MlflowServer(mlflow), "bob", "a-long-password-of-bob", [])
    team = {"digits": Policy(approvers=("bob",), by_account=True)}
    settings = Settings(home=tmp_path, tracking_uri=mlflow, models=team)
    account(monkeypatch, "bob", "a-long-password-of-bob")
    assert decided_by(settings) == Decider(who="bob")
    assert decided_by(settings, "ada") == Decider(who="ada", account="bob", claimed=True)
    check_may_decide(settings, "digits", None)
    account(monkeypatch, "bob", "a-guess-of-somebody-else")
    assert decided_by(settings, "bob") == Decider(who="bob", claimed=True)
    with pytest.raises(RefusedError, match="Nothing proves that this is bob"):
        check_may_decide(settings, "digits", "bob")
