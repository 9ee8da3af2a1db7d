"""Whether anybody answers at an address, and the address as it may be shown."""

import http.server
import socket
import threading

import pytest

from tasks.system.urls import answers, without_secrets


class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(200 if self.path == "/health" else 503)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass


def test_success_is_an_answer_and_nothing_else_is() -> None:
    with http.server.HTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        url = f"http://127.0.0.1:{server.server_port}"
        assert answers(f"{url}/health") and not answers(f"{url}/busy")
        server.shutdown()
    assert not answers(f"{url}/health"), "nobody is there any more"


def test_who_speaks_no_http_does_not_answer() -> None:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()

        def hang_up() -> None:
            listener.accept()[0].close()

        threading.Thread(target=hang_up, daemon=True).start()
        assert not answers(f"http://127.0.0.1:{listener.getsockname()[1]}/health")


@pytest.mark.parametrize(
    ("address", "shown"),
    [
        ("https://me:secret@mlflow:5000/x", "https://mlflow:5000/x"),
        ("sqlite:////home/mlflow.db", "sqlite:////home/mlflow.db"),
    ],
)
def test_an_address_is_shown_without_what_is_secret(address: str, shown: str) -> None:
    assert without_secrets(address) == shown
