"""What was true of rows that were answered: labels add, labels wanted, score."""

import datetime
from pathlib import Path
from typing import Annotated, Literal

import typer

from flows.cli.arguments import Json, Model, after_help

commands = typer.Typer()

labels = typer.Typer(no_args_is_help=True)

commands.add_typer(labels, name="labels", help="What was true of rows that were answered.")


@labels.command(
    epilog=after_help(
        "slipway labels add digits labels.csv", "slipway labels add digits labels.parquet --json"
    )
)
def add(
    model: Model,
    file: Annotated[
        Path,
        typer.Argument(
            metavar="FILE",
            help="A .csv, .parquet or .jsonl file with columns id and label, and where needed row (0) and at (now).",
        ),
    ],
    json: Json = False,
) -> None:
    """Add a file of labels, by the requests' ids; the newest of a row holds, and the same file again changes nothing."""
    from flows.cli.views.labels import show_added
    from tasks.settings import load_settings
    from tasks.traffic.label_file import add_labels

    show_added(add_labels(load_settings(), model, file), json)


@labels.command(
    epilog=after_help("slipway labels wanted digits", "slipway labels wanted digits --out wanted.csv")
)
def wanted(
    model: Model,
    out: Annotated[
        Path | None,
        typer.Option(help="A .csv or .jsonl file to fill in, which `slipway labels add` takes back."),
    ] = None,
    json: Json = False,
) -> None:
    """Rows that two versions answered differently and that have no label yet, the oldest first."""
    from flows.cli.views.labels import show_wanted
    from tasks.settings import load_settings
    from tasks.traffic.label_queue import wanted as find
    from tasks.traffic.label_queue import write_wanted

    rows = find(load_settings(), model, _now())
    if out is not None:
        write_wanted(out, rows.rows)
    show_wanted(rows, json)


@commands.command(
    epilog=after_help(
        "slipway score digits", "slipway score digits --by version", "slipway score digits --by day --json"
    )
)
def score(
    model: Model,
    by: Annotated[
        Literal["day", "version", "slice"] | None,
        typer.Option(help="day, version or slice; left out: all rows."),
    ] = None,
    json: Json = False,
) -> None:
    """How many recorded answers were right, of how many that have a label, and how sure that is."""
    from flows.cli.views.labels import show_score
    from flows.cli.views.waiting import working
    from tasks.settings import load_settings
    from tasks.traffic.score import score as score_rows

    with working("score", model, quiet=json):
        scored = score_rows(load_settings(), model, by, _now())
    show_score(scored, json)


def _now() -> datetime.datetime:
    return datetime.datetime.now(datetime.UTC)
