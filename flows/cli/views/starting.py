"""`slipway up` until all of it answers: a line for each part that does, and how long the rest will take if it takes as long as the last time."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from rich.console import Console
from rich.markup import escape

from flows.cli.durations import last_seconds, remember
from flows.cli.views.waiting import moving_line

_WHAT = "up"


@contextmanager
def starting(home: Path, *, quiet: bool) -> Iterator[Callable[[str], None]]:
    """What is called with the name of each part that answers. All of it on stderr; remembered when it has come up."""
    console, began = Console(stderr=True, highlight=False), time.monotonic()
    took = last_seconds(home).get(_WHAT)
    before = "" if took is None else f", which took {took:.0f} s the last time"
    console.print(f"Starting{before}; logs are in {escape(str(home / 'logs'))}", soft_wrap=True)
    line = moving_line(console, quiet=quiet)
    line.add_task("starting", total=None, ends=None if took is None else began + took)

    def answered(part: str) -> None:
        if not quiet:
            console.print(f" [green]✓[/green] {part:<8} {time.monotonic() - began:5.1f} s")

    with line:
        yield answered
    remember(home, {_WHAT: time.monotonic() - began})
