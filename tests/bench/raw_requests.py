"""Requests as bytes, plain, odd and hostile: whichever way a server takes them, it answers each of them alike."""

import json

from both_protocols import BODY, CHUNKED, CHUNKS, HEAD, KEY, ROW, post

PING = b"GET /ping HTTP/1.1\r\nHost: localhost\r\n\r\n"

UPGRADE = b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAM\r\n"

INFER = json.dumps({"inputs": [{"name": "x", "shape": [1, 64], "datatype": "FP32", "data": ROW}]}).encode()


def hosted(host: bytes, path: bytes = b"/invocations") -> bytes:
    return post(path=path).replace(b"Host: localhost", b"Host: " + host)


def chunked(trailers: bytes = b"", extra: bytes = b"") -> bytes:
    return HEAD + extra + CHUNKED + b"\r\n" + CHUNKS[:-2] + trailers + b"\r\n"


REQUESTS = {
    "plain": post(),
    "twice": post() + post(),
    "ten pipelined": post() * 10,
    "good then bad then good": post() + post(b"{") + post(),
    "short, long, short": post() + b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n" + post(),
    "v2": post(INFER, b"/v2/models/digits/infer"),
    "no key": post(extra=b""),
    "wrong key": post(extra=b"X-API-Key: no\r\n"),
    "bearer": post(extra=b"Authorization: Bearer k3y\r\n"),
    "two keys": post(extra=KEY + b"X-API-Key: no\r\n"),
    "foreign host": post().replace(b"Host: localhost", b"Host: evil.example"),
    "host with port": post().replace(b"Host: localhost", b"Host: 127.0.0.1:8080"),
    "no host": post().replace(b"Host: localhost\r\n", b""),
    "query": post(path=b"/invocations?a=1"),
    "escaped path": post(path=b"/%69nvocations"),
    "absolute form": post(path=b"http://localhost/invocations"),
    "double slash": post(path=b"//invocations"),
    "dots": post(path=b"/models/../invocations"),
    "get": post().replace(b"POST", b"GET", 1),
    "put": post().replace(b"POST", b"PUT", 1),
    "head": b"HEAD /health HTTP/1.1\r\nHost: localhost\r\n\r\n",
    "http 1.0": post().replace(b"HTTP/1.1", b"HTTP/1.0"),
    "connection close": post(extra=KEY + b"Connection: close\r\n"),
    "expect": post(extra=KEY + b"Expect: 100-continue\r\n"),
    "upgrade": post(extra=KEY + b"Connection: Upgrade\r\nUpgrade: websocket\r\n"),
    "form": post().replace(b"application/json", b"application/x-www-form-urlencoded"),
    "charset": post().replace(b"application/json", b"application/json; charset=utf-8"),
    "gzip that is not": post(extra=KEY + b"Content-Encoding: gzip\r\n"),
    "empty": post(b""),
    "too long": post(length=b"99999999999"),
    "chunked": HEAD + CHUNKED + b"\r\n" + CHUNKS,
    "chunked with extension": HEAD + CHUNKED + b"\r\n" + CHUNKS.replace(b"\r\n", b";a=b\r\n", 1),
    "length and chunked": HEAD + CHUNKED + b"Content-Length: 5\r\n\r\n" + CHUNKS,
    "chunked and length": HEAD + b"Content-Length: 5\r\n" + CHUNKED + b"\r\n" + CHUNKS,
    "two lengths": post(extra=KEY + b"Content-Length: 3\r\n"),
    "same length twice": post(extra=KEY + b"Content-Length: %d\r\n" % len(BODY)),
    "negative length": post(length=b"-1"),
    "plus length": post(length=b"+%d" % len(BODY)),
    "hex length": post(length=b"0x10"),
    "list of lengths": post(length=b"%d, %d" % (len(BODY), len(BODY))),
    "space before colon": post().replace(b"Content-Length:", b"Content-Length :"),
    "tab in encoding": HEAD + b"Transfer-Encoding:\tchunked\r\n\r\n" + CHUNKS,
    "obscured encoding": HEAD + b"Transfer-Encoding: xchunked\r\n\r\n" + CHUNKS,
    "encoding twice": HEAD + CHUNKED + b"Transfer-Encoding: identity\r\n\r\n" + CHUNKS,
    "folded header": post(extra=KEY + b"X-A: b\r\n c\r\n"),
    "bare newline": post().replace(b"\r\n", b"\n"),
    "null in header": post(extra=KEY + b"X-A: \x00\r\n"),
    "smuggled": post(BODY + post(extra=b"")),
    "garbage": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
}

