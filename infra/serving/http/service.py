"""What a worker does with a request, whichever way it came in: route, read, queue."""

import asyncio
import logging
import re
import time
from functools import lru_cache
from typing import NamedTuple

from infra.serving.codecs.mlflow_scoring import predictions
from infra.serving.http.api_keys import Keys
from infra.serving.models.execution import Request
from infra.serving.models.slot import Slot
from infra.serving.models.version import LoadedVersion
from infra.serving.options import LOOPBACK, ServeOptions, Target
from infra.serving.wire.headings import JSON_LENGTH, Reply, refuse
from infra.serving.wire.problems import Problem

logger = logging.getLogger("slipway.serving")

Headers = dict[bytes, bytes]

INVOCATION_TYPES = frozenset(
    {b"application/json", b"application/json; charset=utf-8", b"application/json;charset=utf-8"}
)

INFERENCE_TYPES = INVOCATION_TYPES | {b"application/octet-stream", b""}


HOST = re.compile(r"(?:\[([0-9a-f:.]+)\]|([\w.~!$&'()*+,;=%-]*))(?::[0-9]*)?", re.ASCII)
"""host [":" port] of RFC 3986, in lower case."""


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
        match path.split("/"):
            case ["", "v2", "models", name, "versions", version, "infer"] if name in self.slots:
                return Route(self.slots[name], True, version)
        return self.predict_routes.get(path.encode())

    def answers_as(self, host: bytes | None) -> bool:
        """Whether a request with this Host header is for this server."""
        name = host_name(host)
        return name is not None and (self.hosts is None or name in self.hosts)

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
                raise absent(slot.name, loaded)
            batcher = slot.batcher
            wait = batcher.rows * loaded.pace.row
            if wait > batcher.max_wait:
                raise batcher.overloaded(wait)
            if route.v2:
                rows, wanted = loaded.inference.read(body, headers.get(JSON_LENGTH))
                batcher.put(Request(rows, wanted.render, reply, taken))
            else:
                batcher.put(Request(loaded.invocations.read(body), predictions, reply, taken))
        except Exception as error:
            problem = problem_of(error, f"a request for {slot.name}")
            if loaded is not None:
                loaded.numbers.answered(problem.status)
            refuse(reply, problem, loaded.headings if loaded else None)


def problem_of(error: Exception, what: str) -> Problem:
    """What a client is told: a Problem as it is; anything else is ours, and for the log alone."""
    if isinstance(error, Problem):
        return error
    logger.error("%s failed", what, exc_info=error)
    return Problem(500, "internal", "the server failed on this request")


def absent(name: str, loaded: LoadedVersion | None) -> Problem:
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


@lru_cache(64)
def host_name(header: bytes | None) -> str | None:
    """The name in a Host header, without port and brackets; None when there is no header, or it is not one."""
    match = None if header is None else HOST.fullmatch(header.decode("latin-1").lower())
    return None if match is None else match[1] or match[2]
