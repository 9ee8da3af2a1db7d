"""JSON as a machine means it: whatever a lenient reader would guess at is refused."""

import json
from typing import Any

import orjson

from infra.serving.codecs.limits import Limits
from infra.serving.codecs.number_text import MAX_DEPTH, NumberText, cut_out, parsed
from infra.serving.wire.problems import malformed, shown

AT_ONCE, MARKS_AT_ONCE = 16 * 1024, 512
"""A body of up to so many bytes, and so many opening brackets, braces and quotes, is read in less than a millisecond."""

LARGE = 64 * 1024
"""A body up to this size comes to little whatever it holds."""

_SCALARS = {int, float, bool, type(None)}


def soon_read(body: bytes) -> bool:
    """Whether it takes less than a millisecond, whatever the body holds: an event loop has no more for it."""
    return len(body) <= AT_ONCE and sum(map(body.count, (b"[", b"{", b'"'))) <= MARKS_AT_ONCE


def load(body: bytes, limits: Limits) -> Any:
    """Strict JSON: no duplicate keys, no NaN, no number a double cannot hold, no deep nesting; of a large body its long arrays stay text."""
    arrays: dict[str, NumberText] = {}
    text = body
    if len(body) > LARGE:
        limits.check(body)
        text, arrays = cut_out(body)
        limits.check_lists(text)
    try:
        document = parsed(text)
    except orjson.JSONDecodeError as error:
        where = f" at byte {error.pos}" if text is body else ""
        raise malformed(f"the body is not JSON: {error.msg}{where}") from None
    if text.count(b'"') != 2 * _strings(document, MAX_DEPTH):
        _refuse_duplicates(text)
    return _filled(document, arrays) if arrays else document


def _strings(value: Any, depth: int) -> int:
    """How many strings, keys included, a document holds."""
    if isinstance(value, str):
        return 1
    if not isinstance(value, dict | list):
        return 0
    if depth == 0:
        raise malformed(f"the body is nested deeper than {MAX_DEPTH} lists and objects")
    inner, names = (value.values(), len(value)) if isinstance(value, dict) else (value, 0)
    if set(map(type, inner)) <= _SCALARS:
        return names
    return names + sum([_strings(item, depth - 1) for item in inner])


def _filled(value: Any, arrays: dict[str, NumberText]) -> Any:
    """The document with its long arrays, of which each stands under a name."""
    if isinstance(value, list) and dict in set(map(type, value)):
        return [_filled(item, arrays) for item in value]
    if isinstance(value, dict):
        return {
            name: arrays.get(item, item) if isinstance(item, str) else _filled(item, arrays)
            for name, item in value.items()
        }
    return value


def _refuse_duplicates(body: bytes) -> None:
    """The slow and certain way, taken when quotes and strings do not add up (escapes, or a duplicate)."""

    def pairs(items: list[tuple[str, Any]]) -> dict[str, Any]:
        document: dict[str, Any] = {}
        for key, value in items:
            if key in document:
                raise malformed(f"the key {shown(key)} appears twice")
            document[key] = value
        return document

    try:
        json.loads(body, object_pairs_hook=pairs)
    except (ValueError, RecursionError):
        raise malformed("the body is not JSON this server reads") from None
