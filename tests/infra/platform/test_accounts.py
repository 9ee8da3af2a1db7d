"""Accounts of `slipway up`: the real servers refuse who has none, and what starts them gives their clients what they ask for."""

import base64
import os
import subprocess
import sys
import urllib.error
import urllib.request
from pathlib import Path

import pytest
from checkout import ROOT
from composed import free_ports

from infra.platform.accounts import accounts
from infra.platform.local import environment, services
from infra.platform.services import ServiceGroup
from tasks.errors import StepError, UserError
from tasks.registry.reachability import check_mlflow

GIVEN = {
    "PREFECT_SERVER_API_AUTH_STRING": "ada:a-long-prefect-secret",
    "MLFLOW_AUTH_ADMIN_USERNAME": "ada",
    "MLFLOW_AUTH_ADMIN_PASSWORD": "a-long-mlflow-secret",
}


def test_nobody_is_asked_for_anything_until_an_account_is_given(tmp_path: Path) -> None:
    assert accounts(tmp_path, {"MLFLOW_TRACKING_PASSWORD": "of another server"}) == {}
    assert list(tmp_path.iterdir()) == []


def test_a_password_may_be_in_a_file_and_is_written_nowhere_else(tmp_path: Path) -> None:
    for name, secret in GIVEN.items():
        (tmp_path / name).write_text(f"{secret}\n")
    home = tmp_path / "100%"
    home.mkdir()
    account = accounts(
        home, {f"{name}_FILE": str(tmp_path / name) for name in GIVEN if "USERNAME" not in name}
    )
    assert account["PREFECT_API_AUTH_STRING"] == GIVEN["PREFECT_SERVER_API_AUTH_STRING"]
    assert account["MLFLOW_TRACKING_USERNAME"] == "admin"
    assert account["MLFLOW_TRACKING_PASSWORD"] == GIVEN["MLFLOW_AUTH_ADMIN_PASSWORD"]
    assert all("secret" not in path.read_text() for path in home.iterdir())
    with pytest.raises(UserError, match="PREFECT_SERVER_API_AUTH_STRING_FILE=/nowhere cannot be read"):
        accounts(home, {"PREFECT_SERVER_API_AUTH_STRING_FILE": "/nowhere"})


@pytest.mark.parametrize(
    ("given", "give"),
    [(text, "name:password") for text in ("ada:", "ada: ", "ada:,", ":", " : ")]
    + [(text, "one") for text in (" ", "\t", ",")],
)
def test_what_is_no_password_of_prefects_is_refused(tmp_path: Path, given: str, give: str) -> None:
    with pytest.raises(
        UserError,
        match=f"^PREFECT_SERVER_API_AUTH_STRING is set and holds no secret: give {give}, or unset it.$",
    ):
        accounts(tmp_path, {"PREFECT_SERVER_API_AUTH_STRING": given})


@pytest.mark.parametrize("given", [" ", "\t", ",", " ,\n"])
@pytest.mark.parametrize("name", ["MLFLOW_AUTH_ADMIN_PASSWORD", "MLFLOW_FLASK_SERVER_SECRET_KEY"])
def test_blanks_and_commas_are_no_password_of_mlflows(tmp_path: Path, name: str, given: str) -> None:
    with pytest.raises(UserError, match=f"^{name} is set and holds no secret: give one, or unset it.$"):
        accounts(tmp_path, GIVEN | {name: given})
    assert list(tmp_path.iterdir()) == []


def test_a_password_may_have_blanks_commas_and_colons(tmp_path: Path) -> None:
    given = {"PREFECT_SERVER_API_AUTH_STRING": "ada: :,x", "MLFLOW_AUTH_ADMIN_PASSWORD": ", :x"}
    account = accounts(tmp_path, given)
    assert (account["PREFECT_API_AUTH_STRING"], account["MLFLOW_TRACKING_PASSWORD"]) == tuple(given.values())


