"""The `slipway` command, thin: it reads arguments, calls what does the work, prints, and turns errors into exit codes."""

import logging
import os
import sys
import warnings
from contextlib import AbstractContextManager, nullcontext, redirect_stdout
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from tasks.errors import UserError

if TYPE_CHECKING:
    from tasks.records import Outcome
    from tasks.settings import Settings


def _examples(*commands: str) -> str:
    """A help text's last lines, each to be copied; an empty line between, or they would run together."""
    return "\n\n".join(["Examples:", *commands])


app = typer.Typer(
    name="slipway",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
)

_INTERRUPTED = 130

Workload = Annotated[
    str,
    typer.Argument(
        metavar="WORKLOAD",
        help="A workload's name (digits), module (package.module) or file (path/to/file.py).",
    ),
]
Set = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        metavar="NAME=VALUE",
        help="Change a setting: dotted name, YAML value; again for another. `slipway settings` lists them.",
    ),
]
Model = Annotated[str, typer.Argument(metavar="MODEL", help="The registered model's name, such as digits.")]
Reason = Annotated[str, typer.Option(help="Why; kept in the ledger.")]
Who = Annotated[str | None, typer.Option(help="Who decides; default: SLIPWAY_USER, else the OS user.")]
Json = Annotated[
    bool, typer.Option("--json", help="Print one JSON document on stdout; everything else goes to stderr.")
]


@app.command(
    epilog=_examples(
        "slipway run digits",
        "slipway run digits --set train.epochs=3 --no-promote",
        "slipway run path/to/churn.py --json",
    )
)
def run(
    workload: Workload,
    set_: Set = None,
    force: Annotated[bool, typer.Option("--force", help="Run every step again, whatever is stored.")] = False,
    no_promote: Annotated[
        bool, typer.Option("--no-promote", help="Register the version and leave the champion where it is.")
    ] = False,
    json: Json = False,
) -> None:
    """Run the whole pipeline in this process, from data to a champion."""
    from flows.run import run_here
    from flows.show import show_outcome

    try:
        with redirect_stdout(sys.stderr):  # a workload may print, and Ray does: stdout is for the outcome
            outcome = run_here(workload, tuple(set_ or ()), force=force, promote=not no_promote, quiet=json)
    except UserError as error:
        if json:
            show_outcome(failed_outcome(workload, error), as_json=True)
        raise
    show_outcome(outcome, as_json=json)
    raise typer.Exit(3 if outcome.decision == "refused" else 0)


@app.command(epilog=_examples("slipway new churn.py"))
def new(
    path: Annotated[Path, typer.Argument(metavar="FILE", help="The workload's file, such as churn.py.")],
) -> None:
    """Write a commented workload file that runs as it stands, to make your own from."""
    from tasks.scaffold import new_workload

    name = new_workload(path)
    print(f"{path}: the workload {name}. Replace its functions with yours; next: slipway check {path}")


@app.command(
    epilog=_examples("slipway check churn.py", "slipway check digits --set train.batch_size=256 --json")
)
def check(
    workload: Workload,
    set_: Set = None,
    json: Json = False,
) -> None:
    """See in seconds whether a workload does what a run will ask of it, and what would be served."""
    from flows.checklist import show_checkup
    from tasks.checkup import check as look_over
    from tasks.overrides import configure
    from tasks.settings import load_settings

    settings = load_settings()
    found = look_over(workload, lambda known: configure(known, settings, set_ or ()), settings.home)
    show_checkup(found, as_json=json)
    raise typer.Exit(0 if found.ok else 2)


@app.command(
    epilog=_examples("slipway settings", "slipway settings digits", "slipway settings churn.py --json")
)
def settings(
    workload: Annotated[
        str | None,
        typer.Argument(
            metavar="WORKLOAD", help="Whose values to show; left out: those of a workload that says nothing."
        ),
    ] = None,
    json: Json = False,
) -> None:
    """Every setting that --set takes: its value, its bounds and what it does."""
    from flows.show_settings import show_settings
    from tasks.config import Run
    from tasks.overrides import configure
    from tasks.settings import load_settings
    from tasks.workloads import load_workload

    run = Run() if workload is None else configure(load_workload(workload), load_settings(), ())
    show_settings(workload, run, as_json=json)


