"""The numbers of several workers as those of one server."""

import json

from infra.serving.telemetry.metrics import merged


def test_numbers_of_workers_are_added_but_for_the_largest() -> None:
    first = {"model": "digits", "version": "1", "rows": 3, "latency": {"counts": [1, 2], "total": 0.5}}
    second = {"model": "digits", "version": "1", "rows": 4, "latency": {"counts": [0, 5], "total": 0.25}}
    other = {"model": "digits", "version": "2", "rows": 9, "largest_difference": 0.5}
    again = {"model": "digits", "version": "2", "rows": 1, "largest_difference": 0.25}
    left, right = merged(json.loads(json.dumps([first, other, second, again])))
    assert left["rows"] == 7 and left["latency"] == {"counts": [1, 7], "total": 0.75}
    assert right["rows"] == 10 and right["largest_difference"] == 0.5
