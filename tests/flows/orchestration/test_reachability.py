"""A Prefect server that is not there, or is no Prefect server."""

import re
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest
from prefect.settings import PREFECT_API_URL, temporary_settings

from flows.orchestration.reachability import check_prefect
from tasks.errors import StepError


class Elsewhere(BaseHTTPRequestHandler):
    """Has none of the pages that it is asked for."""

    def do_GET(self) -> None:
        self.send_error(404)

    def log_message(self, *_: object) -> None: ...


@pytest.fixture
def elsewhere() -> Iterator[str]:
    """A web server that is none of Prefect's."""
    with HTTPServer(("127.0.0.1", 0), Elsewhere) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("url", "sentence"),
    [
        ("127.0.0.1:9/api", "Prefect does not answer at 127.0.0.1:9/api"),
        ("http://127.0.0.1:9/api", "Prefect does not answer at http://127.0.0.1:9/api"),
        ("{elsewhere}", "is not the API of a Prefect server"),
    ],
)
def test_a_prefect_address_that_cannot_be_used_is_one_sentence(
    elsewhere: str, url: str, sentence: str
) -> None:
    with temporary_settings({PREFECT_API_URL: url.format(elsewhere=elsewhere)}):
        with pytest.raises(StepError, match=re.escape(sentence)):
            check_prefect()
