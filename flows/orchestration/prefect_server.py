"""Prefect's server in this process, for this machine alone: `slipway up` has it with its pages, a single run without."""

import os
import sys
from collections.abc import MutableMapping
from typing import Any

from tasks.system.imports import import_less, importing

_OPEN_FORM = b"""<script>
if (location.hash === "#answer") {
  let opened = 0, look = setInterval(() => {
    const shown = [...document.querySelectorAll("button, [role=menuitem]")].filter(e => e.getClientRects().length);
    const resume = shown.find(e => e.textContent.trim() === "Resume");
    const menu = document.querySelector("header button[aria-haspopup=menu], main button[aria-haspopup=menu]");
    if (resume) { clearInterval(look); resume.click(); }
    else if (menu && menu.dataset.state === "closed" && opened++ < 3)
      menu.dispatchEvent(new PointerEvent("pointerdown", {bubbles: true, button: 0}));
  }, 300);
  setTimeout(() => clearInterval(look), 60000);
}
</script></head>"""
"""No address leads to the form of a run that waits: older pages have a button for it, and newer ones hide that in a menu."""

Scope = MutableMapping[str, Any]


def main() -> None:
    """`python -m flows.orchestration.prefect_server PORT [--no-accounts]`: serve on loopback until ended, as Prefect's settings say."""
    import uvicorn

    from infra.platform.own_machine import OwnMachineOnly, origins

    port = int(sys.argv[1])
    if "--no-accounts" in sys.argv:  # those are meant for `slipway up`: who would be told here?
        os.environ.pop("PREFECT_SERVER_API_AUTH_STRING", None)
    os.environ["PREFECT_SERVER_CORS_ALLOWED_ORIGINS"] = ",".join(origins(port))
    import_less()
    with importing(for_good=True):
        from prefect.server.api.server import create_app

        app = OwnMachineOnly(WithForm(create_app(final=True)), port)
    uvicorn.run(app, host="127.0.0.1", port=port, log_level="error")


class WithForm:
    """Prefect's app whose pages open the form of a run that waits where their address ends in #answer."""

    def __init__(self, app: Any) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Any, send: Any) -> None:
        headers = scope.get("headers", ())
        page = scope["type"] == "http" and scope["method"] == "GET" and not scope["path"].startswith("/api/")
        if not page or not any(name == b"accept" and b"text/html" in value for name, value in headers):
            await self.app(scope, receive, send)
            return
        plain = [pair for pair in headers if pair[0] != b"accept-encoding"]
        await self.app({**scope, "headers": plain}, receive, _Page(send))


class _Page:
    """What is sent of a page: whole, with the script in its head, or as it comes where it is none."""

    def __init__(self, send: Any) -> None:
        self.send = send
        self.start: Any = None
        self.body = b""

    async def __call__(self, message: Any) -> None:
        if message["type"] == "http.response.start":
            self.start = (
                message if (b"content-type", b"text/html; charset=utf-8") in message["headers"] else None
            )
            if self.start is None:
                await self.send(message)
        elif self.start is None:
            await self.send(message)
        else:
            self.body += message.get("body", b"")
            if not message.get("more_body"):
                await self._send_whole()

    async def _send_whole(self) -> None:
        body = self.body.replace(b"</head>", _OPEN_FORM, 1)
        kept = [
            pair
            for pair in self.start["headers"]
            if pair[0] not in (b"content-length", b"etag", b"last-modified")
        ]
        headers = [*kept, (b"content-length", str(len(body)).encode())]
        await self.send({**self.start, "headers": headers})
        await self.send({"type": "http.response.body", "body": body})


if __name__ == "__main__":
    main()
