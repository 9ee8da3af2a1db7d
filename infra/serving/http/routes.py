"""Every route that is not a prediction: health, metadata, metrics, the pages, labels, the webhook."""

import datetime
import time
from collections.abc import Callable
from functools import partial
from itertools import accumulate
from pathlib import Path
from typing import Any

import orjson

from infra.serving.http.labels import TYPES, LabelSpool, read_labels
from infra.serving.http.openapi import document
from infra.serving.http.overview import POLICY as OVERVIEW_POLICY
from infra.serving.http.overview import Shown, overview
from infra.serving.http.service import Headers, Service, absent, pinned
from infra.serving.http.webhook import check
from infra.serving.ipc.messages import EVERY
from infra.serving.models.counters import LATENCY
from infra.serving.models.version import LoadedVersion
from infra.serving.telemetry.board import Board
from infra.serving.telemetry.metrics import Entry, Metrics
from infra.serving.wire.headings import JSON, Heading
from infra.serving.wire.problems import Problem
from infra.serving.wire.tensors import Tensor
from tasks.system.libraries import installed

Answer = tuple[int, Heading, bytes]

WEBHOOK, METRICS = "/webhook", "/metrics"

OPEN = frozenset({"/live", "/health", "/ready", "/ping", "/v2/health/live", "/v2/health/ready"})

OVERVIEW = "/"

PAGE = Path(__file__).with_name("page.html")

POLICY = b"default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; connect-src 'self'; img-src data:; form-action 'self'; frame-ancestors 'none'; base-uri 'none'"

PAGE_HEADING = Heading(
    [
        (b"content-type", b"text/html; charset=utf-8"),
        (b"content-security-policy", POLICY),
        (b"x-content-type-options", b"nosniff"),
    ]
)

OVERVIEW_HEADING = Heading(
    [
        (b"content-type", b"text/html; charset=utf-8"),
        (b"content-security-policy", OVERVIEW_POLICY.encode()),
        (b"cache-control", b"no-store"),
        (b"referrer-policy", b"no-referrer"),
        (b"x-content-type-options", b"nosniff"),
    ]
)

TEXT_HEADING = Heading([(b"content-type", b"text/plain; charset=utf-8")])

JSON_HEADING = Heading([(b"content-type", JSON), (b"cache-control", b"no-store")])


