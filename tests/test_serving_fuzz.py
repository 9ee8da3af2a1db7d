"""Bodies nobody would write: whatever arrives, the answer is a 200 or a 4xx with a reason, and the server stays as it was.

SLIPWAY_FUZZ sets how many are tried; the suite tries few.
"""

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import serving_models as models
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from serving_process import ServerProcess

EXAMPLES = int(os.environ.get("SLIPWAY_FUZZ", "150"))
TOKENS = {"tokens": [[1, 2, 3], [4, 5, 6]], "features": [[0.5, 0, 0, 1], [1, 2, 3, 4]]}
TENSORS = [
    {"name": "tokens", "shape": [1, 2], "datatype": "INT64", "data": [1, 2]},
    {"name": "features", "shape": [1, 4], "datatype": "FP32", "data": [1, 2, 3, 4.5]},
]
VALID: list[tuple[str, Any]] = [
    ("/models/words/invocations", {"inputs": TOKENS}),
    ("/models/words/invocations", {"instances": [{"tokens": [1, 2], "features": [1, 2, 3, 4]}]}),
    ("/v2/models/words/infer", {"inputs": TENSORS, "outputs": [{"name": "sum"}]}),
    ("/models/digits/invocations", {"inputs": [[0.5] * 64]}),
    ("/models/digits/invocations", {"dataframe_split": {"columns": ["x"], "data": [[[0.5] * 64]]}}),
]
LEAVES = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**70), 2**70),
    st.floats(allow_nan=False, allow_infinity=False),
    st.text(max_size=8),
)
ANYTHING = st.recursive(
    LEAVES,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=6), inner, max_size=4),
    max_leaves=12,
)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    root = tmp_path_factory.mktemp("models")
    targets = [
        f"words={models.save(root / 'words', models.two_inputs(), TOKENS)}",
        f"digits={models.save(root / 'digits', models.mlp(), {'x': [[0.5] * 64]})}",
    ]
    with ServerProcess(*targets, home=tmp_path_factory.mktemp("home"), log_level="error") as process:
        yield process


def paths(value: Any, at: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    yield at
    for key in value if isinstance(value, dict) else range(len(value)) if isinstance(value, list) else ():
        yield from paths(value[key], (*at, key))


@st.composite
def mutated(draw: st.DrawFn) -> tuple[str, bytes]:
    """A valid request with one place in its tree replaced or repeated, then perhaps some of its bytes."""
    path, body = draw(st.sampled_from(VALID))
    body = json.loads(json.dumps(body))
    *parents, last = draw(st.sampled_from([each for each in paths(body) if each]))
    place = body
    for key in parents:
        place = place[key]
    place[last] = [place[last]] * draw(st.integers(2, 3)) if draw(st.booleans()) else draw(ANYTHING)
    text = bytearray(json.dumps(body).encode())
    for _ in range(draw(st.integers(0, 3))):
        at = draw(st.integers(0, len(text) - 1))
        text[at : at + draw(st.integers(0, 3))] = draw(st.binary(max_size=3))
    return path, bytes(text)


def memory(server: ServerProcess) -> int:
    (worker,) = server.children("infra.serving.worker")
    lines = Path(f"/proc/{worker}/status").read_text().splitlines()
    return int(next(line.split()[1] for line in lines if line.startswith("VmRSS")))


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

    (worker,) = server.children("infra.serving.worker")
    attempt()
    before = memory(server)
    attempt()
    assert memory(server) < before + 8_000, "kB: memory stays where it was"
    assert server.children("infra.serving.worker") == [worker], "no worker died"
    for path, body in VALID:
        assert server.post(path, body).status == 200


def test_the_openapi_document_describes_what_is_served(server: ServerProcess) -> None:
    document = server.get("/openapi.json").json
    assert document["openapi"].startswith("3.1")
    for path in ("/models/words/invocations", "/v2/models/digits/infer"):
        assert "requestBody" in document["paths"][path]["post"]
    for path, routes in document["paths"].items():
        if "get" in routes:
            assert server.get(path).status == 200, path
