"""MLflow away while a model is trained, in the wrong hands, or of another version: what goes on, and what is said."""

import json
import os
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from checkout import ROOT, SUPPORT
from free_ports import free_port
from mlflow_process import MlflowProcess

from tasks.errors import StepError
from tasks.registry.http import MlflowError
from tasks.registry.reachability import check_mlflow, explain, explain_database
from tasks.registry.registry import Registry
from tasks.settings import load_settings
from tasks.training.metrics import read_metrics

WORKLOAD = SUPPORT / "held_digits.py"
_SECONDS = 600
_OUTAGE_SECONDS = 60


@pytest.fixture
def tracking(tmp_path: Path, empty_mlflow_database: Path) -> Iterator[MlflowProcess]:
    (tmp_path / "mlflow.db").write_bytes(empty_mlflow_database.read_bytes())
    server = MlflowProcess(tmp_path)
    yield server
    server.kill()


@pytest.mark.platform
@pytest.mark.timeout(1800)
def test_training_outlives_mlflow_and_every_metric_arrives_once(
    tmp_path: Path, home: Path, tracking: MlflowProcess, prefect_server: str
) -> None:
    tracking.start()
    hold = tmp_path / "hold"
    hold.touch()
    environment = {
        **os.environ,
        "MLFLOW_TRACKING_URI": tracking.url,
        "PREFECT_API_URL": prefect_server,
        "SLIPWAY_TEST_HOLD": str(hold),
    }
    command = [
        sys.executable,
        "-m",
        "flows.cli",
        "run",
        str(WORKLOAD),
        "--set",
        "recipes=[]",
        "--json",
    ]
    with (tmp_path / "log").open("wb") as log:
        run = subprocess.Popen(command, env=environment, cwd=ROOT, stdout=subprocess.PIPE, stderr=log)
    try:
        training = home / "work" / "held-digits" / "training"
        said = lambda: (tmp_path / "log").read_text()[-2000:]  # noqa: E731
        until(lambda: run.poll() is not None or any(training.rglob("last-*.pt")), said)
        tracking.kill()
        away = time.monotonic()
        hold.unlink()
        until(lambda: run.poll() is not None or any(training.rglob("checkpoint.json")), said)
        until(lambda: time.monotonic() - away >= _OUTAGE_SECONDS, said)
        assert run.poll() is None, said()
        promote = [*command[:3], "promote", "held-digits", "1", "--reason", "now"]
        asked = subprocess.run(promote, env=environment, cwd=ROOT, capture_output=True, text=True)
        assert asked.returncode == 1 and asked.stderr.startswith("slipway: MLflow does not answer at"), asked
        tracking.start()
        outcome = json.loads(run.communicate(timeout=_SECONDS)[0])
    finally:
        run.kill()
        run.wait()
    assert run.returncode == 0 and outcome["decision"] == "promoted", (outcome, said())
    assert "metrics were not delivered" in (tmp_path / "log").read_text()
    noted = Counter(
        (m.key, m.step, m.value) for path in training.rglob("metrics.jsonl") for m in read_metrics(path)
    )
    assert noted and set(noted.values()) == {1}
    assert delivered(tracking.url, outcome["run_id"], {key for key, _, _ in noted}) == noted
    verify = [*command[:3], "verify", "held-digits@champion"]
    assert subprocess.run(verify, env=environment, cwd=ROOT, capture_output=True).returncode == 0


def delivered(url: str, run_id: str, keys: set[str]) -> "Counter[tuple[str, int, float]]":
    import mlflow

    client = mlflow.MlflowClient(url)
    return Counter((m.key, m.step, m.value) for key in keys for m in client.get_metric_history(run_id, key))


@pytest.mark.slow
def test_a_run_waits_for_a_server_that_is_away_and_a_person_is_told_at_once() -> None:
    url = f"http://127.0.0.1:{free_port()}"
    with pytest.raises(MlflowError, match="MLflow does not answer at .*: start it there"):
        check_mlflow(url)
    answers = subprocess.Popen([sys.executable, "-c", _LATE, url.rpartition(":")[2]])
    try:
        check_mlflow(url, patience=_SECONDS)
    finally:
        answers.kill()
        answers.wait()


_LATE = """
import http.server, sys
class Answer(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200); self.end_headers(); self.wfile.write(b"{}")
    def log_message(self, *_): pass
http.server.HTTPServer(("127.0.0.1", int(sys.argv[1])), Answer).serve_forever()
"""


def test_a_database_of_another_version_is_one_sentence(home: Path, empty_mlflow_database: Path) -> None:
    import sqlite3

    home.mkdir()
    (home / "mlflow.db").write_bytes(empty_mlflow_database.read_bytes())
    connection = sqlite3.connect(home / "mlflow.db")
    connection.execute("UPDATE alembic_version SET version_num = '451aebb31d03'")
    connection.commit()
    connection.close()
    with pytest.raises(
        StepError, match=r"was made by another version of MLflow: back it up and run `mlflow db upgrade`"
    ):
        Registry(load_settings()).client  # noqa: B018


def test_a_database_on_a_full_disk_is_full_and_not_lost(tmp_path: Path, empty_mlflow_database: Path) -> None:
    """SQLite's own words, by way of MLflow, where a database may have no more pages than it has."""
    import sqlalchemy
    from mlflow import MlflowClient

    (tmp_path / "mlflow.db").write_bytes(empty_mlflow_database.read_bytes())
    uri = f"sqlite:///{tmp_path / 'mlflow.db'}"

    def connected(connection: Any, _: object) -> None:
        connection.execute("PRAGMA max_page_count = 1")

    sqlalchemy.event.listen(sqlalchemy.Engine, "connect", connected)
    try:
        with pytest.raises(Exception) as error:
            MlflowClient(uri, uri).create_experiment(
                "large", tags={f"tag {n}": "y" * 4_000 for n in range(50)}
            )
    finally:
        sqlalchemy.event.remove(sqlalchemy.Engine, "connect", connected)
    said = str(explain(uri, error.value))
    assert said.startswith("No space is left on the disk (") and said.endswith("free some and run again.")


def test_a_disk_that_fails_is_no_damaged_database() -> None:
    said = str(
        explain_database(
            "sqlite:////home/mlflow.db", RuntimeError("(sqlite3.OperationalError) disk I/O error")
        )
    )
    assert (
        said.startswith("The disk of MLflow's database sqlite:////home/mlflow.db fails (")
        and "backup" not in said
    )


def test_a_database_that_nobody_serves_is_one_sentence_without_its_password(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    uri = f"postgresql+psycopg2://slipway:hunter2@127.0.0.1:{free_port()}/mlflow"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    monkeypatch.setenv("MLFLOW_SQLALCHEMYSTORE_MAX_DB_CONNECT_RETRIES", "1")
    with pytest.raises(
        StepError, match="MLflow.s database does not answer at .*Connection refused"
    ) as refused:
        Registry(load_settings()).client  # noqa: B018
    assert "hunter2" not in str(refused.value)


def until(true: Callable[[], bool], why: Callable[[], str]) -> None:
    end = time.monotonic() + _SECONDS
    while not true():
        assert time.monotonic() < end, why()
        time.sleep(0.1)
