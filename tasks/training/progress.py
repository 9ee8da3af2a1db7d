"""How far a training is, as a record for whoever shows it, and as a line in the terminal."""

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
    eta: float


Show = Callable[[Progress], None]


@contextmanager
def progress_bar(title: str) -> Iterator[Show]:
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
