"""How far a training is, as a record for whoever shows it, and as a line in the terminal."""

import math
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from tasks.system.frozen import Frozen


class Progress(Frozen):
    """A training at one moment; `score` is the newest validation score, None before the first."""

    epoch: int
    epochs: int
    step: int
    steps: int
    loss: float
    score: float | None
    rows_per_second: float


ShowProgress = Callable[[Progress], None]

SHOW_SECONDS = 0.1


class Reporter:
    """Tells `show` how far a training is, at most ten times a second, and counts how fast it is."""

    def __init__(
        self, show: ShowProgress | None, epochs: int, steps: int, rows_an_epoch: int, first: int
    ) -> None:
        self._show, self._epochs, self._steps, self._first = show, epochs, steps, first
        self._rows_a_step = rows_an_epoch * epochs / steps
        self._began = self._shown = time.monotonic()

    def rows_per_second(self, step: int) -> float:
        """Since this process began or went on."""
        return (step - self._first) * self._rows_a_step / max(1e-9, time.monotonic() - self._began)

    def report(self, step: int, loss: float, score: float | None, always: bool) -> None:
        """Show the training at `step`, unless that was done a moment ago."""
        now = time.monotonic()
        if self._show is None or (not always and now - self._shown < SHOW_SECONDS):
            return
        self._shown = now
        self._show(
            Progress(
                epoch=math.ceil(step * self._epochs / self._steps),
                epochs=self._epochs,
                step=step,
                steps=self._steps,
                loss=loss,
                score=score,
                rows_per_second=self.rows_per_second(step),
            )
        )


@contextmanager
def progress_bar(title: str) -> Iterator[ShowProgress]:
    """A live line on stderr that goes away when training ends; nothing where stderr is no terminal."""
    from rich.console import Console
    from rich.progress import BarColumn, TextColumn, TimeRemainingColumn
    from rich.progress import Progress as Bar

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn(
            "epoch {task.fields[epoch]}  loss {task.fields[loss]}  score {task.fields[score]}  {task.fields[speed]} rows/s"
        ),
        TimeRemainingColumn(),
    )
    console = Console(stderr=True)
    with Bar(*columns, console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task(title, total=None, epoch="", loss="", score="", speed="")

        def show(progress: Progress) -> None:
            bar.update(
                task,
                total=progress.steps,
                completed=progress.step,
                epoch=f"{progress.epoch}/{progress.epochs}",
                loss=f"{progress.loss:.4f}",
                score="…" if progress.score is None else f"{progress.score:.4f}",
                speed=f"{progress.rows_per_second:,.0f}",
            )

        yield show
