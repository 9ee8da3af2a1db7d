"""Every route that is not a prediction: health, metadata, metrics, the page, the webhook."""

import time
from collections.abc import Callable
from typing import Any

import orjson

from infra.serving.answers import JSON, Heading
from infra.serving.board import Board
from infra.serving.metrics import CONTENT_TYPE, Metrics
from infra.serving.model import Model
from infra.serving.problems import Problem
from infra.serving.service import Headers, Service
from infra.serving.tensors import Tensor
from infra.serving.webhook import check

Answer = tuple[int, Heading, bytes]

WEBHOOK = "/webhook"
OPEN = frozenset({"/", "/health", "/ready", "/ping", "/v2/health/live", "/v2/health/ready"})
JSON_HEADING = Heading([(b"content-type", JSON), (b"cache-control", b"no-store")])


class Routes:
    """Answers by path; `open` paths need no key, and are matched exactly."""

    def __init__(self, service: Service, board: Board, metrics: Metrics, nudge: Callable[[], None]) -> None:
        self.service = service
        self.board = board
        self.metrics = metrics
        self.nudge = nudge
        self.started = time.time()
        self.gets: dict[str, Callable[[], Answer]] = {
            "/health": self._health,
            "/ready": self._ready,
            "/ping": self._ping,
            "/metrics": self._metrics,
            "/status": self._status,
            "/v2": self._server,
            "/v2/health/live": self._ping,
            "/v2/health/ready": self._ready,
        }

    def open(self, path: str) -> bool:
        """Whether a path needs no key; the webhook brings a signature instead."""
        return path in OPEN or path == WEBHOOK

    def method(self, path: str) -> str | None:
        """The method a path takes, or None when there is nothing at it."""
        if path == WEBHOOK and self.service.options.webhook_secret is not None:
            return "POST"
        return "GET" if path in self.gets or self._model_path(path) is not None else None

    def missing(self, path: str) -> Problem:
        names = ", ".join(f"/models/{name}/invocations" for name in self.service.slots)
        if path == "/invocations":
            return Problem(404, "which_model", f"several models are served here: use one of {names}")
        return Problem(404, "no_such_path", f"nothing is here; predictions are at {names}")

    async def answer(self, path: str, headers: Headers, body: bytes) -> Answer:
        if path == WEBHOOK:
            check(self.service.options.webhook_secret or "", headers, body)
            self.nudge()
            return as_json(200, {"looking": True})
        found = self.gets.get(path)
        if found is not None:
            return found()
        name = self._model_path(path)
        assert name is not None
        return self._model(name, path)

    def _model_path(self, path: str) -> str | None:
        """The model of /v2/models/NAME[/versions/V][/ready]."""
        parts = path.split("/")
        if parts[:3] != ["", "v2", "models"] or len(parts) < 4 or parts[3] not in self.service.slots:
            return None
        rest = parts[4:]
        if rest[:1] == ["versions"] and len(rest) >= 2:
            rest = rest[2:]
        return parts[3] if rest in ([], ["ready"]) else None

    def _health(self) -> Answer:
        models = {name: self._summary(name) for name in self.service.slots}
        return as_json(200, {"status": "draining" if self.service.draining else "alive", "models": models})

    def _ready(self) -> Answer:
        waiting = [name for name, slot in self.service.slots.items() if slot.current is None]
        reasons = {name: self.board.about(name) for name in waiting}
        return as_json(200 if self.service.ready else 503, {"ready": self.service.ready, "waiting": reasons})

    def _ping(self) -> Answer:
        return 200, JSON_HEADING, b"\n"

    def _metrics(self) -> Answer:
        return 200, Heading([(b"content-type", CONTENT_TYPE.encode())]), self.metrics.text()

    def _server(self) -> Answer:
        return as_json(200, {"name": "slipway", "version": "2", "extensions": ["binary_tensor_data"]})

    def _status(self) -> Answer:
        models = {name: self._summary(name) for name in self.service.slots}
        events = [event.model_dump(mode="json") for event in self.board.events]
        return as_json(
            200, {"since": self.started, "ready": self.service.ready, "models": models, "events": events}
        )

    def _summary(self, name: str) -> dict[str, Any]:
        slot, target = self.service.slots[name], self.service.targets[name]
        model = slot.current
        served: dict[str, Any] = {"version": None}
        if model is not None:
            release = model.release
            served = {
                "version": release.version,
                "digest": release.digest,
                "evidence": release.evidence,
                "decided": release.decided,
            }
        if slot.shadow is not None:
            served["shadow"] = slot.shadow.dump()
        return {
            "target": str(target) if target.path is None else f"{name} (folder)",
            **served,
            **self.board.about(name),
        }

    def _model(self, name: str, path: str) -> Answer:
        model = self.service.slots[name].current
        if path.endswith("/ready"):
            return as_json(200 if model is not None else 503, {"name": name, "ready": model is not None})
        if model is None:
            raise Problem(503, "not_ready", f"no version of {name!r} is loaded yet", retry_after=1)
        return 200, Heading([(b"content-type", JSON), *model.headings.about]), orjson.dumps(metadata(model))


def metadata(model: Model) -> dict[str, Any]:
    """A model as the Open Inference Protocol describes it."""
    return {
        "name": model.release.model,
        "versions": [model.release.version],
        "platform": "onnx_onnxv1",
        "inputs": [described(tensor) for tensor in model.spec.inputs],
        "outputs": [described(tensor) for tensor in model.spec.outputs],
    }


def described(tensor: Tensor) -> dict[str, Any]:
    return {"name": tensor.name, "datatype": tensor.datatype, "shape": list(tensor.shape)}


def as_json(status: int, value: Any) -> Answer:
    return status, JSON_HEADING, orjson.dumps(value) + b"\n"
