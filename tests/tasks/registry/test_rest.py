"""The small client against MLflow's own, on a real server: the same answers, the same refusals, the same files."""

import http.server
import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tasks.errors import StepError
from tasks.registry.download import download_version
from tasks.registry.http import MlflowError
from tasks.registry.rest import RestClient, speaks_rest
from tasks.system.files import sha256_of


@pytest.fixture
def both(mlflow_server: str) -> tuple[RestClient, "MlflowClient"]:  # type: ignore[name-defined]  # noqa: F821
    from mlflow import MlflowClient

    return RestClient(mlflow_server), MlflowClient(mlflow_server, mlflow_server)


def _version(mlflow, model: str, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    (tmp_path / "package" / "deep").mkdir(parents=True)
    (tmp_path / "package" / "MLmodel").write_text("a: model")
    (tmp_path / "package" / "deep" / "a name, with ümlaut.bin").write_bytes(bytes(range(256)) * 9000)
    experiment = mlflow.create_experiment(f"{model}-files")
    logged = mlflow.create_logged_model(experiment, name="one")
    mlflow.log_model_artifacts(logged.model_id, str(tmp_path / "package"))
    mlflow.finalize_logged_model(logged.model_id, "READY")
    mlflow.create_registered_model(model)
    mlflow.create_model_version(
        model,
        f"models:/{logged.model_id}",
        tags={"slipway.sha256": "ab", "empty": ""},
        model_id=logged.model_id,
    )


def test_what_one_writes_the_other_reads(both, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    rest, mlflow = both
    _version(mlflow, "rest-reads", tmp_path)
    text = 'ü "quoted"\n{"json": [1]} ' + "x" * 3000
    rest.set_model_version_tag("rest-reads", "1", "note", text)
    rest.set_registered_model_tag("rest-reads", "head", "7 abc")
    rest.set_registered_model_alias("rest-reads", "champion", "1")

    theirs, ours = mlflow.get_model_version("rest-reads", "1"), rest.get_model_version("rest-reads", "1")
    assert ours.tags == theirs.tags and ours.tags["note"] == text
    assert (ours.name, str(ours.version)) == (theirs.name, str(theirs.version))
    assert ours.creation_timestamp == theirs.creation_timestamp
    aliased = rest.get_model_version_by_alias("rest-reads", "champion")
    assert (aliased.version, aliased.tags) == (ours.version, ours.tags)
    assert mlflow.get_registered_model("rest-reads").aliases == {"champion": "1"}
    assert rest.get_registered_model("rest-reads").tags == {"head": "7 abc"}

    rest.delete_registered_model_alias("rest-reads", "champion")
    rest.delete_registered_model_tag("rest-reads", "head")
    model = mlflow.get_registered_model("rest-reads")
    assert not model.aliases and not model.tags


def test_runs_come_page_by_page_with_all_their_tags(both) -> None:  # type: ignore[no-untyped-def]
    rest, mlflow = both
    experiment = rest.create_experiment("rest/a ledger")
    found = rest.get_experiment_by_name("rest/a ledger")
    assert found is not None and found.experiment_id == experiment
    assert rest.get_experiment_by_name("rest/none") is None
    made = {
        rest.create_run(experiment, run_name=f"entry {number}", tags={"n": str(number)}).info.run_id
        for number in range(5)
    }
    for run_id in made:
        rest.set_terminated(run_id)
    pages, token = [], None
    while True:
        page = rest.search_runs([experiment], max_results=2, page_token=token)
        pages.append([(run.info.run_id, run.data.tags["n"]) for run in page])
        if not (token := page.token):
            break
    assert [len(page) for page in pages] == [2, 2, 1]
    theirs = mlflow.search_runs([experiment])
    assert sorted(sum(pages, [])) == sorted((run.info.run_id, run.data.tags["n"]) for run in theirs)
    assert {run.info.status for run in theirs} == {"FINISHED"}
    assert {run.info.run_name for run in theirs} == {f"entry {number}" for number in range(5)}


def test_a_download_is_the_uploaded_folder(both, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    rest, mlflow = both
    _version(mlflow, "rest-files", tmp_path)
    folder = download_version(rest, "rest-files", 1, tmp_path / "download")
    for path in (tmp_path / "package").rglob("*.*"):
        assert sha256_of(folder / path.relative_to(tmp_path / "package")) == sha256_of(path)


def test_what_is_not_there_is_said_as_mlflow_says_it(both) -> None:  # type: ignore[no-untyped-def]
    from mlflow.exceptions import MlflowException

    for ask in (
        lambda client: client.get_registered_model("rest-nobody"),
        lambda client: client.get_model_version("rest-nobody", "1"),
        lambda client: client.get_model_version_by_alias("rest-nobody", "champion"),
        lambda client: client.set_registered_model_alias("rest-nobody", "champion", "1"),
    ):
        with pytest.raises(MlflowError) as ours:
            ask(both[0])
        with pytest.raises(MlflowException) as theirs:
            ask(both[1])
        assert ours.value.error_code == theirs.value.error_code == "RESOURCE_DOES_NOT_EXIST"
        assert "rest-nobody" in str(ours.value)


class _Misled(http.server.BaseHTTPRequestHandler):
    """A server that names a file outside of the folder it was asked for."""

    def do_GET(self) -> None:
        where = {"artifact_uri": "mlflow-artifacts:/1/models/m"}
        files = {"files": [{"path": "../../outside", "is_dir": False}]}
        self.answer(json.dumps(where if "download-uri" in self.path else files).encode())

    def answer(self, body: bytes) -> None:
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


@contextmanager
def _serving(handler: type[http.server.BaseHTTPRequestHandler]) -> Iterator[str]:
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()


def test_a_fake_servers_file_outside_of_its_folder_is_not_written(tmp_path: Path) -> None:
    with _serving(_Misled) as address, pytest.raises(MlflowError, match="outside of its folder"):
        download_version(RestClient(address), "m", 1, tmp_path / "a" / "b")
    assert not list(tmp_path.rglob("outside"))


class _BreakingOff(_Misled):
    """A server that ends in the middle of a file."""

    def do_GET(self) -> None:
        if not self.path.endswith("/model.onnx"):
            files = {"files": [{"path": "model.onnx", "is_dir": False}]}
            where = {"artifact_uri": "mlflow-artifacts:/1/models/m"}
            return self.answer(json.dumps(where if "download-uri" in self.path else files).encode())
        self.send_response(200)
        self.send_header("Content-Length", "1000")
        self.end_headers()
        self.wfile.write(b"half")
        self.close_connection = True


def test_a_download_that_breaks_off_is_one_sentence_and_may_be_tried_again(tmp_path: Path) -> None:
    from flows.pipeline.binding import worth_a_retry

    with (
        _serving(_BreakingOff) as address,
        pytest.raises(MlflowError, match="broke off in the middle") as said,
    ):
        download_version(RestClient(address), "m", 1, tmp_path / "a")
    assert worth_a_retry(None, None, _Failed(said.value))
    assert not worth_a_retry(None, None, _Failed(MlflowError("no such model", "RESOURCE_DOES_NOT_EXIST")))


class _Failed:
    def __init__(self, error: Exception) -> None:
        self._error = error

    def result(self) -> None:
        raise self._error


class _Elsewhere(_Misled):
    """A server that keeps its files where it does not hand them out."""

    place = ""

    def do_GET(self) -> None:
        self.answer(json.dumps({"artifact_uri": self.place}).encode())


def test_files_that_the_server_does_not_hand_out_are_read_where_they_are(tmp_path: Path) -> None:
    (tmp_path / "a b").mkdir()
    (tmp_path / "a b" / "MLmodel").write_text("a: model")
    for place in ((tmp_path / "a b").as_uri(), str(tmp_path / "a b"), f"memory://{tmp_path}/a b"):
        with _serving(type("Handler", (_Elsewhere,), {"place": place})) as address:
            client, into = RestClient(address), tmp_path / str(len(place))
            if place.startswith("memory"):
                with pytest.raises(StepError, match="Could not find a registered artifact repository"):
                    download_version(client, "m", 1, into)
            else:
                assert (download_version(client, "m", 1, into) / "MLmodel").read_text() == "a: model"


def test_nobody_there_is_one_sentence_without_the_password() -> None:
    with pytest.raises(MlflowError, match=r"MLflow does not answer at http://127.0.0.1:1 ") as said:
        RestClient("http://ann:secret@127.0.0.1:1").get_registered_model("m")
    assert "secret" not in str(said.value)


def test_signed_requests_and_plugins_are_mlflows_own(monkeypatch: pytest.MonkeyPatch) -> None:
    assert speaks_rest("https://mlflow") and not speaks_rest("sqlite:///mlflow.db")
    monkeypatch.setenv("MLFLOW_TRACKING_AWS_SIGV4", "true")
    assert not speaks_rest("https://mlflow")


def test_history_over_http_needs_no_mlflow(mlflow_server: str, tmp_path: Path) -> None:
    code = (
        "import sys; from tasks.promotion.history import history; from tasks.settings import load_settings\n"
        "try: history(load_settings(), 'rest-nobody')\n"
        "except Exception as error: print(error)\n"
        "print([name for name in ('mlflow', 'torch', 'prefect', 'pandas') if name in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "MLFLOW_TRACKING_URI": mlflow_server, "SLIPWAY_HOME": str(tmp_path)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.splitlines()[-1] == "[]", done.stdout
