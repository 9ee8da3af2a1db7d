"""The numbers of several workers as those of one server."""

import json

from infra.serving.telemetry.metrics import merged


def test_numbers_of_workers_are_added() -> None:
    first = {"model": "digits", "version": "1", "rows": 3, "latency": {"counts": [1, 2], "total": 0.5}}
    second = {"model": "digits", "version": "1", "rows": 4, "latency": {"counts": [0, 5], "total": 0.25}}
    other = {"model": "digits", "version": "2", "rows": 9}
    left, right = merged(json.loads(json.dumps([first, other, second])))
    assert left["rows"] == 7 and left["latency"] == {"counts": [1, 7], "total": 0.75}
    assert right["rows"] == 9
