"""Prefect's pages with the script that opens a form; everything else as it comes."""

import asyncio
from typing import Any

import pytest

from flows.orchestration.prefect_server import WithForm

PAGE = b"<html><head><title>x</title></head><body>Prefect</body></html>"


def ask(path: str, kind: bytes, body: bytes, **headers: str) -> tuple[dict[bytes, bytes], bytes]:
    """What is sent for a GET of a page's server that sends `body` in two pieces."""
    sent: list[Any] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        packed = any(name == b"accept-encoding" for name, _ in scope["headers"])
        given = [(b"content-type", kind), (b"content-length", b"%d" % len(body)), (b"etag", b"1")]
        await send(
            {"type": "http.response.start", "status": 200, "headers": [*given, (b"packed", b"%d" % packed)]}
        )
        await send({"type": "http.response.body", "body": body[:9], "more_body": True})
        await send({"type": "http.response.body", "body": body[9:]})

    async def send(message: Any) -> None:
        sent.append(message)

    named = [(name.replace("_", "-").encode(), value.encode()) for name, value in headers.items()]
    scope = {"type": "http", "method": "GET", "path": path, "headers": named}
    asyncio.run(WithForm(app)(scope, None, send))
    return dict(sent[0]["headers"]), b"".join(message["body"] for message in sent[1:])


def test_a_page_has_the_script_in_its_head_and_its_own_length() -> None:
    html = b"text/html; charset=utf-8"
    headers, body = ask("/runs/flow-run/1", html, PAGE, accept="text/html,*/*", accept_encoding="gzip")
    assert body.count(b"<script>") == 1 and body.endswith(b"</script></head><body>Prefect</body></html>")
    assert (
        headers[b"content-length"] == b"%d" % len(body)
        and b"etag" not in headers
        and headers[b"packed"] == b"0"
    )


@pytest.mark.parametrize(
    ("path", "kind", "accept"),
    [
        ("/api/flow_runs/1", b"text/html; charset=utf-8", "text/html"),
        ("/assets/index.js", b"text/javascript", "text/html"),
        ("/runs/1", b"text/html; charset=utf-8", "application/json"),
    ],
)
def test_whatever_is_no_page_comes_as_it_is(path: str, kind: bytes, accept: str) -> None:
    headers, body = ask(path, kind, PAGE, accept=accept)
    assert body == PAGE and headers[b"content-length"] == b"%d" % len(PAGE) and b"etag" in headers
