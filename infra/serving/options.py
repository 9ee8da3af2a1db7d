"""What can be said to `slipway serve`: one frozen record, from which the command line and its help are made."""

import os
import re
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import Field, field_validator, model_validator

from tasks.engines import NAMES, Engine
from tasks.errors import UserError
from tasks.system.frozen import Frozen

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}(?:\.[A-Za-z0-9_-]+)*")

LOOPBACK = ("127.0.0.1", "localhost", "::1")

MAX_HEAD = 64 * 1024
"""Bytes of a request that are not its body, whichever protocol reads it."""

KEYS_VARIABLE = "SLIPWAY_SERVE_KEYS"

WEBHOOK_VARIABLE = "SLIPWAY_SERVE_WEBHOOK_SECRET"

ALIAS = re.compile(r"[A-Za-z0-9_-]{1,255}")


class Target(Frozen):
    """What is served under a name: the version an alias names, one pinned version, or a folder on this machine."""

    name: str
    alias: str | None = None
    version: str | None = None
    path: Path | None = None

    @classmethod
    def parse(cls, text: str) -> Self:
        """`digits`, `digits@champion`, `digits/3` or `digits=PATH`; UserError says which part is wrong."""
        match = re.fullmatch(
            r"(?P<name>[^@/=]+)(?:@(?P<alias>.+)|/(?P<version>[0-9]+)|=(?P<path>.+))?", text, re.S
        )
        if match is None or not NAME.fullmatch(match["name"]):
            raise UserError(
                f"{text!r} is not a model to serve: write NAME, NAME@ALIAS, NAME/VERSION or NAME=FOLDER"
            )
        alias = match["alias"]
        if alias is not None and not ALIAS.fullmatch(alias):
            raise UserError(f"{alias!r} in {text!r} is not an alias: use letters, digits, '-' and '_'")
        if alias is None and match["version"] is None and match["path"] is None:
            alias = "champion"
        path = Path(match["path"]).expanduser().resolve() if match["path"] else None
        return cls(name=match["name"], alias=alias, version=match["version"], path=path)

    def __str__(self) -> str:
        if self.path is not None:
            return f"{self.name}={self.path}"
        return f"{self.name}/{self.version}" if self.version else f"{self.name}@{self.alias}"


def _webhook_secret() -> str | None:
    given = os.environ.get(WEBHOOK_VARIABLE, "")
    if given and not re.search(r"[^\s,]", given):
        raise UserError(
            f"{WEBHOOK_VARIABLE} is set and holds no secret: give that of MLflow's webhook, or unset it."
        )
    return given or None


Positive = Annotated[int, Field(gt=0)]

Seconds = Annotated[float, Field(ge=0)]

Share = Annotated[float, Field(ge=0, le=1)]


