"""Requests that need no parser are answered as if they had one, and no head gets in that the parser would read otherwise."""

import random
import re
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import httptools
import pytest
import uvloop
from both_protocols import (
    BODY,
    CHUNKED,
    CHUNKS,
    HEAD,
    KEY,
    LAST,
    TWO_ROWS,
    BothProtocols,
    compared,
    mutated,
    post,
    statuses,
    torn,
)
from hypothesis import given
from hypothesis import strategies as st

from infra.serving.http.bounded_connection import BoundedConnection
from infra.serving.http.head_template import READ, HeadTemplate
from infra.serving.wire.request_ids import REQUEST_ID

STICKY = b"traceparent"
"""Of a rollout, which may go by any header."""

KEPT = READ | {STICKY}
ID = b"X-Request-Id: %b\r\n"
AT_BODY = len(post()) - len(BODY)
LIKE = {
    "the same": [post()],
    "another length": [post(TWO_ROWS), post()],
    "head, then body": [post()[:AT_BODY], post()[AT_BODY:]],
    "body in three pieces": [
        post()[: AT_BODY + 9],
        post()[AT_BODY + 9 : AT_BODY + 99],
        post()[AT_BODY + 99 :],
    ],
    "two in one piece": [post() + post(TWO_ROWS)],
    "the rest and another": [post()[:-9], post()[-9:] + post(TWO_ROWS)],
    "the rest and half of another": [post()[:-9], post()[-9:] + post()[:50], post()[50:]],
    "a body that is no JSON": [post(b"{"), post()],
    "an empty body": [post(b""), post()],
    "leading zeros": [post(length=b"000%d" % len(BODY))],
    "leading plus": [post(length=b"+%d" % len(BODY))],
    "no digits": [post(length=b"")],
    "spaces around": [post(length=b" %d " % len(BODY))],
    "too long a number": [post(length=b"0" * 30 + b"%d" % len(BODY))],
    "too large": [post(length=b"99999999999")],
    "a line more": [post().replace(b"\r\n\r\n", b"\r\nTransfer-Encoding: chunked\r\n\r\n", 1)],
    "a line more, and as many bytes": [
        post(length=b"%d" % (len(BODY) + 8)).replace(b"\r\n\r\n", b"\r\nX-A: b\r\n\r\n", 1)
    ],
    "a blank line at both ends of a body": [post(b"\r\n" + BODY) + b"\r\n", post(b"\r\n" + BODY)],
    "a blank line that is left over": [post() + b"\r\n", post()],
    "a blank line before": [b"\r\n" + post(), b"\r\n\r\n" + post(), post()],
    "a blank line after": [post() + b"\r\n", post() + b"\r\n\r\n", post(b"\r\n" + BODY) + b"\r\n", post()],
    "another key": [post(extra=b"X-API-Key: no!\r\n"), post()],
    "another way between": [b"GET /ping HTTP/1.1\r\nHost: localhost\r\n\r\n", post()],
    "chunked between": [HEAD + CHUNKED + b"\r\n" + CHUNKS, post()],
    "smuggled": [post(BODY + post(extra=b""))],
    "half a head": [post()[:30]],
    "an id": [post(extra=KEY + ID % b"3"), post(extra=KEY + ID % b"")],
    "an id behind the key": [post(extra=ID % b"4" + KEY), post(extra=ID % b"5" + KEY)],
    "an id of spaces": [post(extra=KEY + ID % b"  a  ")],
    "an id that is no ASCII": [post(extra=KEY + ID % b"\xe9")],
    "an id with a tab": [post(extra=KEY + ID % b"a\tb")],
    "an id with a zero byte": [post(extra=KEY + ID % b"a\0b")],
    "an id that ends its line early": [post(extra=KEY + ID % b"a\n")],
    "an id that is long": [post(extra=KEY + ID % (b"a" * 300))],
    "an id that brings a line": [post(extra=KEY + ID % b"a\r\nTransfer-Encoding: chunked")],
    "an id that brings a key": [post(extra=KEY + ID % b"a\r\nX-API-Key: no")],
    "an id that brings a length": [post(extra=KEY + ID % b"a\r\nContent-Length: 5")],
    "an id and another key": [post(extra=b"X-API-Key: no!\r\n" + ID % b"6"), post(extra=KEY + ID % b"7")],
    "an id and another host": [post(extra=KEY + ID % b"8").replace(b"localhost", b"evil.test")],
    "an id less": [post(), post(extra=KEY + ID % b"9"), post()],
}


@pytest.mark.slow
def test_requests_like_the_last_are_answered_as_any_other(folder: Path, tmp_path: Path) -> None:
    """Behind two that make the template: the same twice, of other lengths, with ids, the head first and then the body."""
    starts = {
        "the same": [post(), post()],
        "other lengths": [post(TWO_ROWS), post(b"\r\n" + BODY)],
        "a blank line": [post(BODY + b"\r\n\r\n"), post()],
        "ids": [post(extra=KEY + ID % b"1"), post(extra=KEY + ID % b"2")],
        "in two": [post()[:AT_BODY], BODY, post()[:AT_BODY], BODY],
    }
    cases = [
        (f"{name}, after {start}", [*first, *pieces, *([] if name == "half a head" else [post(), LAST])])
        for name, pieces in LIKE.items()
        for start, first in starts.items()
    ]
    answers = compared(folder, tmp_path, cases, patient=True)
    assert statuses(answers) == {b"2", b"4"}
    assert answers["body in three pieces, after the same"].count(b"HTTP/1.1 200") == 5


