"""How an MLflow server is spoken to: with its own certificate, without a password for anyone else, as its client would."""

import base64
import datetime
import http.server
import ipaddress
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import ClassVar

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from tasks.errors import StepError
from tasks.registry.http import MlflowError
from tasks.registry.reachability import check_mlflow
from tasks.registry.rest import RestClient


class Answering(http.server.BaseHTTPRequestHandler):
    """Answers everything with an empty object, or what it is told to, and remembers who asked."""

    status = 200
    body = b"{}"
    moved_to = ""
    seen: ClassVar[list[str | None]] = []

    def do_GET(self) -> None:
        self.seen.append(self.headers["Authorization"])
        self.send_response(302 if self.moved_to else self.status)
        if self.moved_to:
            self.send_header("Location", self.moved_to)
        self.send_header("Content-Length", str(len(self.body)))
        self.end_headers()
        self.wfile.write(self.body)

    def log_message(self, *_: object) -> None:
        pass


@contextmanager
def serving(certificate: Path | None = None, **changes: object) -> Iterator[tuple[int, list[str | None]]]:
    """A server of this kind on a port of its own, and the accounts it is asked with."""
    seen: list[str | None] = []
    handler = type("Handler", (Answering,), {"seen": seen, **changes})
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        if certificate is not None:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(certificate)
            server.socket = context.wrap_socket(server.socket, server_side=True)
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield server.server_port, seen
        finally:
            server.shutdown()
            thread.join()


@pytest.fixture
def certificate(tmp_path: Path) -> Path:
    """Key and certificate of 127.0.0.1, signed by nobody else."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "127.0.0.1")])
    now = datetime.datetime.now(datetime.UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(
            x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), False
        )
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), True)
        .sign(key, hashes.SHA256())
    )
    pem = serialization.Encoding.PEM
    private = key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    path = tmp_path / "certificate.pem"
    path.write_bytes(private + made.public_bytes(pem))
    return path


def test_a_servers_own_certificate_is_trusted_where_mlflow_is_told_to_trust_it(
    certificate: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with serving(certificate) as (port, _):
        uri = f"https://127.0.0.1:{port}"
        with pytest.raises(MlflowError, match="certificate verify failed"):
            check_mlflow(uri)
        monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(tmp_path / "of-others.pem"))
        monkeypatch.setenv("MLFLOW_TRACKING_SERVER_CERT_PATH", str(certificate))
        check_mlflow(uri)
        assert RestClient(uri).search_model_versions("name = 'm'") == []


@pytest.mark.filterwarnings("ignore:Unverified HTTPS request")
def test_a_certificate_is_not_asked_for_when_mlflow_is_told_not_to(
    certificate: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_INSECURE_TLS", "true")
    with serving(certificate) as (port, _):
        check_mlflow(f"https://127.0.0.1:{port}")


def test_an_account_in_the_address_may_have_any_character() -> None:
    """Written as addresses have it, %40 for @, and sent as it is: so does MLflow's own client."""
    with serving() as (port, seen):
        check_mlflow(f"http://ada%40sea:p%2Fw%25@127.0.0.1:{port}")
    assert seen == [f"Basic {base64.b64encode(b'ada@sea:p/w%').decode()}"]


def test_without_a_home_folder_there_is_no_file_of_accounts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("HOME", raising=False)
    monkeypatch.setattr("os.getuid", lambda: 987_654_321)
    with serving() as (port, seen):
        check_mlflow(f"http://127.0.0.1:{port}")
    assert seen == [None]


def test_a_server_that_sends_us_elsewhere_does_not_send_the_password_along(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_USERNAME", "ada")
    monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", "hunter2")
    with serving() as (elsewhere, seen_elsewhere):
        with serving(moved_to=f"http://localhost:{elsewhere}/") as (port, seen):
            check_mlflow(f"http://127.0.0.1:{port}")
    assert seen[0] is not None and seen_elsewhere == [None]


@pytest.mark.slow
@pytest.mark.parametrize("body", [b"<html>hello</html>", b"[]", b""])
def test_a_server_that_is_not_mlflows_is_said_to_be_none(body: bytes) -> None:
    with serving(body=body) as (port, _), pytest.raises(StepError, match=r"is not an MLflow server: mend"):
        check_mlflow(f"http://127.0.0.1:{port}")


def test_an_account_may_be_in_the_file_that_mlflow_reads(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / ".mlflow").mkdir()
    (tmp_path / ".mlflow" / "credentials").write_text(
        "[mlflow]\nmlflow_tracking_username = ada\nmlflow_tracking_password = p%w\n"
    )
    with serving() as (port, seen):
        check_mlflow(f"http://127.0.0.1:{port}")
    assert seen == [f"Basic {base64.b64encode(b'ada:p%w').decode()}"]


def test_a_server_that_wants_signed_requests_is_left_to_mlflows_own_client(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with serving(status=403) as (port, _):
        uri = f"http://127.0.0.1:{port}"
        with pytest.raises(StepError, match="does not accept who asks"):
            check_mlflow(uri)
        monkeypatch.setenv("MLFLOW_TRACKING_AWS_SIGV4", "true")
        check_mlflow(uri)
