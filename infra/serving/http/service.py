"""What a worker does with a request, whichever way it came in: route, read, queue."""

import asyncio
import logging
import time
from typing import NamedTuple

from infra.serving.codecs.mlflow_scoring import predictions
from infra.serving.codecs.open_inference import LENGTH
from infra.serving.http.api_keys import Keys
from infra.serving.models.execution import Request
from infra.serving.models.slot import Slot
from infra.serving.models.version import LoadedVersion
from infra.serving.options import LOOPBACK, ServeOptions, Target
from infra.serving.wire.headings import Reply, refuse
from infra.serving.wire.problems import Problem

logger = logging.getLogger("slipway.serving")

Headers = dict[bytes, bytes]

INVOCATION_TYPES = frozenset(
    {b"application/json", b"application/json; charset=utf-8", b"application/json;charset=utf-8"}
)

INFERENCE_TYPES = INVOCATION_TYPES | {b"application/octet-stream", b""}


class Route(NamedTuple):
    """A predict route: the model behind it and the protocol spoken on it."""

    slot: Slot
    v2: bool
    version: str | None = None

    @property
    def types(self) -> frozenset[bytes]:
        return INFERENCE_TYPES if self.v2 else INVOCATION_TYPES


class Service:
    """The models of one worker and the rules for reaching them."""

    def __init__(
        self, targets: tuple[Target, ...], options: ServeOptions, loop: asyncio.AbstractEventLoop
    ) -> None:
        self.options = options
        self.targets = {target.name: target for target in targets}
        self.slots = {name: Slot(name, options, loop) for name in self.targets}
        self.keys = Keys(options.keys_file)
        self.hosts = allowed_hosts(options)
        self.draining = False
        self.clock = time.monotonic()
        self.predict_routes = self._predict_routes()

    def _predict_routes(self) -> dict[bytes, Route]:
        """By their exact text, which is also all that the fast path takes."""
        routes = {}
        for name, slot in self.slots.items():
            routes[f"/models/{name}/invocations".encode()] = Route(slot, False)
            routes[f"/v2/models/{name}/infer".encode()] = Route(slot, True)
        if len(self.slots) == 1:
            routes[b"/invocations"] = Route(next(iter(self.slots.values())), False)
        return routes

    def route(self, path: str) -> Route | None:
        """The predict route at a decoded path; Problem 404 when the version it pins is not the one that serves."""
        route = self.predict_routes.get(path.encode())
        parts = path.split("/")
        if (
            route is None
            and len(parts) == 7
            and parts[1:3] == ["v2", "models"]
            and (parts[4], parts[6]) == ("versions", "infer")
        ):
            slot = self.slots.get(parts[3])
            return Route(slot, True, parts[5]) if slot else None
        return route

    @property
    def ready(self) -> bool:
        return not self.draining and all(slot.current is not None for slot in self.slots.values())

    def submit(self, route: Route, headers: Headers, body: bytes, reply: Reply) -> None:
        """Read a body and queue its rows; whatever happens, `reply` is answered exactly once."""
        taken = time.perf_counter()
        slot = route.slot
        loaded = slot.current
        try:
            if loaded is None or (route.version is not None and route.version != loaded.release.version):
                raise absent(route, loaded)
            batcher = slot.batcher
            wait = batcher.rows * loaded.pace.row
            if wait > batcher.max_wait:
                raise batcher.overloaded(wait)
            if route.v2:
                rows, wanted = loaded.inference.read(body, headers.get(LENGTH))
                batcher.put(Request(rows, wanted.render, reply, taken))
            else:
                batcher.put(Request(loaded.invocations.read(body), predictions, reply, taken))
        except Problem as problem:
            if loaded is not None:
                loaded.numbers.answered(problem.status)
            refuse(reply, problem, loaded.headings if loaded else None)
        except Exception:
            logger.exception("a request for %s failed", slot.name)
            refuse(
                reply,
                Problem(500, "internal", "the server failed on this request"),
                loaded.headings if loaded else None,
            )


def absent(route: Route, loaded: LoadedVersion | None) -> Problem:
    name = route.slot.name
    if loaded is None:
        return Problem(503, "not_ready", f"no version of {name!r} is loaded yet", retry_after=1)
    return Problem(
        404, "no_such_version", f"{name!r} serves version {loaded.release.version}, not the one asked for"
    )


def allowed_hosts(options: ServeOptions) -> frozenset[str] | None:
    """Host names a request may carry; None is any. On loopback only its own names: a web page must not reach us by a name of its own."""
    if options.allow_host:
        return frozenset(options.allow_host)
    return frozenset(LOOPBACK) if options.host in LOOPBACK else None


def host_name(header: bytes | None) -> str:
    """The name in a Host header, without port and brackets."""
    text = (header or b"").decode("latin-1").lower()
    if text.startswith("["):
        return text[1:].partition("]")[0]
    return text.partition(":")[0]