def test_beside_a_file_an_empty_variable_switches_no_account_off(tmp_path: Path) -> None:
    (tmp_path / "password").write_text("a-long-mlflow-secret")
    file = {"MLFLOW_AUTH_ADMIN_PASSWORD_FILE": str(tmp_path / "password")}
    account = accounts(tmp_path, {"MLFLOW_AUTH_ADMIN_PASSWORD": "", **file})
    assert account["MLFLOW_TRACKING_PASSWORD"] == "a-long-mlflow-secret"


@pytest.mark.slow
def test_the_servers_of_up_refuse_a_request_without_an_account(
    tmp_path: Path, empty_mlflow_database: Path, empty_prefect_database: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in GIVEN.items():
        monkeypatch.setenv(name, value)
    (tmp_path / "mlflow.db").write_bytes(empty_mlflow_database.read_bytes())
    (tmp_path / "prefect.db").write_bytes(empty_prefect_database.read_bytes())
    ports = dict(zip(("prefect", "worker", "mlflow", "server"), free_ports(4), strict=True))
    group = ServiceGroup(services(tmp_path, ports)[:2], tmp_path / "logs", environment(tmp_path, ports))
    try:
        group.start()
        addresses = {kept.service.name: kept.service.url for kept in group.kept}
        asked = {
            "prefect": f"{addresses['prefect']}/api/admin/version",
            "mlflow": f"{addresses['mlflow']}/api/2.0/mlflow/experiments/search?max_results=1",
        }
        account = {"prefect": GIVEN["PREFECT_SERVER_API_AUTH_STRING"], "mlflow": "ada:a-long-mlflow-secret"}
        for name, url in asked.items():
            assert (status(url), status(url, "ada:wrong"), status(url, account[name])) == (401, 401, 200), (
                name
            )
        assert f"Prefect at {addresses['prefect']}/api does not accept who asks" in told(
            addresses["prefect"], tmp_path, "ada:wrong"
        )
        with pytest.raises(UserError, match="does not accept who asks: set MLFLOW_TRACKING_USERNAME"):
            check_mlflow(addresses["mlflow"])
        for name in ("MLFLOW_TRACKING_USERNAME", "MLFLOW_TRACKING_PASSWORD"):
            monkeypatch.setenv(name, environment(tmp_path, ports)[name])
        check_mlflow(addresses["mlflow"])
    finally:
        group.stop(10)
    monkeypatch.setenv("MLFLOW_AUTH_ADMIN_PASSWORD", "a-long-other-secret")
    mlflow = services(tmp_path, ports)[1:2]
    group = ServiceGroup(mlflow, tmp_path / "logs", environment(tmp_path, ports))
    with pytest.raises(StepError, match="first password that 'ada' was given, and MLFLOW_AUTH_ADMIN_PASSW"):
        group.start()
    group.stop(10)
    for path in (path for path in tmp_path.rglob("*") if path.is_file()):
        assert b"a-long-" not in path.read_bytes(), path


def told(prefect: str, home: Path, account: str) -> str:
    """What `slipway run` says to somebody whom Prefect does not know: one line, and exit code 1."""
    environment = {name: value for name, value in os.environ.items() if name not in GIVEN}
    server = {"PREFECT_API_URL": f"{prefect}/api", "PREFECT_API_AUTH_STRING": account}
    done = subprocess.run(
        [sys.executable, "-m", "flows.cli", "run", "digits"],
        env={**environment, **server, "SLIPWAY_HOME": str(home / "theirs")},
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 1 and "Traceback" not in done.stderr and "wrong" not in done.stderr, done.stderr
    return done.stderr


def status(url: str, account: str = "") -> int:
    """Of the answer to a request with or without an account."""
    request = urllib.request.Request(url)
    if account:
        request.add_header("Authorization", f"Basic {base64.b64encode(account.encode()).decode()}")
    try:
        with urllib.request.urlopen(request, timeout=60) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as error:
        error.close()
        return error.code
