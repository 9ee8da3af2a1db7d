"""What a worker does with a request, whichever way it came in: route, read, queue."""

import asyncio
import logging
import re
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache, partial
from typing import NamedTuple

from infra.serving.codecs.mlflow_scoring import predictions
from infra.serving.http.api_keys import Keys
from infra.serving.models.execution import About, ObservedRequest, Render, Request
from infra.serving.models.lanes import Lane
from infra.serving.models.slot import Observers, Slot
from infra.serving.models.version import LoadedVersion
from infra.serving.options import LOOPBACK, ServeOptions, Target
from infra.serving.wire.budget import Budget, no_room
from infra.serving.wire.headings import JSON_LENGTH, Reply, refuse
from infra.serving.wire.problems import Problem
from infra.serving.wire.request_ids import new_ids
from infra.serving.wire.tensors import RequestRows

logger = logging.getLogger("slipway.serving")

Headers = dict[bytes, bytes]

Read = Callable[[], tuple[RequestRows, Render]]

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


Place = Slot | Lane
"""Where a request waits and is answered."""

Make = Callable[[RequestRows, Render, Reply, float], Request]


class Waits(NamedTuple):
    """A request whose body is being read."""

    place: Place
    reply: Reply
    taken: float
    make: Make


class Service:
    """The models of one worker and the rules for reaching them."""

    def __init__(
        self, targets: tuple[Target, ...], options: ServeOptions, loop: asyncio.AbstractEventLoop
    ) -> None:
        self.options = options
        self.targets = {target.name: target for target in targets}
        self.loop = loop
        self.budget = Budget(options.max_bytes)
        self.slots = {name: Slot(name, options, loop, self.budget) for name in self.targets}
        self.reader = ThreadPoolExecutor(1, "read")  # one body is read at a time, which bounds memory
        self.unpacking = asyncio.Lock()  # likewise
        self.others: dict[str, int] = {}
        """Answers that no version gave, by status."""
        self.faults: dict[str, str] = {}
        """What has ended in this worker and ought not to have, by its name."""
        self.keys = Keys(options.keys_file)
        self.hosts = allowed_hosts(options)
        self.draining = False
        self.ids = new_ids()
        self.clock = time.monotonic()
        self.predict_routes: dict[bytes, Route] = {}
        """By their exact text, which is also all that the fast path takes."""
        self.looked = not options.all
        """Whether it is known what is to be served: with --all the registry says so."""
        self.unawaited: set[str] = set(self.targets) if options.all else set()
        """Models that have no champion when --all first looks, came later, or were refused and nobody named: readiness waits for none."""
        for slot in self.slots.values():
            self._route_to(slot)
        if len(self.slots) == 1 and not options.all:
            self.predict_routes[b"/invocations"] = Route(next(iter(self.slots.values())), False)
        self.named = frozenset(self.targets)

    def _route_to(self, slot: Slot) -> None:
        self.predict_routes[f"/models/{slot.name}/invocations".encode()] = Route(slot, False)
        self.predict_routes[f"/v2/models/{slot.name}/infer".encode()] = Route(slot, True)

    def follow(self, targets: tuple[Target, ...]) -> list[Slot]:
        """Have room for models that nobody named, of `targets`, which are all that the registry has; the new slots."""
        new = {
            target.name: Slot(target.name, self.options, self.loop, self.budget)
            for target in targets
            if target.name not in self.targets
        }
        self.targets.update({target.name: target for target in targets if target.name in new})
        self.slots.update(new)
        for slot in new.values():
            self._route_to(slot)
        if self.looked:
            self.unawaited.update(new)
        else:
            self.unawaited.difference_update(target.name for target in targets)
        self.looked = True
        return list(new.values())

    def refused(self, name: str) -> None:
        """One model of many must not keep the others from being served: only what was named is waited for."""
        if name not in self.named:
            self.unawaited.add(name)

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
        return self.looked and not self.waiting and not self.draining and not self.troubles()

    @property
    def waiting(self) -> list[str]:
        """Models that must be loaded before this worker is ready, and are not."""
        return [
            name for name, slot in self.slots.items() if slot.current is None and name not in self.unawaited
        ]

    def troubles(self) -> dict[str, str]:
        """What is wrong with this worker, by the name of the part: it will be replaced."""
        now = time.monotonic()
        queues = [(name, slot.batcher) for name, slot in self.slots.items()]
        queues += [(name, slot.lane.batcher) for name, slot in self.slots.items() if slot.lane is not None]
        return self.faults | {name: "a batch does not end" for name, queue in queues if queue.hangs(now)}

    def count(self, status: int) -> None:
        """An answer that is no version's."""
        self.others[str(status)] = self.others.get(str(status), 0) + 1

    def submit(self, route: Route, headers: Headers, body: bytes, reply: Reply) -> None:
        """Read a body and queue its rows; whatever happens, `reply` is answered exactly once."""
        taken = time.perf_counter()
        slot, budget = route.slot, self.budget
        place: Place = slot
        make: Make = Request
        if slot.observers is not None:
            place, make = self._placed(route, slot.observers, headers, reply, taken)
        loaded = place.current
        try:
            if loaded is None or (route.version is not None and route.version != loaded.release.version):
                raise absent(slot.name, loaded)
            batcher = place.batcher
            wait = (batcher.rows + batcher.running) * loaded.pace.row
            if wait > batcher.max_wait:
                raise batcher.overloaded(wait)
            if budget.used + len(body) > budget.large and not budget.has_room(len(body), len(body)):
                raise no_room()
            if route.v2:
                length = headers.get(JSON_LENGTH)
                read = loaded.inference.at_once(body, length)
                if read is None:
                    waits = Waits(place, reply, taken, make)
                    self._read_aside(partial(_inference, loaded, body, length), len(body), waits)
                else:
                    batcher.put(make(read[0], read[1].render, reply, taken))
            else:
                rows = loaded.invocations.at_once(body)
                if rows is None:
                    waits = Waits(place, reply, taken, make)
                    self._read_aside(partial(_invocations, loaded, body), len(body), waits)
                else:
                    batcher.put(make(rows, predictions, reply, taken))
        except Exception as error:
            self._refuse(place, reply, error)

    def _placed(
        self, route: Route, observers: Observers, headers: Headers, reply: Reply, now: float
    ) -> tuple[Place, Make]:
        """Where a request is answered, and how it is to be remembered. One that asks for a version is drawn for nothing.

        Whatever may be kept has a name, by which its label is told: the request's own, or one that is made here.
        """
        (lane, watch, recorded), slot = observers, route.slot
        if route.version is not None:
            return self._pinned(slot, route.version, recorded, reply)
        place: Place = slot
        key, drawn = b"", None
        if lane is not None:
            key = headers.get(lane.header, b"")
            place = lane if lane.takes(key, reply.id) else slot
            drawn = lane.pairs if now > lane.pairs.due and lane.pairs.draw(now) else None
        if drawn is None and watch is not None and watch.draw(now):
            drawn = watch
        if drawn is None and not recorded:
            return place, Request
        lot = None if lane is None else lane.lots[place is lane]
        return place, self._observed(reply, About(b"", key, lot, drawn))

    def _pinned(self, slot: Slot, version: str, recorded: bool, reply: Reply) -> tuple[Place, Make]:
        place = pinned(slot, version)
        asked = place is not slot
        return place, self._observed(reply, About(b"", asked=asked)) if recorded or asked else Request

    def _observed(self, reply: Reply, about: About) -> Make:
        if not reply.id:
            reply.id = next(self.ids)
        return partial(ObservedRequest, about._replace(id=reply.id))

    def _read_aside(self, read: Read, size: int, waits: "Waits") -> None:
        """Have a body that takes longer read beside the event loop, after those that came before."""
        self.budget.used += size
        work = self.loop.run_in_executor(self.reader, _outcome, read, waits.place.name)
        work.add_done_callback(partial(self._was_read, size, waits))

    def _was_read(
        self, size: int, waits: "Waits", work: "asyncio.Future[tuple[RequestRows, Render] | Problem]"
    ) -> None:
        self.budget.used -= size
        place, reply, taken, make = waits
        outcome = work.result()
        if isinstance(outcome, Problem):
            self._refuse(place, reply, outcome)
        elif (problem := self._without_room(outcome[0].size)) is not None:
            self._refuse(place, reply, problem)
        else:
            place.batcher.put(make(*outcome, reply, taken))

    def _without_room(self, size: int) -> Problem | None:
        """Why rows cannot wait here that come to so many bytes, which may be many times their body's."""
        if size > self.budget.large:
            said = f"what the body holds comes to {size} bytes, and {self.budget.large} are the most that are held here"
            return Problem(413, "too_large", f"{said}: send fewer or smaller values at once")
        return None if self.budget.has_room(size, size) else no_room()

    def _refuse(self, place: "Place", reply: Reply, error: Exception) -> None:
        problem, loaded = problem_of(error, f"a request for {place.name}"), place.current
        if loaded is None:
            self.count(problem.status)
        else:
            loaded.numbers.answered(problem.status)
        refuse(reply, problem, loaded.headings if loaded else None)


def _outcome(read: Read, name: str) -> tuple[RequestRows, Render] | Problem:
    """What was read, or why not: a problem without its traceback, which would keep the body until garbage is collected."""
    try:
        return read()
    except Exception as error:
        problem = problem_of(error, f"a request for {name}").with_traceback(None)
        problem.__context__ = None
        return problem


def _invocations(loaded: LoadedVersion, body: bytes) -> tuple[RequestRows, Render]:
    return loaded.invocations.carefully(body), predictions


def _inference(loaded: LoadedVersion, body: bytes, length: bytes | None) -> tuple[RequestRows, Render]:
    rows, wanted = loaded.inference.carefully(body, length)
    return rows, wanted.render


def problem_of(error: Exception, what: str) -> Problem:
    """What a client is told: a Problem as it is; anything else is ours, and for the log alone."""
    if isinstance(error, Problem):
        return error
    logger.error("%s failed", what, exc_info=error)
    return Problem(500, "internal", "the server failed on this request")


def pinned(slot: Slot, version: str) -> Place:
    """Where one version answers: in a rollout, either lane."""
    lane = slot.lane
    new = lane.current if lane is not None else None
    return lane if lane is not None and new is not None and new.release.version == version else slot


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
