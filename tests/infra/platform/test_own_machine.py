"""A page that somebody else wrote, open in a browser on this machine, starts no run: by its Origin, and by its Host when its name points here."""

import asyncio
import http.server
import json
import shutil
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from free_ports import free_port

from flows.orchestration.embedded import EmbeddedServer
from infra.platform.own_machine import NAMES, OwnMachineOnly, origins
from infra.platform.services import RunningService, Service

PORT = 4200

CHROMIUM = shutil.which("chromium")


class Reached(Exception):
    """The app behind was asked."""


async def behind(*_: object) -> None:
    raise Reached


def ask(*headers: tuple[bytes, bytes], kind: str = "http") -> list[dict[str, object]]:
    """What is sent to a client that asks with these headers. Raises Reached when it is let through."""
    sent: list[dict[str, object]] = []

    async def send(message: dict[str, object]) -> None:
        sent.append(message)

    asyncio.run(OwnMachineOnly(behind, PORT)({"type": kind, "headers": list(headers)}, None, send))  # type: ignore[arg-type]
    return sent


OWN = [(b"host", f"{name}:{PORT}".encode()) for name in NAMES]


@pytest.mark.parametrize("host", OWN)
@pytest.mark.parametrize("origin", [None, *origins(PORT)])
@pytest.mark.parametrize("kind", ["http", "websocket"])
def test_this_machine_and_its_own_pages_are_let_through(
    host: tuple[bytes, bytes], origin: str | None, kind: str
) -> None:
    headers = [host] if origin is None else [host, (b"origin", origin.encode())]
    with pytest.raises(Reached):
        ask(*headers, kind=kind)


STRANGE = [
    [],
    [(b"host", b"evil.test:4200")],
    [(b"host", b"127.0.0.1")],
    [(b"host", b"127.0.0.1:8080")],
    [(b"host", b"127.0.0.1.evil.test:4200")],
    [OWN[0], OWN[0]],
    [OWN[0], (b"origin", b"http://evil.test")],
    [OWN[0], (b"origin", b"null")],
    [OWN[0], (b"origin", b"http://localhost:8888")],
    [OWN[0], (b"origin", b"https://127.0.0.1:4200")],
    [OWN[0], (b"origin", b"http://127.0.0.1:4200"), (b"origin", b"http://evil.test")],
]


@pytest.mark.parametrize("headers", STRANGE)
def test_others_are_told_no(headers: list[tuple[bytes, bytes]]) -> None:
    sent = ask(*headers)
    assert sent[0]["status"] == 403 and b"server" in sent[1]["body"]  # type: ignore[operator]
    (closed,) = ask(*headers, kind="websocket")
    assert (closed["type"], closed["code"]) == ("websocket.close", 1008)


@pytest.fixture(scope="module")
def prefect(tmp_path_factory: pytest.TempPathFactory, empty_prefect_database: Path) -> Iterator[str]:
    """What a real Prefect server is asked to make a flow at, as `slipway up` and single runs have it."""
    home = tmp_path_factory.mktemp("closed")
    shutil.copyfile(empty_prefect_database, home / "prefect.db")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PREFECT_API_URL", "")  # put back afterwards: the server's start sets it
        server = EmbeddedServer(home)
        server.start()
        try:
            server.wait()
            yield f"{server.api_url}/flows/"
        finally:
            server.stop()


@pytest.fixture(scope="module")
def mlflow(tmp_path_factory: pytest.TempPathFactory, empty_mlflow_database: Path) -> Iterator[str]:
    """What a real MLflow server is asked to make an experiment at, as `slipway up` has it."""
    folder, port = tmp_path_factory.mktemp("mlflow"), free_port()
    shutil.copyfile(empty_mlflow_database, folder / "mlflow.db")
    command = (
        "infra.platform.mlflow_server",
        str(port),
        f"sqlite:///{folder / 'mlflow.db'}",
        folder.as_uri(),
    )
    url = f"http://127.0.0.1:{port}"
    service = RunningService(Service("mlflow", command, health=f"{url}/health"), folder / "log")
    service.start({"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"})
    try:
        while not service.ready:
            service.check()
            time.sleep(0.1)
        yield f"{url}/api/2.0/mlflow/experiments/create"
    finally:
        service.stop(5)


