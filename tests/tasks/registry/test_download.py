"""A version's files, from a real server and from servers that mislead: all of them, or a sentence and nothing."""

import http.server
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from failed_state import FailedState

from tasks.errors import StepError
from tasks.registry.download import download_version
from tasks.registry.http import MlflowError, is_missing
from tasks.registry.rest import RestClient
from tasks.system.files import sha256_of


def test_a_download_is_the_uploaded_folder(mlflow_server: str, tmp_path: Path) -> None:
    from mlflow import MlflowClient

    (package := tmp_path / "package" / "deep").mkdir(parents=True)
    (package.parent / "MLmodel").write_text("a: model")
    (package / "a name, with ümlaut.bin").write_bytes(bytes(range(256)) * 9000)
    mlflow = MlflowClient(mlflow_server, mlflow_server)
    logged = mlflow.create_logged_model(mlflow.create_experiment("download-files"), name="fp32")
    mlflow.log_model_artifacts(logged.model_id, str(package.parent))
    mlflow.create_registered_model("download")
    mlflow.create_model_version("download", f"models:/{logged.model_id}", model_id=logged.model_id)
    folder = download_version(RestClient(mlflow_server), "download", 1, tmp_path / "download")
    for path in package.parent.rglob("*.*"):
        assert sha256_of(folder / path.relative_to(package.parent)) == sha256_of(path)
    for client in (RestClient(mlflow_server), mlflow):
        alone = download_version(client, "download", 1, tmp_path / type(client).__name__, "MLmodel")
        assert [path.name for path in alone.rglob("*")] == ["MLmodel"]
        with pytest.raises(StepError) as said:
            download_version(client, "download", 1, tmp_path / "none", "evidence.sig")
        assert is_missing(said.value)


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
    assert not is_missing(said.value)
    assert worth_a_retry(None, None, FailedState(said.value))
    assert not worth_a_retry(None, None, FailedState(MlflowError("no such model", "RESOURCE_DOES_NOT_EXIST")))


class _Elsewhere(_Misled):
    """A server that keeps its files where it does not hand them out."""

    place = ""

    def do_GET(self) -> None:
        self.answer(json.dumps({"artifact_uri": self.place}).encode())


@pytest.mark.parametrize("scheme", ["file://", ""])
def test_files_on_this_machine_that_the_server_does_not_hand_out_are_copied(
    tmp_path: Path, scheme: str
) -> None:
    (tmp_path / "of a server").mkdir()
    (tmp_path / "of a server" / "MLmodel").write_text("a: model")
    place = f"{scheme}{tmp_path}/of a server"
    with _serving(type("Handler", (_Elsewhere,), {"place": place})) as address:
        folder = download_version(RestClient(address), "m", 1, tmp_path / "copy")
    assert (folder / "MLmodel").read_text() == "a: model"


def test_files_in_a_storage_are_left_to_mlflow(tmp_path: Path) -> None:
    with (
        _serving(type("Handler", (_Elsewhere,), {"place": "nowhere://bucket/m"})) as address,
        pytest.raises(StepError, match="Could not find a registered artifact repository for: nowhere://"),
    ):
        download_version(RestClient(address), "m", 1, tmp_path)
