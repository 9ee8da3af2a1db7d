"""`slipway backfill`: each period as it is over, how long the rest takes, and the whole."""

from pathlib import Path

from rich.console import Console
from rich.table import Table

from flows.cli.views import or_json
from tasks.monitoring.backfill import Backfill, Period

_COLOURS = {"promoted": "green", "inconclusive": "yellow", "refused": "red"}


class Shown:
    """On stderr, while it goes on; nothing where JSON was asked for."""

    def __init__(self, model: str, home: Path, score_name: str, *, quiet: bool) -> None:
        self._console = Console(stderr=True, highlight=False, soft_wrap=True, quiet=quiet)
        self._model, self._home, self._score_name = model, home, score_name
        self._count = self._over = 0

    def begin(self, over: int, count: int, later: int) -> None:
        self._count, self._over = count, over
        self._console.print(
            f"The {self._model} of the past has a registry and a ledger of its own, in {self._home}: what serves is not touched."
        )
        kept = f"; {later} that end later are kept for a later --to" if later else ""
        if over or later:
            self._console.print(f"{over} of {count} periods were replayed before{kept}.")

    def over(self, period: Period, left: float | None) -> None:
        self._over += 1
        then = (
            "no champion then"
            if period.champion is None
            else f"champion v{period.champion} {_number(period.champion_score)}"
        )
        rest = f"about {said_minutes(left)} left" if left and self._over < self._count else "done"
        self._console.print(
            f" {self._over:>3} of {self._count}  {period.since}  v{period.version} [{_COLOURS[period.decision]}]{period.decision}[/]  "
            f"{self._score_name} {_number(period.score)} on {period.rows:,} rows after it ({then})  {period.seconds:.0f} s, {rest}"
        )


def said_minutes(seconds: float) -> str:
    """`40 s`, `3 min`, `2 h 10 min`: no finer than it is known."""
    if seconds < 60:
        return f"{max(10, round(seconds, -1)):.0f} s"
    hours, minutes = divmod(round(seconds / 60), 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min"


@or_json
def show_backfill(backfill: Backfill, console: Console) -> None:
    """Print it on stdout: one JSON object, or a table for people."""
    console.print(
        f"{backfill.model}, retrained every {backfill.every}; {backfill.score_name} on the rows until the next"
    )
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="dim")
    for name in ("retrained", "version", "decision", "score", "champion then", "first"):
        table.add_column(name, no_wrap=True)
    for period in backfill.periods:
        then = "–" if period.champion is None else f"v{period.champion} {_number(period.champion_score)}"
        table.add_row(
            str(period.since),
            f"v{period.version}",
            f"[{_COLOURS[period.decision]}]{period.decision}[/]",
            _number(period.score),
            then,
            _number(period.first_score),
        )
    console.print(table)
    console.print(f"picture  {backfill.picture}")
    console.print(f"ledger   SLIPWAY_HOME={backfill.home} slipway history {backfill.model}")


def _number(score: float | None) -> str:
    return "–" if score is None else f"{score:.4f}"