@pytest.fixture(params=["prefect", "mlflow"])
def made_at(request: pytest.FixtureRequest) -> str:
    return str(request.getfixturevalue(request.param))


def post(url: str, body: object, **headers: str) -> int:
    """The status of a POST."""
    request = urllib.request.Request(
        url, json.dumps(body).encode(), {"Content-Type": "application/json", **headers}
    )
    try:
        with urllib.request.urlopen(request, timeout=60) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as error:
        return error.code


def names(made_at: str) -> set[str]:
    """What was made."""
    if "flows" in made_at:
        found = ask_json(made_at + "filter", {})
    else:
        found = ask_json(made_at.replace("create", "search"), {"max_results": 100})["experiments"]
    return {each["name"] for each in found} - {"Default"}


def ask_json(url: str, body: object) -> Any:
    request = urllib.request.Request(url, json.dumps(body).encode(), {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=60) as answer:
        return json.loads(answer.read())


@pytest.mark.slow
def test_nothing_is_made_for_a_foreign_page_or_name(made_at: str) -> None:
    assert post(made_at, {"name": "mine"}) in (200, 201)
    assert post(made_at, {"name": "evil"}, Origin="http://evil.test") == 403
    assert post(made_at, {"name": "evil"}, Host="evil.test:4200") == 403
    assert names(made_at) == {"mine"}


@pytest.mark.slow
def test_mlflow_opens_as_machine_learning(mlflow: str) -> None:
    with urllib.request.urlopen(mlflow.partition("/api/")[0] + "/", timeout=60) as answer:
        page = answer.read().decode()
    assert '"_mlflow_model_registry_promo_modal_dismissed_v1": true' in page, "no tour of the registry"
    assert '"mlflow.workflowType_v1": "machine_learning"' in page and '<div id="root"' in page


PAGE = """<script>
const results = []
const ask = (how) => fetch(API, {method: "POST", body: JSON.stringify({name: "evil" + results.length}), ...how})
  .then(r => r.status + " " + r.type, e => "failed")
Promise.all([ask({mode: "no-cors"}), ask({headers: {"Content-Type": "application/json"}}), ask({mode: "no-cors", headers: {"Content-Type": "text/plain"}})])
  .then(all => { document.title = "done: " + all.join(", ") })
</script>"""


@pytest.mark.platform
@pytest.mark.skipif(CHROMIUM is None, reason="there is no Chromium (apt-get install chromium)")
@pytest.mark.parametrize("rebinding", [False, True])
def test_a_foreign_page_in_a_real_browser_makes_nothing(made_at: str, rebinding: bool) -> None:
    """`rebinding`: the page's own name has come to point at this machine, so that its requests are of its own origin."""
    sync = pytest.importorskip("playwright.sync_api")

    before, port = names(made_at), urlsplit(made_at).port

    class Page(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Type", "text/html")
            self.end_headers()
            self.wfile.write(PAGE.replace("API", json.dumps(made_at)).encode())

        def log_message(self, *_: object) -> None: ...

    evil = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Page)
    threading.Thread(target=evil.serve_forever, daemon=True).start()
    try:
        with sync.sync_playwright() as playwright:
            browser = playwright.chromium.launch(
                executable_path=CHROMIUM,
                args=["--no-sandbox", "--host-resolver-rules=MAP evil.test 127.0.0.1"],
            )
            page = browser.new_page()
            if rebinding:
                answer = page.goto(f"http://evil.test:{port}/")
                assert answer is not None and answer.status == 403
            else:
                page.goto(f"http://evil.test:{evil.server_port}/")
                page.wait_for_function("document.title.startsWith('done')")
            browser.close()
    finally:
        evil.shutdown()
        evil.server_close()
    assert names(made_at) == before
