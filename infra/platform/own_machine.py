"""Servers of this machine alone: what has no account is asked by its own names and its own pages, and by nobody else's.

A browser lets any page send requests to any loopback port, and a name that its owner points at 127.0.0.1 makes such a page
one of the server's own (DNS rebinding). The first is told by its Origin, the second by its Host.
"""

from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

Scope = MutableMapping[str, Any]

Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]

App = Callable[[Scope, Callable[[], Awaitable[MutableMapping[str, Any]]], Send], Awaitable[None]]

NAMES = ("127.0.0.1", "localhost", "[::1]")

_POLICY_VIOLATION = 1008


def origins(port: int) -> list[str]:
    """Of the pages that a server on this port shows."""
    return [f"http://{name}:{port}" for name in NAMES]


class OwnMachineOnly:
    """An ASGI app that lets through what comes from this machine's programs and from the pages of the server itself."""

    def __init__(self, app: App, port: int) -> None:
        self.app = app
        self.hosts = {f"{name}:{port}" for name in NAMES}
        self.origins = set(origins(port))

    async def __call__(self, scope: Scope, receive: Any, send: Send) -> None:
        refusal = self._refusal(scope) if scope["type"] in ("http", "websocket") else None
        if refusal is None:
            await self.app(scope, receive, send)
        elif scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": _POLICY_VIOLATION, "reason": refusal})
        else:
            body = f"{refusal}\n".encode()
            headers = [
                (b"content-type", b"text/plain; charset=utf-8"),
                (b"content-length", b"%d" % len(body)),
            ]
            await send({"type": "http.response.start", "status": 403, "headers": headers})
            await send({"type": "http.response.body", "body": body})

    def _refusal(self, scope: Scope) -> str | None:
        """Why a request is not let through; a header that is there twice counts as another's."""
        hosts, sources = (_values(scope, name) for name in (b"host", b"origin"))
        if len(hosts) != 1 or hosts[0].lower() not in self.hosts:
            return f"This server is asked as {min(self.hosts)}, not as {', '.join(hosts) or 'nobody'}."
        if any(source.lower() not in self.origins for source in sources):
            return f"Pages of {', '.join(sources)} may not ask this server: it answers its own."
        return None


def _values(scope: Scope, name: bytes) -> list[str]:
    return [value.decode("latin-1") for key, value in scope["headers"] if key == name]
