"""A run as it goes on, in the terminal: each step as it ends, and what is being done meanwhile. All of it on stderr."""

import logging
import textwrap
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from rich.console import Console
from rich.markup import escape

from flows.cli.durations import last_seconds, remember
from flows.cli.views.waiting import moving_line
from tasks.outcome import StepTime

_INDENT, _LEAST = 37, 40

_AFTER = {"promote": "finishing"}

_SHOWS_ITSELF = "train"
"""Its line says more: epochs, loss and score (tasks/training/progress.py); two lines that move would overwrite each other."""


class _Steps(logging.Handler):
    """Shows the log records of steps: a line for each that ended, and a moving one, where there is a terminal, below them."""

    def __init__(self, pace: "Pace", *, quiet: bool) -> None:
        super().__init__(logging.WARNING if quiet else logging.DEBUG)
        self._pace = pace
        self._console = Console(stderr=True, highlight=False)
        self._line = moving_line(self._console, quiet=quiet)
        self._task = self._line.add_task("starting Prefect", ends=pace.ends)

    def emit(self, record: logging.LogRecord) -> None:
        step = getattr(record, "step", None)
        if isinstance(step, StepTime):
            self._pace.ended(step)
            mark = "[dim]=[/dim]" if step.cached else "[green]✓[/green]"
            head = f" {mark} {step.name:<23} {step.seconds:6.1f} s  "
            reason = textwrap.wrap(step.reason, max(_LEAST, self._console.width - _INDENT)) or [""]
            for place, part in enumerate(reason):
                self._console.print(
                    f"{' ' * _INDENT if place else head}[dim]{escape(part)}[/dim]", soft_wrap=True
                )
            self.show(_AFTER.get(step.name, "writing to MLflow"))
        elif record.levelno >= logging.WARNING:
            self._console.print(f" [yellow]![/yellow] {escape(record.getMessage())}")
        elif begun := getattr(record, "begun", None):
            self.show(begun)

    def show(self, what: str) -> None:
        """Say what is being done from now on."""
        if what == _SHOWS_ITSELF:
            self._line.stop()
            return
        self._line.reset(self._task, description=what, ends=self._pace.ends)
        self._line.start()

    def stop(self) -> None:
        self._line.stop()


class Pace:
    """When a run will have ended, by when each step of the last whole one had: what its steps take is not what they will take in a hurry."""

    def __init__(self, home: Path, model: str) -> None:
        self._home, self._run = home, f"run {model}"
        self._before = last_seconds(home)
        self._began = time.monotonic()
        self._ended: dict[str, float] = {}
        self._whole = True
        total = self._before.get(self._run)
        self.ends = None if total is None else self._began + total

    def ended(self, step: StepTime) -> None:
        """From here on it takes what it took from here on."""
        self._whole &= not step.cached
        now, what = time.monotonic(), f"{self._run}: {step.name}"
        self._ended[what] = now - self._began
        if self._run in self._before and what in self._before:
            self.ends = now + max(0.0, self._before[self._run] - self._before[what])

    def remember(self) -> None:
        """Of a run that did all of it."""
        if self._whole and self._ended:
            remember(self._home, {**self._ended, self._run: time.monotonic() - self._began})


@contextmanager
def live_steps(model: str, home: Path, *, quiet: bool) -> Iterator[None]:
    """Show each step as it ends, unless `quiet`; and while they run, how long it will take, if that is known."""
    pace = Pace(home, model)
    handler = _Steps(pace, quiet=quiet)
    loggers = [logging.getLogger("slipway"), logging.getLogger("tasks")]
    for logger in loggers:
        logger.setLevel(logging.DEBUG)
        logger.addHandler(handler)
    if not quiet:
        Console(stderr=True).print(f"[bold]{model}[/bold]")
    handler.show("starting Prefect")
    try:
        yield
        pace.remember()
    finally:
        handler.stop()
        for logger in loggers:
            logger.removeHandler(handler)
