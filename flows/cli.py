"""The `slipway` command, thin: it reads arguments, calls what does the work, prints, and turns errors into exit codes."""

import logging
import os
import sys
import warnings
from typing import Annotated

import typer

from tasks.errors import UserError

app = typer.Typer(
    name="slipway",
    help="Take a PyTorch model from data to production: train, compress, prove, register, promote, serve.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
)

Model = Annotated[str, typer.Argument(help="The registered model's name, such as digits.")]
Reason = Annotated[str, typer.Option(help="Why; kept in the ledger.")]
Who = Annotated[str | None, typer.Option(help="Who decides; default: SLIPWAY_USER, else the OS user.")]
Json = Annotated[
    bool, typer.Option("--json", help="Print one JSON document on stdout; everything else goes to stderr.")
]


@app.command(
    epilog="Examples:  slipway run digits  ·  slipway run digits --set train.epochs=3 --no-promote  ·  slipway run path/to/churn.py --json"
)
def run(
    workload: Annotated[
        str,
        typer.Argument(help="A workload's name (digits), module (package.module) or file (path/to/file.py)."),
    ],
    set_: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="NAME=VALUE", help="Change a setting: dotted name, YAML value."),
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Run every step again, whatever is stored.")] = False,
    no_promote: Annotated[
        bool, typer.Option("--no-promote", help="Register the version and leave the champion where it is.")
    ] = False,
    json: Json = False,
) -> None:
    """Run the whole pipeline in this process, from data to a champion."""
    from flows.run import run_here
    from flows.show import show_outcome

    outcome = run_here(workload, tuple(set_ or ()), force=force, promote=not no_promote, quiet=json)
    show_outcome(outcome, as_json=json)
    raise typer.Exit({"failed": 1, "refused": 3}.get(outcome.decision, 0))


@app.command(
    add_help_option=False,
    context_settings={"allow_extra_args": True, "ignore_unknown_options": True},
    help="Serve models over HTTP, following their aliases (slipway serve --help shows all options).",
)
def serve(context: typer.Context) -> None:
    from infra.serving.__main__ import main as serve_main

    serve_main(context.args, prog="slipway serve")


def main() -> None:
    """The entry point: a user's error is one sentence on stderr and an exit code, a bug keeps its traceback."""
    _quiet()
    try:
        app(standalone_mode=True)
    except UserError as error:
        print(f"slipway: {error}", file=sys.stderr)
        sys.exit(error.exit_code)
    except KeyboardInterrupt:
        print("slipway: stopped; the same command goes on from the last checkpoint.", file=sys.stderr)
        sys.exit(130)


def _quiet() -> None:
    """Keep what libraries say to each other off the screen; SLIPWAY_DEBUG=1 shows it all."""
    if os.environ.get("SLIPWAY_DEBUG"):
        logging.basicConfig(level=logging.DEBUG)
        return
    warnings.simplefilter("ignore")
    os.environ.setdefault("PYTHONWARNINGS", "ignore")
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    os.environ.setdefault("DO_NOT_TRACK", "1")


if __name__ == "__main__":
    main()
