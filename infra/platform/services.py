"""Keeps processes running: started when what they need is up, started again when they die, ended together."""

import logging
import os
import subprocess
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from textwrap import shorten
from uuid import uuid4

from infra.platform.state import Running
from tasks.errors import StepError
from tasks.system import signers
from tasks.system.processes import MARK, end_all, family, marked, start_tied
from tasks.system.urls import answers

_START_SECONDS = 600

_LAST_LINES = 5

_LONGEST_WAIT = 30.0

_STEADY_SECONDS = 60.0
"""A process that ran so long is started again at once; one that dies sooner, twice as late as the time before."""

log = logging.getLogger("slipway.platform")


@dataclass(frozen=True)
class Service:
    """One process: what it is called, `python -m` what, the address that answers when it is up, and what it needs."""

    name: str
    command: tuple[str, ...]
    health: str
    url: str = ""
    after: tuple[str, ...] = ()
    keys: bool = True
    """Whether it signs or checks, and so is told where the key is."""


@dataclass
class RunningService:
    """A service as it is now."""

    service: Service
    log: Path
    process: "subprocess.Popen[bytes] | None" = None
    since: datetime = field(default_factory=lambda: datetime.now(UTC))
    ready: bool = False
    restarts: int = 0
    _started: float = 0.0
    _due: float = 0.0
    _wait: float = 0.5

    @property
    def pid(self) -> int | None:
        return self.process.pid if self.process is not None else None

    @property
    def runs(self) -> bool:
        return self.process is not None and self.process.poll() is None

    def start(self, environment: dict[str, str]) -> None:
        kept = {
            name: value
            for name, value in {**os.environ, **environment}.items()
            if self.service.keys or name not in signers.VARIABLES
        }
        with self.log.open("ab") as output:
            self.process = start_tied(self.service.command, stdout=output, stderr=output, env=kept)
        self._started, self.since = time.monotonic(), datetime.now(UTC)

    def check(self) -> None:
        """Note that it answers. Raises StepError, with the end of its log, when it ended or takes too long."""
        if self.process is not None and not self.runs:
            raise StepError(f"{self.service.name} ended with code {self.process.returncode}; {self._end()}")
        self.ready = answers(self.service.health)
        if not self.ready and time.monotonic() - self._started > _START_SECONDS:
            raise StepError(f"{self.service.name} does not answer after {_START_SECONDS} s; {self._end()}")

    def revive(self, environment: dict[str, str]) -> bool:
        """Start it again when it has died, later each time that it dies soon; whether that happened now."""
        if self.process is not None and not self.runs:
            steady = time.monotonic() - self._started > _STEADY_SECONDS
            self._wait = 0.5 if steady else min(2 * self._wait, _LONGEST_WAIT)
            self._due = time.monotonic() + self._wait
            log.warning(
                "%s ended with code %s and starts again in %.0f s; %s",
                self.service.name, self.process.returncode, self._wait, self._end(),
            )  # fmt: skip
            self._release()
        if self.process is None and time.monotonic() >= self._due:
            self.start(environment)
            self.restarts += 1
            return True
        return False

    def stop(self, patience: float) -> None:
        """End it and all it started, its children first: a flow run still tells the server that it was stopped."""
        if self.process is None:
            return
        end_all(family(self.process.pid)[:0:-1], patience)
        end_all([self.process], patience)
        self._release()

    def last_lines(self, count: int) -> list[str]:
        """The end of its log."""
        lines = self.log.read_text(errors="replace").strip().splitlines()[-count:]
        return [shorten(line, 300) for line in lines]

    def state(self) -> Running:
        """For whoever asks what is up."""
        return Running(
            name=self.service.name,
            pid=self.pid or 0,
            since=self.since,
            restarts=self.restarts,
            url=self.service.url,
            health=self.service.health,
        )

    def _release(self) -> None:
        if self.process is not None and self.process.stdin is not None:
            self.process.stdin.close()
        self.process = None

    def _end(self) -> str:
        return "\n  ".join([f"the end of {self.log}:", *self.last_lines(_LAST_LINES)])


class ServiceGroup:
    """The services of one platform."""

    def __init__(self, services: Sequence[Service], logs: Path, environment: dict[str, str]) -> None:
        logs.mkdir(parents=True, exist_ok=True)
        self.kept = [RunningService(service, logs / f"{service.name}.log") for service in services]
        self.mark = uuid4().hex
        self._environment = {**environment, MARK: self.mark}

    def start(self, answered: Callable[[str], None] = lambda _: None) -> None:
        """Return when all answer, each told to `answered`; each starts as soon as what it needs is up. Raises StepError, with the end of a log."""
        while waiting := [kept for kept in self.kept if not kept.ready]:
            up = {kept.service.name for kept in self.kept if kept.ready}
            for kept in waiting:
                if kept.process is not None:
                    kept.check()
                    if kept.ready:
                        answered(kept.service.name)
                elif up.issuperset(kept.service.after):
                    kept.start(self._environment)
            time.sleep(0.1)

    def revive(self) -> bool:
        """Start again what has died; whether anything was."""
        return any([kept.revive(self._environment) for kept in self.kept])

    def stop(self, patience: float) -> None:
        """The last first, so that what is ended can still tell the servers; then what lost its parent on the way."""
        for kept in reversed(self.kept):
            kept.stop(patience)
        end_all(marked(self.mark), patience)