class ServeOptions(Frozen):
    """Everything the server can be told; each field but a secret is a command line option of the same name."""

    host: str = Field(
        "127.0.0.1", description="Address to listen on; anything but loopback should come with keys."
    )
    port: int = Field(8080, ge=0, le=65535, description="Port to listen on; 0 takes a free one.")
    workers: Positive = Field(1, le=64, description="Processes that answer; they share the port.")
    threads: Positive = Field(1, description="ONNX Runtime threads in each worker.")
    engine: str | None = Field(
        None,
        description="What runs folders given as NAME=FOLDER: openvino (in the file's own numbers), openvino:bf16, or openvino:bf16/8 for batches of 8 rows and more. A registered version's evidence says it; default: onnxruntime.",
    )
    home: Path = Field(
        default_factory=lambda: Path(os.environ.get("SLIPWAY_HOME") or ".slipway").resolve(),
        description="Where the cache and the traffic record live.",
    )
    tracking_uri: str | None = Field(
        default_factory=lambda: os.environ.get("MLFLOW_TRACKING_URI"),
        description="The MLflow registry; default: MLFLOW_TRACKING_URI, or the one in home.",
    )
    public_key: Path | None = Field(
        default_factory=lambda: Path(key) if (key := os.environ.get("SLIPWAY_PUBLIC_KEY")) else None,
        description="Key that evidence must be signed with; default: home/keys/public.pem.",
    )
    all: bool = Field(
        False, description="Serve every registered model that has a champion, or gets one while this runs."
    )
    max_models: Positive = Field(100, description="Most models that are served because of --all.")
    allow_unsigned: bool = Field(
        False, description="Serve versions without evidence. For trying things out only."
    )
    poll: float = Field(
        0.5,
        gt=0,
        description="Seconds between two looks at the registry, at most (up to a fifth less). With the secret of a webhook of MLflow's in SLIPWAY_SERVE_WEBHOOK_SECRET, its POST to /webhook makes it look at once.",
    )
    webhook_secret: str | None = Field(default_factory=_webhook_secret, repr=False)
    keys_file: Path | None = Field(
        None,
        description="API keys, one a line; read again when it changes. Also: SLIPWAY_SERVE_KEYS, comma-separated.",
    )
    open_metrics: bool = Field(
        False, description="Let /metrics be read without a key, by a Prometheus inside the same network."
    )
    allow_host: tuple[str, ...] = Field(
        (),
        description="Host names accepted in requests; on loopback, localhost names are and others are not.",
    )
    link: tuple[str, ...] = Field(
        (),
        description="NAME=URL at the top of the first page; Prefect=URL and MLflow=URL also lead to a model's pages there.",
    )
    max_body: Positive = Field(
        16 * 1024 * 1024, description="Largest request body in bytes, also after decompression."
    )
    max_bytes: Positive = Field(
        128 * 1024 * 1024,
        description="Most bytes of requests and answers that a worker holds for all its clients at once; at least twice --max-body. What has no room is answered 503.",
    )
    max_rows: Positive = Field(4096, description="Most rows in one request.")
    max_connections: Positive = Field(2048, description="Most open connections a worker.")
    max_wait: float = Field(
        1.0, gt=0, description="Seconds of queued work beyond which requests are answered 429."
    )
    timeout: float = Field(
        30.0, gt=0, description="Seconds to receive a request, and for it to wait in the queue."
    )
    keep_alive: float = Field(75.0, gt=0, description="Seconds an idle connection is kept.")
    batch: Positive | None = Field(
        None,
        description="Most rows run through the model at once; default: 64, up to 1,024 where a row costs microseconds, fewer where more make no row cheaper.",
    )
    drain_delay: Seconds = Field(
        0.0, description="Seconds the listener stays open after SIGTERM, with /ready already 503."
    )
    drain: Seconds = Field(10.0, description="Seconds to answer what was taken before exiting.")
    record: Share = Field(0.0, description="Share of requests written to the traffic record.")
    watch: Seconds = Field(
        300.0,
        description="Seconds that a version which answers everybody at once is compared with the one before it, on the same rows; 0 never goes back.",
    )
    fast_path: bool = Field(
        True, description="Answer predict routes inside the HTTP protocol; off: everything through ASGI."
    )
    log_level: Literal["debug", "info", "warning", "error"] = Field(
        "info", description="How much goes to stderr."
    )

    @field_validator("link")
    @classmethod
    def _named(cls, links: tuple[str, ...]) -> tuple[str, ...]:
        for each in links:
            if not re.fullmatch(r"[^=]+=https?://.+", each):
                raise UserError(
                    f"--link {each!r} is no NAME=URL: write it as Prefect=http://prefect.internal:4200"
                )
        return tuple(each.rstrip("/") for each in links)

    @field_validator("engine")
    @classmethod
    def _an_engine(cls, engine: str | None) -> str | None:
        if engine is None:
            return None
        asked = Engine.parse(engine)
        if asked.name not in NAMES:
            raise UserError(
                f"--engine {engine}: there is no engine {asked.name!r}: choose {' or '.join(NAMES)}."
            )
        return asked.choice

    @model_validator(mode="after")
    def _a_body_has_room(self) -> Self:
        if self.max_bytes < 2 * self.max_body:
            raise UserError(
                f"--max-bytes {self.max_bytes} leaves no room for a body of --max-body {self.max_body}: give it at least {2 * self.max_body}"
            )
        return self

    @property
    def key(self) -> Path:
        return self.public_key or self.home / "keys" / "public.pem"

    @property
    def registry(self) -> str:
        return self.tracking_uri or f"sqlite:///{self.home / 'mlflow.db'}"

    @property
    def cache(self) -> Path:
        return self.home / "serving" / "cache"


def traffic_of(home: Path) -> Path:
    """Where workers write the traffic record, and `slipway monitor` reads it: MODEL/DAY/HOUR/*.jsonl.gz."""
    return home / "traffic"


class ProcessJob(Frozen):
    """What one server process is started with: the models, the options and where to find its siblings' numbers."""

    targets: tuple[Target, ...]
    options: ServeOptions
    run_folder: Path
    slot: int = 0
    load_first: bool = False