class Routes:
    """Answers by path; `open` paths need no key, and are matched exactly."""

    def __init__(self, service: Service, board: Board, metrics: Metrics, nudge: Callable[[], None]) -> None:
        self.service = service
        self.board = board
        self.metrics = metrics
        self.nudge = nudge
        self.labels = LabelSpool(service.options.home)
        self.started = time.time()
        self.gets: dict[str, Callable[[], Answer]] = {
            OVERVIEW: self._overview,
            "/live": self._page,
            "/openapi.json": self._openapi,
            "/health": self._health,
            "/ready": self._ready,
            "/ping": self._ping,
            METRICS: self._metrics,
            "/status": self._status,
            "/v2": self._server,
            "/version": self._version,
            "/v2/health/live": self._live,
            "/v2/health/ready": self._ready,
        }

    def open(self, path: str) -> bool:
        """Whether a path needs no key; the webhook brings a signature instead."""
        return path in OPEN or path == WEBHOOK or (path == METRICS and self.service.options.open_metrics)

    def check_key(self, path: str, headers: Headers) -> None:
        """Problem 401 for what comes without a key, where there are keys; a browser that asks for the first page may give one as a password."""
        keys = self.service.keys
        if self.open(path) or keys.allow(headers) or (path == OVERVIEW and keys.allow_password(headers)):
            return
        if path == OVERVIEW:
            said = "this page asks for a key: any name, and the key as its password"
            raise Problem(401, "no_key", said, challenge='Basic realm="Slipway", charset="UTF-8"')
        raise Problem(401, "no_key", "send a valid key as 'Authorization: Bearer KEY' or 'X-API-Key: KEY'")

    def method(self, path: str) -> str | None:
        """The method a path takes, or None when there is nothing at it."""
        if path == WEBHOOK and self.service.options.webhook_secret is not None:
            return "POST"
        if self._labelled(path) is not None:
            return "POST"
        return "GET" if self._get(path) is not None else None

    def missing(self, path: str) -> Problem:
        names = ", ".join(f"/models/{name}/invocations" for name in self.service.slots)
        if path == "/invocations":
            return Problem(404, "which_model", f"several models are served here: use one of {names}")
        return Problem(404, "no_such_path", f"nothing is here; predictions are at {names}")

    def _labelled(self, path: str) -> str | None:
        """The model whose labels a path takes."""
        match path.split("/"):
            case ["", "v2", "models", name, "labels"] if name in self.service.slots:
                return name
        return None

    async def _labels(self, name: str, headers: Headers, body: bytes) -> Answer:
        if headers.get(b"content-type", b"").lower().replace(b" ", b"") not in TYPES:
            raise Problem(415, "wrong_type", "this path takes application/json")
        labels = await self.service.loop.run_in_executor(self.service.reader, read_labels, body)
        await self.labels.keep(name, labels)
        return as_json(202, {"accepted": len(labels)})

    async def answer(self, path: str, headers: Headers, body: bytes) -> Answer:
        if (name := self._labelled(path)) is not None:
            return await self._labels(name, headers, body)
        if path == WEBHOOK:
            check(self.service.options.webhook_secret or "", headers, body)
            self.nudge()
            return as_json(200, {"looking": True})
        get = self._get(path)
        assert get is not None
        return get()

    def _get(self, path: str) -> Callable[[], Answer] | None:
        """What answers a GET: one of `gets`, or of /v2/models/NAME[/versions/V][/ready]."""
        parts = path.split("/")
        if parts[:3] != ["", "v2", "models"] or len(parts) < 4 or parts[3] not in self.service.slots:
            return self.gets.get(path)
        rest, version = parts[4:], None
        if rest[:1] == ["versions"] and len(rest) >= 2:
            rest, version = rest[2:], rest[1]
        return partial(self._model, parts[3], version, path) if rest in ([], ["ready"]) else None

    def _health(self) -> Answer:
        models = {
            name: {**self._summary(name), "rollout": self.metrics.rollout(name)}
            for name in self.service.slots
        }
        return as_json(200, {"status": "draining" if self.service.draining else "alive", "models": models})

    def _ready(self) -> Answer:
        waiting = [*self.service.waiting, *([] if self.service.looked else [EVERY])]
        reasons = {name: self.board.about(name) for name in waiting}
        behind = {name: why for name in self.service.slots if (why := self.board.behind(name))}
        answer = {
            "ready": self.service.ready,
            "waiting": reasons,
            "behind": behind,
            "troubles": self.service.troubles(),
            "engines": {
                name: slot.current.engines for name, slot in self.service.slots.items() if slot.current
            },
            "rollouts": {
                name: rollout
                for name in self.service.slots
                if (rollout := self.metrics.rollout(name)) is not None
            },
        }
        return as_json(200 if self.service.ready else 503, answer)

    def _ping(self) -> Answer:
        return 200, JSON_HEADING, b"\n"

    def _live(self) -> Answer:
        return as_json(200, {"live": True})

    def _version(self) -> Answer:
        """The version of the server, in plain text, which is what MLflow's scoring client asks for."""
        return 200, TEXT_HEADING, (installed("slipway") or "unknown").encode()

    def _metrics(self) -> Answer:
        from infra.serving.telemetry.exposition import CONTENT_TYPE, exposition

        followed = {name for name, target in self.service.targets.items() if target.path is None}
        text = exposition(self.metrics, self.service.ready, followed)
        return 200, Heading([(b"content-type", CONTENT_TYPE.encode())]), text

    def _server(self) -> Answer:
        return as_json(200, {"name": "slipway", "version": "2", "extensions": ["binary_tensor_data"]})

    def _page(self) -> Answer:
        return 200, PAGE_HEADING, PAGE.read_bytes()

    def _openapi(self) -> Answer:
        return as_json(200, document({name: slot.current for name, slot in self.service.slots.items()}))

    def _models(self) -> dict[str, dict[str, Any]]:
        """What the pages show; the numbers are those of all workers."""
        versions = self.metrics.versions()
        return {
            name: {**self._summary(name), **self._details(name), **totalled(name, versions)}
            for name in self.service.slots
        }

    def _overview(self) -> Answer:
        statuses, links = self.board.statuses, dict(each.split("=", 1) for each in self.service.options.link)
        models = [
            Shown(name, served, statuses.get(name, {})) for name, served in sorted(self._models().items())
        ]
        return 200, OVERVIEW_HEADING, overview(models, links, datetime.datetime.now(datetime.UTC))

    def _status(self) -> Answer:
        models = self._models()
        for name, statuses in self.board.statuses.items():
            said = {
                subject: tag.model_dump(mode="json", exclude={"model", "subject"})
                for subject, tag in statuses.items()
            }
            models[name]["statuses"] = said
        events = [event.model_dump(mode="json") for event in self.board.events]
        return as_json(
            200, {"since": self.started, "ready": self.service.ready, "models": models, "events": events}
        )

    def _summary(self, name: str) -> dict[str, Any]:
        loaded, target = self.service.slots[name].current, self.service.targets[name]
        served: dict[str, Any] = {"version": None}
        if loaded is not None:
            served = loaded.release.model_dump(include={"version", "digest", "evidence", "decided", "score"})
        shown = str(target) if target.path is None else f"{name} (a folder)"
        return {"target": shown, **served, **self.board.about(name)}

    def _details(self, name: str) -> dict[str, Any]:
        slot = self.service.slots[name]
        example = slot.current.example if slot.current is not None else None
        beside = None if slot.current is None else slot.current.release.version
        compared = [
            each for each in self.metrics.pairs() if (each["model"], each["version"]) == (name, beside)
        ]
        return {
            "since": slot.since,
            "engines": None if slot.current is None else slot.current.engines,
            "previous": None if slot.previous is None else slot.previous.release.version,
            "example": None if example is None else example.decode(),
            "compared": next(iter(compared), None),
            "rollout": self.metrics.rollout(name),
        }

    def _model(self, name: str, version: str | None, path: str) -> Answer:
        slot = self.service.slots[name]
        loaded = (slot if version is None else pinned(slot, version)).current
        if loaded is not None and version not in (None, loaded.release.version):
            raise absent(name, loaded)
        if path.endswith("/ready"):
            return as_json(200 if loaded is not None else 503, {"name": name, "ready": loaded is not None})
        if loaded is None:
            raise absent(name, None)
        return 200, Heading([(b"content-type", JSON), *loaded.headings.about]), orjson.dumps(metadata(loaded))


