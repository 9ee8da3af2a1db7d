"""What the server does when it is asked too much, too slowly, by the wrong people, or told to go."""

import asyncio
import base64
import contextlib
import http.client
import json
import re
import signal
import socket
import threading
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest
import serving_models as models
from serving_process import ServerProcess, wait_for

from infra.serving.http.service import Service
from infra.serving.options import ServeOptions, Target
from tasks.traffic.requests import read_traffic

PATIENCE = 120
ROW = np.linspace(-1, 1, 64).round(3).tolist()
BODY = {"inputs": {"x": [ROW]}}


@pytest.fixture(scope="module")
def slow_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return models.save(tmp_path_factory.mktemp("m") / "slow", models.slow(1500), {"x": [ROW]})


@pytest.fixture(scope="module")
def limited(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    options = {"max_body": 20_000, "max_rows": 8}
    with ServerProcess(f"digits={folder}", home=tmp_path_factory.mktemp("home"), **options) as server:
        yield server


def test_of_all_models_those_are_waited_for_that_have_a_champion_when_it_first_looks(home: Path) -> None:
    targets = tuple(map(Target.parse, ("cells@champion", "digits@champion")))
    loop = asyncio.new_event_loop()
    for every, waiting in ((True, ["digits"]), (False, ["cells", "digits"])):
        service = Service(targets, ServeOptions(home=home, all=every), loop)
        assert not service.ready
        if every:
            service.follow((targets[1],))
        assert service.waiting == waiting and not service.ready
        service.reader.shutdown()
    service = Service(targets, ServeOptions(home=home, all=True), loop)
    service.follow(())
    assert service.ready, "there is no champion yet, which is nobody's fault"
    service.reader.shutdown()
    loop.close()


@pytest.mark.slow
def test_bodies_and_rows_are_bounded(limited: ServerProcess) -> None:
    assert limited.post("/invocations", {"inputs": {"x": [ROW] * 8}}).status == 200
    many = limited.post("/invocations", {"inputs": {"x": [ROW] * 9}})
    assert (many.status, "9 rows" in many.json["error"]) == (422, True)
    for path in ("/invocations", "/v2/models/digits/infer"):
        assert limited.post(path, b" " * 20_001).status == 413
    chunks = (b"x" * 5000 for _ in range(5))
    connection = http.client.HTTPConnection(*limited.address, timeout=PATIENCE)
    connection.request(
        "POST", "/invocations", chunks, {"Content-Type": "application/json"}, encode_chunked=True
    )
    assert connection.getresponse().status == 413
    connection.close()


@pytest.mark.slow
def test_keys_are_asked_for_and_rotate_without_a_restart(folder: Path, home: Path, tmp_path: Path) -> None:
    keys = tmp_path / "keys"
    keys.write_text("# two at once\nold-key\nnew-key\n")
    with ServerProcess(f"digits={folder}", home=home, keys_file=keys) as server:

        def status(**headers: str) -> int:
            return server.post("/invocations", BODY, headers).status

        assert status() == status(Authorization="Bearer nope") == status(Authorization="old-key") == 401
        assert status(Authorization="Bearer old-key") == status(**{"X-API-Key": "new-key"}) == 200
        for path in ("/health", "/ready", "/ping", "/v2/health/live", "/v2/health/ready", "/live"):
            assert server.get(path).status == 200, path
        for path in (
            "/",
            "/metrics",
            "/status",
            "/v2",
            "/x/health",
            "/health/",
            "//health",
            "/v2/models/digits",
        ):
            assert server.get(path).status == 401, path
        assert server.get("/").headers["www-authenticate"].startswith("Basic ")
        assert server.get("/", Authorization=basic("anybody:old-key")).status == 200
        for given in (basic("old-key"), basic("a:nope"), "Basic", "Basic !", "Basic " + "A" * 5):
            assert server.get("/", Authorization=given).status == 401, given
        assert status(Authorization=basic("a:old-key")) == 401, "which browsers send by themselves"
        keys.write_text("new-key\n")
        wait_for(lambda: status(Authorization="Bearer old-key") == 401)
        assert status(Authorization="Bearer new-key") == 200


def basic(account: str) -> str:
    return f"Basic {base64.b64encode(account.encode()).decode()}"


@pytest.mark.slow
def test_on_loopback_a_foreign_host_name_gets_nothing(limited: ServerProcess) -> None:
    for host in ("evil.example", "127.0.0.1.evil.example", "", "localhost.evil"):
        assert limited.get("/status", Host=host).status == 421
        assert limited.ask("POST", "/invocations", BODY, {"Host": host}).status == 421
    for host in ("localhost", "127.0.0.1:1", "[::1]:80"):
        assert limited.get("/status", Host=host).status == 200


@pytest.mark.slow
def test_errors_show_nothing_of_the_inside(limited: ServerProcess) -> None:
    for method, path in (
        ("GET", "/nope"),
        ("DELETE", "/invocations"),
        ("POST", "/health"),
        ("GET", "/invocations"),
    ):
        answer = limited.ask(method, path)
        assert answer.status in (404, 405)
        assert answer.json.keys() == {"error", "code"}
    answer = limited.post("/invocations", {"inputs": {"x": [["/etc/passwd"] * 64]}})
    assert "Traceback" not in answer.body.decode() and "infra" not in answer.body.decode()


def counted(server: ServerProcess, **headers: str) -> Counter[str]:
    lines = server.get("/metrics", **headers).body.decode().splitlines()
    found = [re.match(r'slipway_serving_answers_total\{status="(\d+)"\} (\S+)', line) for line in lines]
    return Counter({match[1]: int(float(match[2])) for match in found if match})


@pytest.mark.slow
def test_every_status_that_is_sent_is_counted(limited: ServerProcess) -> None:
    before, sent = (
        counted(limited),
        Counter({"200": 1}),
    )  # the answer to /metrics itself, which comes after its numbers
    gzipped = {"Content-Encoding": "gzip"}
    for method, path, body, headers in (
        ("GET", "/nope", None, {}),
        ("GET", "/invocations", None, {}),
        ("GET", "/health", None, {}),
        ("GET", "/health", None, {"Host": "evil.example"}),
        ("POST", "/invocations", BODY, {}),
        ("POST", "/invocations", b"{", {}),
        ("POST", "/invocations", b"nothing packed", gzipped),
        ("POST", "/invocations", b"x", {"Content-Type": "text/plain"}),
        ("POST", "/invocations", b" " * 20_001, {}),
        ("POST", "/invocations", {"inputs": {"x": [ROW] * 9}}, {}),
        ("POST", "/v2/models/digits/infer", {"inputs": []}, {}),
        ("POST", "/v2/models/digits/versions/99/infer", {"inputs": []}, {}),
    ):
        sent[str(limited.ask(method, path, body, headers).status)] += 1
    for raw in (b"no request at all\r\n\r\n", b"GET / HTTP/1.1\r\nA: " + b"a" * 70_000 + b"\r\n\r\n"):
        with socket.create_connection(limited.address, timeout=PATIENCE) as client:
            client.sendall(raw)
            sent[client.recv(4096)[9:12].decode()] += 1
    assert set(sent) == {"200", "400", "404", "405", "413", "415", "421", "422", "431"}
    assert counted(limited) - before == sent


@pytest.mark.slow
def test_so_is_what_a_server_sends_that_has_keys_too_much_to_do_and_a_model_that_fails(
    slow_folder: Path, home: Path, tmp_path: Path
) -> None:
    broken = models.save(tmp_path / "broken", models.breaks_on_large(), {"x": [ROW]})
    (tmp_path / "keys").write_text("k3y\n")
    key = {"X-API-Key": "k3y"}
    options = {"keys_file": tmp_path / "keys", "max_wait": 1e-6, "timeout": 5.0}

    def body(first: float) -> bytes:
        tensor = {"name": "x", "datatype": "FP32", "shape": [1, 64], "data": [first, *ROW[1:]]}
        return json.dumps({"inputs": [tensor]}).encode()

    one = body(0)
    head = f"POST /v2/models/slow/infer HTTP/1.1\r\nHost: localhost\r\nX-API-Key: k3y\r\nContent-Length: {len(one)}\r\n"
    raw = f"{head}Content-Type: application/json\r\n\r\n".encode() + one
    with ServerProcess(f"slow={slow_folder}", f"broken={broken}", home=home, **options) as server:
        before, sent = counted(server, **key), Counter({"200": 1})

        def answers(count: int, request: bytes) -> Counter[str]:
            with contextlib.ExitStack() as stack:
                clients = [socket.create_connection(server.address, timeout=PATIENCE) for _ in range(count)]
                for client in map(stack.enter_context, clients):
                    client.sendall(request)
                return Counter(client.recv(4096)[9:12].decode() for client in clients)

        for path, what, headers in (
            ("broken", body(5), key),
            ("broken", body(0), key),
            ("broken", body(5), {}),
            ("none", body(0), {}),
        ):
            sent[str(server.post(f"/v2/models/{path}/infer", what, headers).status)] += 1
        sent[str(server.get("/").status)] += 1
        while not sent["429"]:
            sent += answers(8, raw)
        sent += answers(1, raw[:-1])
        assert (sent["401"], sent["408"], sent["500"]) == (3, 1, 1)
        assert counted(server, **key) - before == sent


class Load:
    """Closed-loop clients; what each answer was, and when to try again.

    Of a server that `leaves`, the kernel resets a connection that it had queued when the listener closed: nobody had taken it.
    """

    def __init__(self, server: ServerProcess, clients: int, *, leaves: bool = False) -> None:
        self.server, self.leaves = server, leaves
        self.answers: list[tuple[int, str | None]] = []
        self.broken: list[str] = []
        self.going = True
        self.threads = [threading.Thread(target=self._run) for _ in range(clients)]

    def _run(self) -> None:
        body = json.dumps(BODY)
        connection = http.client.HTTPConnection(*self.server.address, timeout=PATIENCE)
        while self.going:
            new = connection.sock is None
            try:
                connection.request("POST", "/invocations", body, {"Content-Type": "application/json"})
                response = connection.getresponse()
                response.read()
            except ConnectionRefusedError:
                break
            except (OSError, http.client.HTTPException) as error:
                if not (new and self.leaves and isinstance(error, ConnectionResetError)):
                    self.broken.append(repr(error))
                break
            self.answers.append((response.status, response.headers["Retry-After"]))
            if response.headers["Connection"] == "close":
                connection.close()
        connection.close()

    def __enter__(self) -> "Load":
        for thread in self.threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.going = False
        for thread in self.threads:
            thread.join()

    def count(self, status: int) -> int:
        return sum(answered == status for answered, _ in list(self.answers))


@pytest.mark.slow
def test_overload_is_answered_429_early_and_what_was_taken_is_answered(slow_folder: Path, home: Path) -> None:
    with ServerProcess(f"digits={slow_folder}", home=home, max_wait=0.005, batch=4) as server:
        with Load(server, 64) as heavy:
            wait_for(lambda: heavy.count(429) > 20 and heavy.count(200) > 20)
        assert all(after == "1" for status, after in heavy.answers if status == 429)
        assert heavy.broken == [] and {status for status, _ in heavy.answers} == {200, 429}
        assert server.post("/invocations", BODY).status == 200


@pytest.mark.slow
def test_going_away_under_load_answers_all_that_was_taken(folder: Path, home: Path) -> None:
    server = ServerProcess(f"digits={folder}", home=home, drain_delay=PATIENCE, drain=PATIENCE)
    try:
        with Load(server, 8, leaves=True) as load:
            wait_for(lambda: load.count(200) > 100)
            server.process.send_signal(signal.SIGTERM)
            wait_for(lambda: server.get("/ready").status == 503)
            assert server.post("/invocations", BODY).status == 200, (
                "the listener is open while probes find out"
            )
            server.process.send_signal(signal.SIGTERM)  # a second one cuts the delay short
            assert server.process.wait(PATIENCE) == 0
        assert load.broken == []
        assert load.count(200) == len(load.answers) > 100
    finally:
        server.stop()


@pytest.mark.slow
def test_workers_share_the_port_and_any_of_them_gives_the_metrics_of_all(folder: Path, home: Path) -> None:
    with ServerProcess(f"digits={folder}", home=home, workers=2) as server:
        with Load(server, 8) as load:
            wait_for(lambda: load.count(200) > 200)
        total = load.count(200)
        assert len(server.children("infra.serving.processes.worker")) == 2
        wait_for(lambda: server.metric('slipway_serving_requests_total{model="digits",status="200"') == total)


@pytest.mark.slow
def test_served_traffic_is_recorded_by_hour_and_what_is_left_when_the_server_stops(
    folder: Path, home: Path
) -> None:
    with ServerProcess(f"digits={folder}", home=home, record=1.0) as server:
        answers = [server.post("/invocations", {"inputs": {"x": [ROW, ROW]}}) for _ in range(5)]
        for outcome in ("written", "dropped"):  # a file is written every twenty seconds, and none is full
            assert server.metric(f'slipway_serving_recorded_requests_total{{outcome="{outcome}"') == 0
    table = read_traffic(home / "traffic" / "digits", datetime(2000, 1, 1, tzinfo=UTC))
    assert table is not None
    rows = table.to_pylist()
    assert len(rows) == 10
    assert Counter(row["version"] for row in rows) == {"local": 10}
    np.testing.assert_allclose(rows[0]["inputs.x"], ROW, rtol=1e-6)
    np.testing.assert_allclose(
        rows[0]["outputs.logits"], answers[0].json["predictions"]["logits"][0], rtol=1e-5
    )
