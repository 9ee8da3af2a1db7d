"""A run as it goes on, in the terminal: each step as it ends, and what is being done meanwhile. All of it on stderr."""

import logging
import textwrap
from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.markup import escape
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from tasks.outcome import StepTime

_INDENT, _LEAST = 37, 40

_AFTER = {"promote": "finishing"}

_SHOWS_ITSELF = "train"
"""Its line says more: epochs, loss and score (tasks/training/progress.py); two lines that move would overwrite each other."""


class _Steps(logging.Handler):
    """Shows the log records of steps: a line for each that ended, and a moving one, where there is a terminal, below them."""

    def __init__(self, *, quiet: bool) -> None:
        super().__init__(logging.WARNING if quiet else logging.DEBUG)
        self._console = Console(stderr=True, highlight=False)
        self._line = Progress(
            SpinnerColumn(),
            TextColumn("{task.description}"),
            TimeElapsedColumn(),
            console=self._console,
            transient=True,
            refresh_per_second=2,  # speed is measured meanwhile
            disable=quiet or not self._console.is_terminal,
        )
        self._task = self._line.add_task("starting Prefect")

    def emit(self, record: logging.LogRecord) -> None:
        step = getattr(record, "step", None)
        if isinstance(step, StepTime):
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
        self._line.reset(self._task, description=what)
        self._line.start()

    def stop(self) -> None:
        self._line.stop()


@contextmanager
def live_steps(model: str, *, quiet: bool) -> Iterator[None]:
    """Show each step as it ends, unless `quiet`."""
    handler = _Steps(quiet=quiet)
    loggers = [logging.getLogger("slipway"), logging.getLogger("tasks")]
    for logger in loggers:
        logger.setLevel(logging.DEBUG)
        logger.addHandler(handler)
    if not quiet:
        Console(stderr=True).print(f"[bold]{model}[/bold]")
    handler.show("starting Prefect")
    try:
        yield
    finally:
        handler.stop()
        for logger in loggers:
            logger.removeHandler(handler)