def totalled(name: str, versions: list[Entry]) -> dict[str, Any]:
    """A model's versions added up: requests, errors, and the bucket its median and p99 latency lie in."""
    entries = [entry for entry in versions if entry["model"] == name]
    answers = [(int(status), count) for entry in entries for status, count in entry["answers"].items()]
    counts = [sum(column) for column in zip(*(entry["latency"]["counts"] for entry in entries), strict=True)]
    return {
        "requests": sum(count for _, count in answers),
        "errors": sum(count for status, count in answers if status >= 400),
        "p50_ms": bound_of(counts, 0.5),
        "p99_ms": bound_of(counts, 0.99),
    }


def bound_of(counts: list[int], share: float) -> float | None:
    """The upper bound in milliseconds of the bucket where `share` of the values is reached."""
    wanted = share * sum(counts)
    for bound, reached in zip((*LATENCY, 100.0), accumulate(counts), strict=False):
        if reached and reached >= wanted:
            return bound * 1e3
    return None


def metadata(loaded: LoadedVersion) -> dict[str, Any]:
    """A model as the Open Inference Protocol describes it."""
    return {
        "name": loaded.release.model,
        "versions": [loaded.release.version],
        "platform": "onnx_onnxv1",
        "inputs": [described(tensor) for tensor in loaded.spec.inputs],
        "outputs": [described(tensor) for tensor in loaded.spec.outputs],
    }


def described(tensor: Tensor) -> dict[str, Any]:
    return {"name": tensor.name, "datatype": tensor.datatype, "shape": list(tensor.shape)}


def as_json(status: int, value: Any) -> Answer:
    return status, JSON_HEADING, orjson.dumps(value) + b"\n"
