"""A way to a registry that can be shut: whoever comes by it meets a registry that is away, and then one that is back."""

import contextlib
import socket
import socketserver
import threading
from typing import Self
from urllib.parse import urlsplit

from tasks.registry.tags import REVERTED_TAG

_LOOK = b"/registered-models/get?"


class RegistryDoor:
    """Shut at first. `looks`: how often a registered model was read through it, which is once a poll; `notes`: how often a revert was noted."""

    def __init__(self, uri: str) -> None:
        door, behind = self, urlsplit(uri)
        self.is_open, self.looks, self.notes = False, 0, 0

        class Passing(socketserver.BaseRequestHandler):
            def handle(self) -> None:
                if not door.is_open:
                    return
                address = (behind.hostname or "", behind.port or 80)
                with socket.create_connection(address) as there, contextlib.suppress(OSError):
                    back = threading.Thread(target=_pass, args=(there, self.request), daemon=True)
                    back.start()
                    for sent in iter(lambda: self.request.recv(1 << 16), b""):
                        door.looks += sent.count(_LOOK)
                        door.notes += sent.count(REVERTED_TAG.encode())
                        there.sendall(sent)

        self.server = socketserver.ThreadingTCPServer(("127.0.0.1", 0), Passing)
        self.server.daemon_threads = True
        self.uri = f"http://127.0.0.1:{self.server.server_address[1]}"

    def __enter__(self) -> Self:
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self.server.shutdown()
        self.server.server_close()


def _pass(there: socket.socket, here: socket.socket) -> None:
    with contextlib.suppress(OSError):
        for came in iter(lambda: there.recv(1 << 16), b""):
            here.sendall(came)
        here.shutdown(socket.SHUT_WR)