@app.command(
    add_help_option=False,
    context_settings={"allow_extra_args": True, "ignore_unknown_options": True},
    help="Serve models over HTTP, following their aliases (slipway serve --help shows all options).",
)
def serve(context: typer.Context) -> None:
    from infra.serving.__main__ import main as serve_main

    serve_main(context.args, prog="slipway serve")


@app.command(epilog=_examples("slipway up"))
def up() -> None:
    """Start the platform on this machine: Prefect and MLflow with their pages, a worker, the model server."""
    from flows.status import show_up
    from infra.local import end_on_signals, platform
    from tasks.settings import load_settings

    settings = load_settings()
    end_on_signals()
    print(f"Starting, which takes half a minute; logs are in {settings.home / 'logs'}", file=sys.stderr)
    with platform(settings) as running:
        show_up(running.addresses)
        running.stay()


@app.command(epilog=_examples("slipway status", "slipway status --json"))
def status(json: Json = False) -> None:
    """What is up on this machine, where, since when, and which versions are served; exit code 0 only if all of it is."""
    from flows.status import look, show_status
    from tasks.settings import load_settings

    found = look(load_settings().home)
    show_status(found, as_json=json)
    raise typer.Exit(0 if found.up else 1)


@app.command(epilog=_examples('slipway promote digits 3 --reason "checked by hand on the new scanner"'))
def promote(
    model: Model,
    version: Annotated[int, typer.Argument(metavar="VERSION", help="The version to make the champion.")],
    reason: Reason,
    who: Who = None,
    json: Json = False,
) -> None:
    """Make a version the champion, if it passes the gate against the one that serves now."""
    from flows.show import show_entry
    from tasks.decide import promote_version
    from tasks.settings import load_settings

    settings = load_settings()
    with _decision(settings, model):
        entry = promote_version(settings, model, version, why=reason, who=who)
    show_entry(entry, as_json=json)


@app.command(
    epilog=_examples(
        'slipway rollback digits --reason "wrong sevens"', "slipway rollback digits --to 3 --reason …"
    )
)
def rollback(
    model: Model,
    reason: Reason,
    to: Annotated[
        int | None, typer.Option(help="The version to go back to; default: the one before.")
    ] = None,
    who: Who = None,
    json: Json = False,
) -> None:
    """Go back to the version that served before, after seeing that it still loads and answers."""
    from flows.show import show_entry
    from tasks.decide import roll_back_to
    from tasks.settings import load_settings

    settings = load_settings()
    with _decision(settings, model):
        entry = roll_back_to(settings, model, to, why=reason, who=who)
    show_entry(entry, as_json=json)


@app.command(
    epilog=_examples(
        "slipway history digits", "slipway history digits --at 2026-05-03", "slipway history digits --json"
    )
)
def history(
    model: Model,
    at: Annotated[
        str | None, typer.Option(help="What served then: a day (2026-05-03) or a moment (2026-05-03T14:00).")
    ] = None,
    json: Json = False,
) -> None:
    """Who promoted what, when and why; and whether that record is whole."""
    from flows.show import show_history
    from tasks.history import history as read_history
    from tasks.settings import load_settings

    found = read_history(load_settings(), model, at)
    show_history(found, as_json=json)
    raise typer.Exit(1 if found.problems else 0)


@app.command(epilog=_examples("slipway verify digits@champion", "slipway verify digits/3 --replay"))
def verify(
    reference: Annotated[
        str, typer.Argument(metavar="MODEL[@ALIAS|/VERSION]", help="Which version; default: its champion.")
    ],
    replay: Annotated[bool, typer.Option("--replay", help="Score it again and compare the numbers.")] = False,
    json: Json = False,
) -> None:
    """Download a version and check its digest, signature and evidence; exit code 0 only if all hold."""
    from flows.show import show_verification
    from tasks.recheck import verify as check
    from tasks.settings import load_settings

    show_verification(check(load_settings(), reference, replay=replay), as_json=json)


