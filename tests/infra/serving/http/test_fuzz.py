"""Bodies nobody would write: whatever arrives, the answer is a 200 or a 4xx with a reason, and the server stays as it was.

bench_serving_fuzz.py tries a hundred thousand; the suite tries few.
"""

from collections.abc import Iterator
from pathlib import Path

import campaign_requests
import pytest
from campaign import SEED, Case
from hypothesis import HealthCheck, given, settings
from serving_mutations import VALID, mutated, targets
from serving_process import ServerProcess

EXAMPLES = 150


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    made = targets(tmp_path_factory.mktemp("models"))
    with ServerProcess(*made, home=tmp_path_factory.mktemp("home"), log_level="error") as process:
        yield process


def memory(server: ServerProcess) -> int:
    (worker,) = server.children("infra.serving.processes.worker")
    lines = Path(f"/proc/{worker}/status").read_text().splitlines()
    return int(next(line.split()[1] for line in lines if line.startswith("VmRSS")))


@pytest.mark.slow
def test_mutated_bodies_never_cost_more_than_a_4xx(server: ServerProcess) -> None:
    @settings(
        max_examples=EXAMPLES,
        deadline=None,
        database=None,
        suppress_health_check=list(HealthCheck),
        derandomize=True,
    )
    @given(mutated())
    def attempt(request: tuple[str, bytes]) -> None:
        path, body = request
        answer = server.post(path, body)
        assert answer.status in (200, 400, 422), (path, body, answer.status, answer.body)
        if answer.status != 200:
            assert answer.json.keys() == {"error", "code"}

    (worker,) = server.children("infra.serving.processes.worker")
    attempt()
    before = memory(server)
    attempt()
    assert memory(server) < before + 20_000, "kB: memory stays where it was"
    assert server.children("infra.serving.processes.worker") == [worker], "no worker died"
    for path, body in VALID:
        assert server.post(path, body).status == 200


@pytest.mark.slow
def test_the_openapi_document_describes_what_is_served(server: ServerProcess) -> None:
    document = server.get("/openapi.json").json
    assert document["openapi"].startswith("3.1")
    for path in ("/models/words/invocations", "/v2/models/digits/infer"):
        assert "requestBody" in document["paths"][path]["post"]
    for path, routes in document["paths"].items():
        if "get" in routes:
            assert server.get(path).status == 200, path


@pytest.mark.slow
def test_no_route_opens_for_a_key_that_is_none_by_any_method_or_path(tmp_path: Path) -> None:
    with campaign_requests.open_credentials(tmp_path) as attempt:
        for number in range(4):
            attempt(Case(number, SEED, "credentials"))
