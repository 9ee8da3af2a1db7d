"""A moving line while something takes its time: what is done, for how long, and how long it will take if it takes as long as the last time.

On stderr, where that is a terminal and nobody asked for JSON; it goes away with what it was shown for.
"""

import time
from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import Progress, ProgressColumn, SpinnerColumn, Task, TextColumn, TimeElapsedColumn
from rich.text import Text

from flows.cli.durations import last_seconds, remember


class _Left(ProgressColumn):
    """Nothing where nothing is known: a guess is not shown as knowledge."""

    max_refresh = 0.5

    def render(self, task: Task) -> Text:
        return Text(said_left(task.fields.get("ends"), time.monotonic()), style="dim")


def said_left(ends: float | None, now: float) -> str:
    """What is said of the time that is left until `ends`; None: it is not known."""
    if ends is None:
        return ""
    left = ends - now
    if left <= 0:
        return "longer than last time"
    minutes, seconds = divmod(round(left), 60)
    return f"about {f'{minutes} min ' if minutes else ''}{seconds} s left, if as last time"


def moving_line(console: Console, *, quiet: bool) -> Progress:
    """A line with a task's description, its time so far and, by its field `ends`, the time that is left."""
    return Progress(
        SpinnerColumn(),
        TextColumn("{task.description}"),
        TimeElapsedColumn(),
        _Left(),
        console=console,
        transient=True,
        redirect_stdout=False,
        refresh_per_second=2,  # speed may be measured meanwhile
        disable=quiet or not console.is_terminal,
    )


@contextmanager
def working(command: str, about: str, *, quiet: bool) -> Iterator[None]:
    """Show that a command is at work on something; what it takes is remembered for the next time, unless it fails."""
    from tasks.settings import load_settings

    home, what = load_settings().home, f"{command} {about}".strip()
    took, began = last_seconds(home).get(what), time.monotonic()
    line = moving_line(Console(stderr=True, highlight=False), quiet=quiet)
    line.add_task(what, total=None, ends=None if took is None else began + took)
    with line:
        yield
    remember(home, {what: time.monotonic() - began})