@app.command(epilog=_examples("slipway monitor digits", "slipway monitor digits --json"))
def monitor(model: Model, json: Json = False) -> None:
    """Recorded traffic against the champion's training data; exit code 3 when it drifted."""
    from flows.show import show_watched
    from tasks.monitor import monitor as watch
    from tasks.settings import load_settings

    found = watch(load_settings(), model)
    show_watched(found, as_json=json)
    raise typer.Exit(3 if found.status == "drifted" else 0)


def _decision(settings: "Settings", model: str) -> AbstractContextManager[None]:
    """One at a time across machines, and announced, when there is a Prefect server to do so."""
    if not os.environ.get("PREFECT_API_URL"):
        return nullcontext()
    from flows.guard import deciding

    return deciding(settings, model)


@app.command(
    epilog=_examples(
        "slipway explain digits 5",
        "slipway explain digits@challenger 3,17",
        "slipway explain churn customers.csv",
    )
)
def explain(
    reference: Annotated[
        str, typer.Argument(metavar="MODEL[@ALIAS|/VERSION]", help="Which version; default: its champion.")
    ],
    rows: Annotated[
        str,
        typer.Argument(
            metavar="ROWS",
            help="How many test rows, which of them (3,17), or a .csv or .parquet file of rows.",
        ),
    ] = "5",
    json: Json = False,
) -> None:
    """Show which pixels, words, genes or columns a version's answers hang on, and whether that is stable."""
    from flows.show_explanation import show_explanation
    from tasks.explain import explain_version
    from tasks.recheck import check_version, downloaded, find_version
    from tasks.registry import Registry
    from tasks.settings import load_settings

    registry = Registry(load_settings())
    version = find_version(registry, reference)
    with downloaded(registry, version) as folder:
        evidence = check_version(folder, version)
        found = explain_version(evidence, version.version, folder, rows, registry.settings.home)
    show_explanation(found, as_json=json)


def main() -> None:
    """The entry point: a user's error is one sentence on stderr and an exit code, a bug keeps its traceback."""
    _quiet()
    try:
        app(standalone_mode=True)
    except UserError as error:
        print(f"slipway: {error}", file=sys.stderr)
        sys.exit(error.exit_code)
    except SystemExit as end:
        if end.code == _INTERRUPTED:  # what typer makes of Ctrl-C, without a word
            print(f"slipway: {_stopped(sys.argv[1:])}", file=sys.stderr)
        raise


def _stopped(words: list[str]) -> str:
    """What Ctrl-C leaves behind."""
    if words[:1] == ["run"]:
        return "stopped; the same command goes on from the last checkpoint, and what serves still serves."
    return "stopped."


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


def failed_outcome(reference: str, error: UserError) -> "Outcome":
    """What `run --json` prints when there is nothing better to print."""
    from tasks.records import Outcome

    return Outcome(
        workload=reference, model="", run_id=None, version=None, decision="failed", reasons=(str(error),)
    )


def _quiet() -> None:
    """Keep what libraries say to each other off the screen; SLIPWAY_DEBUG=1 shows it all."""
    if os.environ.get("SLIPWAY_DEBUG"):
        logging.basicConfig(level=logging.DEBUG)
        return
    warnings.simplefilter("ignore")
    os.environ.setdefault("PYTHONWARNINGS", "ignore")
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    os.environ.setdefault("MLFLOW_LOGGING_LEVEL", "WARNING")
    os.environ.setdefault("MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT", "true")  # stdout is for our JSON
    os.environ.setdefault("DO_NOT_TRACK", "1")
    os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
    os.environ.setdefault(
        "OMP_WAIT_POLICY", "PASSIVE"
    )  # waiting threads would burn the cores that others need


if __name__ == "__main__":
    main()