VERDICTS: dict[str, tuple[bytes, str]] = {
    "trailers": (chunked(b"X-A: b\r\nX-B: c\r\n"), "200"),
    "a trailer with another type": (chunked(b"Content-Type: text/plain\r\n"), "200"),
    "a trailer with a key": (chunked(KEY).replace(KEY, b"", 1), "401"),
    "a trailer with a wrong key": (chunked(b"X-API-Key: no\r\n"), "200"),
    "a trailer with another host": (chunked(b"Host: evil.example\r\n"), "200"),
    "a trailer with a host, and none in the head": (
        chunked(b"Host: localhost\r\n").replace(b"Host: localhost\r\n", b"", 1),
        "400",
    ),
    "a trailer with an encoding": (chunked(b"Content-Encoding: gzip\r\n"), "200"),
    "a trailer with a length of the JSON part": (chunked(b"Inference-Header-Content-Length: 3\r\n"), "200"),
    "trailers and no key": (chunked(b"X-A: b\r\n" * 99).replace(KEY, b""), "401"),
    "a long trailer": (chunked(b"X-A: " + b"a" * 70_000 + b"\r\n"), "431"),
    "many trailers": (chunked(b"X-A: b\r\n" * 3_000), "431"),
    "h2c": (post(extra=KEY + UPGRADE), "200"),
    "h2c twice": (post(extra=KEY + UPGRADE) * 2 + post(), "200 200 200"),
    "h2c behind another": (post() + post(extra=KEY + UPGRADE), "200 200"),
    "h2c, chunked": (chunked(extra=UPGRADE), "200"),
    "h2c, without a body": (PING.replace(b"\r\n\r\n", b"\r\n" + UPGRADE + b"\r\n"), "200"),
    "h2c, without a key": (post(extra=UPGRADE), "401"),
    "h2c, and a request for a body": (post(post(extra=b""), extra=KEY + UPGRADE), "400"),
    "websocket": (post(extra=KEY + b"Connection: Upgrade\r\nUpgrade: websocket\r\n"), "200"),
    "two upgrades": (post(extra=KEY + b"Connection: Upgrade\r\nUpgrade: h2c\r\nUpgrade: a\r\n"), "200"),
    "connect": (b"CONNECT localhost:80 HTTP/1.1\r\nHost: localhost\r\n\r\n", "400"),
    "host twice": (hosted(b"localhost\r\nHost: localhost"), "400"),
    "host and another": (hosted(b"localhost\r\nHost: evil.example"), "400"),
    "another host and host": (hosted(b"evil.example\r\nHost: localhost"), "400"),
    "no host, HTTP/1.1": (hosted(b"\r\nX-A: b").replace(b"Host: \r\n", b""), "400"),
    "a host with something behind its bracket": (hosted(b"[::1]evil"), "400"),
    "a host with a port in letters": (hosted(b"localhost:evil"), "400"),
    "a host with two ports": (hosted(b"localhost:80:80"), "400"),
    "a host with a user": (hosted(b"evil@localhost"), "400"),
    "a host with a path": (hosted(b"localhost/evil"), "400"),
    "a list of hosts": (hosted(b"localhost, evil.example"), "400"),
    "a bracket that stays open": (hosted(b"[::1"), "400"),
    "a host with blanks": (hosted(b"  localhost \t "), "200"),
    "a host in capitals": (hosted(b"LocalHost:80"), "200"),
    "a host in brackets": (hosted(b"[::1]:80"), "200"),
    "an empty host": (hosted(b""), "421"),
    "a foreign host": (hosted(b"evil.example"), "421"),
    "key twice": (post(extra=KEY + KEY), "400"),
    "key and a wrong one": (post(extra=KEY + b"X-API-Key: no\r\n"), "400"),
    "a wrong key and the key": (post(extra=b"X-API-Key: no\r\n" + KEY), "400"),
    "bearer twice": (post(extra=b"Authorization: Bearer k3y\r\n" * 2), "400"),
    "bearer and a wrong key": (post(extra=b"Authorization: Bearer k3y\r\nX-API-Key: no\r\n"), "401"),
    "another scheme beside the key": (post(extra=b"Authorization: Basic k3y\r\n" + KEY), "200"),
    "a key with blanks": (post(extra=b"X-API-Key:   k3y \t \r\n"), "200"),
    "a bearer with blanks": (post(extra=b"Authorization:  Bearer   k3y  \r\n"), "200"),
    "a key with more": (post(extra=b"X-API-Key: k3y x\r\n"), "401"),
    "a key of blanks": (post(extra=b"X-API-Key:   \r\n"), "401"),
    "type twice": (post(extra=KEY + b"Content-Type: application/json\r\n"), "400"),
    "encoding twice, of a body": (post(extra=KEY + b"Content-Encoding: identity\r\n" * 2), "400"),
    "cookies": (post(extra=KEY + b"Cookie: a\r\nCookie: b\r\n"), "200"),
    "absolute form": (post(path=b"http://localhost/invocations"), "200"),
    "absolute form, with a port and a query": (post(path=b"http://localhost:80/invocations?a=1"), "200"),
    "absolute form, in brackets": (post(path=b"http://[::1]/invocations"), "200"),
    "absolute form of another host": (post(path=b"http://evil.example/invocations"), "421"),
    "absolute form of this host, for another": (
        hosted(b"evil.example", b"http://localhost/invocations"),
        "200",
    ),
    "absolute form, host twice": (hosted(b"a\r\nHost: a", b"http://localhost/invocations"), "400"),
    "absolute form without a path": (PING.replace(b"/ping", b"http://localhost"), "200"),
    "absolute form with a user": (post(path=b"http://a@localhost/invocations"), "400"),
    "absolute form of another scheme": (post(path=b"ftp://localhost/invocations"), "400"),
    "a star": (PING.replace(b"GET /ping", b"OPTIONS *"), "401"),
    "a target without a slash": (PING.replace(b"/ping", b"ping"), "400"),
    "a head nearly too long": (post(extra=KEY + b"X-A: " + b"a" * 65_000 + b"\r\n"), "200"),
    "a head too long": (post(extra=KEY + b"X-A: " + b"a" * 65_500 + b"\r\n"), "431"),
    "a path too long": (PING.replace(b"/ping", b"/" + b"a" * 66_000), "431"),
    "a query too long": (post(path=b"/invocations?" + b"a" * 65_500), "431"),
    "a head of too many lines": (post(extra=KEY + b"A:\r\n" * 3_000), "431"),
    "a head too long behind others": (
        post() * 3 + post(extra=KEY + b"X-A: " + b"a" * 90_000),
        "200 200 200 431",
    ),
    "a head behind a long body": (post(BODY + b" " * 150_000) + post()[:40] + post()[40:], "200 200"),
    "a long body behind a long head": (
        post(BODY + b" " * 150_000, extra=KEY + b"X-A: " + b"a" * 60_000 + b"\r\n") + post(),
        "200 200",
    ),
    "a thousand at once": (PING * 1_000, " ".join(["200"] * 1_000)),
    "a thousand at once, and garbage": (PING * 1_000 + b"\0\r\n", " ".join(["200"] * 1_000 + ["400"])),
    "hundreds at once of all kinds": (
        (post() + PING + post(b"{")) * 200,
        " ".join(["200", "200", "400"] * 200),
    ),
    "short chunks": (
        HEAD + CHUNKED + b"\r\n" + b"".join(b"1\r\n%c\r\n" % byte for byte in BODY) + b"0\r\n\r\n" + post(),
        "200 200",
    ),
    "an endless extension of a chunk": (HEAD + CHUNKED + b"\r\n5;" + b"a" * 300_000, "431"),
    "too long a body": (post(BODY + b" " * 200_000), "413"),
    "too long a body, chunked": (
        HEAD + CHUNKED + b"\r\n30D41\r\n" + b" " * 200_001 + b"\r\n0\r\n\r\n",
        "413",
    ),
    "a bad one, and one without a key that is cut off by garbage": (
        post(b"{") + HEAD.replace(KEY, b"") + CHUNKED + b"\r\nno length\r\n",
        "400 400",
    ),
    "a body that is cut off by garbage": (HEAD + CHUNKED + b"\r\nno length\r\n", "400"),
}
"""With what each is answered; where the connection stays open, a ping behind it is answered 200."""
