"""JSON as a machine means it: whatever a lenient reader would guess at is refused."""

import json
from typing import Any

import orjson

from infra.serving.wire.problems import malformed, shown


def load(body: bytes) -> Any:
    """Strict JSON: no duplicate keys, no NaN, no number a double cannot hold, no deep nesting."""
    try:
        document = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise malformed(f"the body is not JSON: {error.msg} at byte {error.pos}") from None
    if body.count(b'"') != 2 * _strings(document):
        _refuse_duplicates(body)
    return document


def _strings(value: Any) -> int:
    """How many strings, keys included, a document holds; lists are looked into only where they hold other than numbers."""
    if isinstance(value, str):
        return 1
    if isinstance(value, dict):
        return len(value) + sum(map(_strings, value.values()))
    if isinstance(value, list) and value and not isinstance(value[0], float | int):
        return sum(map(_strings, value))
    return 0


def _refuse_duplicates(body: bytes) -> None:
    """The slow and certain way, taken when quotes and strings do not add up (escapes, odd lists, or a duplicate)."""

    def pairs(items: list[tuple[str, Any]]) -> dict[str, Any]:
        keys = [key for key, _ in items]
        if len(set(keys)) != len(keys):
            raise malformed(f"the key {shown(max(keys, key=keys.count))} appears twice")
        return dict(items)

    try:
        json.loads(body, object_pairs_hook=pairs)
    except (ValueError, RecursionError):
        raise malformed("the body is not JSON this server reads") from None