def test_both_protocols_agree_on_a_connection_of_mutated_and_split_requests(
    folder: Path, tmp_path: Path
) -> None:
    dice = random.Random(20261123)
    cases = []
    for number in range(150):
        pieces = []
        for _ in range(dice.randrange(2, 7)):
            extra = KEY + dice.choice((b"", ID % b"%d" % dice.randrange(10**6)))
            length = dice.choice((None, None, None, b"9", b"0700"))
            request = post(dice.choice((BODY, TWO_ROWS)), extra=extra, length=length)
            times = dice.choice((0, 0, 1, 2)) if len(pieces) > 1 else 0
            pieces += torn(dice, mutated(dice, request, times))
        cases.append((f"{number}: {pieces!r}", [*pieces, LAST]))
    assert statuses(compared(folder, tmp_path, cases, patient=True)) <= {b"2", b"4"}


def test_a_head_like_the_last_needs_no_parser_until_the_keys_change(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def run() -> list[int]:
        protocols = BothProtocols(folder, tmp_path)
        parsed: list[bytes] = []
        plain = BoundedConnection.data_received

        def noted(self: BoundedConnection, data: bytes) -> None:
            parsed.append(data)
            plain(self, data)

        async def statuses(pieces: list[bytes]) -> list[bytes]:
            parsed.clear()
            answer = await protocols.talk(protocols.fast, pieces, patient=True)
            return re.findall(rb"HTTP/1.1 (\d+)", answer)

        monkeypatch.setattr(BoundedConnection, "data_received", noted)
        counts = []
        assert await statuses([post()] * 5 + [post()[:AT_BODY], BODY]) == [b"200"] * 6
        counts.append(len(parsed))
        assert await statuses([post(extra=KEY + ID % b"%d" % n) for n in range(9)]) == [b"200"] * 9
        counts.append(len(parsed))

        class Later(list[bytes]):
            def __iter__(self) -> Any:
                yield from (post(), post(), post())
                (tmp_path / "keys").write_text("another\n")
                protocols.service.keys.refresh()
                yield post()

        assert await statuses(Later()) == [b"200", b"200", b"200", b"401"]
        return [*counts, len(parsed)]

    assert uvloop.run(run()) == [2, 2, 3]


class Parsed:
    """What httptools makes of some bytes."""

    def __init__(self, data: bytes) -> None:
        self.url = b""
        self.headers: list[tuple[bytes, bytes]] = []
        self.begun = self.heads = 0
        parser = httptools.HttpRequestParser(self)
        parser.feed_data(data)
        self.method, self.version = parser.get_method(), parser.get_http_version()
        self.stays = parser.should_keep_alive()

    def on_message_begin(self) -> None:
        self.begun += 1

    def on_url(self, url: bytes) -> None:
        self.url += url

    def on_header(self, name: bytes, value: bytes) -> None:
        self.headers.append((name, value))

    def on_headers_complete(self) -> None:
        self.heads += 1


NAMES = ("Host", "Content-Type", "X-API-Key", "X-Request-Id", "Traceparent", "Accept", "Connection")
VALUES = st.text(st.characters(min_codepoint=32, max_codepoint=126), max_size=12).map(
    lambda text: text.strip().encode()
)


@given(data=st.data())
def test_what_matches_a_template_is_read_by_the_parser_as_the_template_says(data: st.DataObject) -> None:
    values = {name.encode(): data.draw(VALUES) for name in data.draw(st.permutations(NAMES))}
    values[b"Connection"], values[b"Content-Length"] = b"keep-alive", b"0"
    free = data.draw(st.sets(st.sampled_from([b"X-Request-Id", b"Traceparent", b"Accept"])))
    fields = {name.lower(): value for name, value in values.items()}
    slot = SimpleNamespace(lane=SimpleNamespace(header=STICKY), observers=())
    route: Any = SimpleNamespace(slot=slot)
    template = HeadTemplate(b"/invocations", list(values.items()), free, route, fields, ())
    assert template.fields == {name: value for name, value in fields.items() if name in KEPT}

    def head(**changes: bytes) -> bytes:
        lines = [
            b"%b: %b\r\n" % pair for pair in (values | {k.encode(): v for k, v in changes.items()}).items()
        ]
        return b"POST /invocations HTTP/1.1\r\n" + b"".join(lines) + b"\r\n"

    length = data.draw(st.integers(0, 999))
    whole = bytearray(head(**{"Content-Length": b"%d" % length}) + b"x" * length)
    assert template.body_of(bytes(whole)) == (len(whole) - length, length)
    noise = st.sampled_from(
        [b"\r\n", b"\n", b"\r", b"\0", b":", b" ", b"9", b"X-API-Key: a\r\n", b"\xe9", b"\t"]
    )
    for place in data.draw(st.lists(st.integers(0, len(whole) - length), max_size=2)):
        whole[place : place + data.draw(st.integers(0, 3))] = data.draw(noise)
    body = template.body_of(bytes(whole))
    if body is not None:
        start, length = body
        parsed = Parsed(bytes(whole[:start]))
        assert (parsed.begun, parsed.heads) == (1, 1)
        assert (parsed.method, parsed.url, parsed.version, parsed.stays) == (
            b"POST",
            b"/invocations",
            "1.1",
            True,
        )
        read = {name.lower(): value for name, value in parsed.headers}
        assert len(read) == len(parsed.headers) and read.keys() == fields.keys()
        assert int(read[b"content-length"]) == length
        assert {name: value for name, value in read.items() if name in KEPT} == template.fields
        assert read[REQUEST_ID] == template.id
