"""The `slipway` command: what all of it shares. Its siblings read arguments, call what does the work, and print."""

import logging
import os
import sys
import warnings
from io import TextIOWrapper
from typing import Annotated

import typer

from flows.cli import (
    audit,
    backfill,
    completion,
    deployments,
    dossier,
    keys,
    labels,
    notifications,
    pipeline,
    platform,
    rollouts,
    versions,
)
from flows.cli.failures import check_limits, in_a_sentence
from flows.cli.neighbours import join_platform
from flows.cli.views.document import json_alone
from tasks.errors import exiting_in_a_sentence
from tasks.system.imports import import_less

app = typer.Typer(
    name="slipway",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
)

for group in (
    pipeline,
    backfill,
    deployments,
    dossier,
    platform,
    versions,
    rollouts,
    labels,
    keys,
    audit,
    notifications,
    completion,
):
    app.add_typer(group.commands)


def run() -> None:
    """One command: a user's error is one sentence on stderr and an exit code, a bug keeps its traceback."""
    _quiet()
    _print_anywhere()
    import_less()
    with exiting_in_a_sentence(), json_alone(sys.argv[1:]), in_a_sentence():
        check_limits()
        if completion.VARIABLE in os.environ:
            completion.answer_shells()
        elif sys.argv[1:2] != ["serve"]:  # which may name another home
            join_platform()
        app(prog_name="slipway")


def _print_anywhere() -> None:
    """Where a locale has no ✓ it is a question mark, and not the end of the command."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="replace")


@app.callback()
def options(
    version: Annotated[
        bool,
        typer.Option(
            "--version",
            callback=lambda asked: _show_version() if asked else None,
            is_eager=True,
            help="Show the version and exit.",
        ),
    ] = False,
) -> None:
    """Take a PyTorch model from data to production: train, compress, prove, register, promote, serve."""


def _show_version() -> None:
    from importlib.metadata import version

    print(f"slipway {version('slipway')}")
    raise typer.Exit


def _quiet() -> None:
    """Keep what libraries say to each other off the screen; SLIPWAY_DEBUG=1 shows it all."""
    if os.environ.get("SLIPWAY_DEBUG"):
        logging.basicConfig(level=logging.DEBUG)
        return
    warnings.simplefilter("ignore")
    logging.getLogger("EventsWorker").setLevel(
        logging.ERROR
    )  # Prefect's, which says that it still sends when a command ends
    os.environ.setdefault("PYTHONWARNINGS", "ignore")
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    os.environ.setdefault("MLFLOW_LOGGING_LEVEL", "WARNING")
    os.environ.setdefault("MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT", "true")  # stdout is for our JSON
    os.environ.setdefault("DO_NOT_TRACK", "1")
    os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
    os.environ.setdefault(
        "OMP_WAIT_POLICY", "PASSIVE"
    )  # waiting threads would burn the cores that others need
