"""Making a model: run, new, check, settings."""

import sys
from collections.abc import Mapping
from contextlib import redirect_stdout
from pathlib import Path
from typing import Annotated

import typer

from flows.cli.arguments import EXIT_CODES, Json, Reference, Set, after_help
from flows.cli.failures import in_a_sentence
from tasks.errors import UserError
from tasks.system.sentences import typed_line

commands = typer.Typer()


@commands.command(
    epilog=after_help(
        "slipway run digits",
        "slipway run digits --set train.epochs=3 --no-promote",
        "slipway run path/to/churn.py --json",
        codes={0: "promoted, registered, on its way through a rollout, or unchanged", 3: "refused by a gate"},
    )
)
def run(
    reference: Reference,
    set_: Set = None,
    force: Annotated[bool, typer.Option("--force", help="Run every step again, whatever is stored.")] = False,
    no_promote: Annotated[
        bool, typer.Option("--no-promote", help="Register the version and leave the champion where it is.")
    ] = False,
    json: Json = False,
) -> None:
    """Run the whole pipeline in this process, from data to a champion."""
    from flows.cli.run import run_here
    from flows.cli.views.outcome import show_outcome
    from tasks.outcome import Outcome

    try:
        with redirect_stdout(sys.stderr), in_a_sentence():  # a workload may print, and Ray does
            outcome = run_here(reference, tuple(set_ or ()), force=force, promote=not no_promote, quiet=json)
    except (Exception, KeyboardInterrupt) as error:
        if json:
            said = str(error) if isinstance(error, UserError) else typed_line(error)
            failed = Outcome(
                workload=reference, model="", run_id=None, version=None, decision="failed", reasons=(said,)
            )
            show_outcome(failed, True)
        raise
    show_outcome(outcome, json)
    raise typer.Exit(3 if outcome.decision == "refused" else 0)


@commands.command(
    epilog=after_help("slipway new churn.py", "slipway new messages.py --like text", "slipway new")
)
def new(
    path: Annotated[
        Path | None,
        typer.Argument(
            metavar="FILE", help="The workload's file, such as churn.py; left out: its sort's own name."
        ),
    ] = None,
    like: Annotated[
        str | None,
        typer.Option(
            metavar="SORT",
            help="table, text, image, forecast, onnx or lightning; left out: table, or it asks.",
        ),
    ] = None,
    json: Json = False,
) -> None:
    """Write a commented workload file that runs as it stands, to make your own from. On a terminal, without words, it asks."""
    from flows.cli.views.files import Written, show_written
    from tasks.workloads.scaffold import SORTS, new_workload

    if like is None:
        like = asked_sort(SORTS) if path is None and sys.stdin.isatty() and not json else "table"
    path = path or Path(SORTS[like][0] if like in SORTS else "churn.py")
    name = new_workload(path, like)
    show_written(Written(path=path, workload=name, like=like), json)


def asked_sort(sorts: Mapping[str, tuple[str, str]]) -> str:
    """Which of the sorts the person at the terminal wants, by number."""
    for number, (sort, (_, about)) in enumerate(sorts.items(), 1):
        print(f"{number}  {sort:10} {about}")
    number = int(typer.prompt("What is it like?", default=1, type=int))
    if not 1 <= number <= len(sorts):
        raise UserError(f"{number} is none of them: choose 1 to {len(sorts)}.")
    return list(sorts)[number - 1]


@commands.command(epilog=after_help("slipway migrate churn.py"))
def migrate(
    file: Annotated[str, typer.Argument(metavar="FILE", help="The workload's file, such as churn.py.")],
    json: Json = False,
) -> None:
    """Write kind= and target= of a workload's file as the goal= that they are, and say what its clients will see."""
    from flows.cli.views.files import CarriedOver, show_carried_over
    from tasks.workloads.migration import migrate as carry_over

    migrated = carry_over(file)
    show_carried_over(CarriedOver(path=migrated.path, goal=migrated.goal, clients=migrated.said), json)


@commands.command(
    epilog=after_help(
        "slipway check churn.py",
        "slipway check digits --set train.batch_size=256 --json",
        codes={0: "all parts hold", 2: f"{EXIT_CODES[2]}, or a part failed"},
    )
)
def check(
    reference: Reference,
    set_: Set = None,
    json: Json = False,
) -> None:
    """See in seconds whether a workload does what a run will ask of it, and what would be served."""
    from flows.cli.overrides import configure
    from flows.cli.views.checklist import show_checkup
    from flows.cli.views.waiting import working
    from flows.pipeline.keys import code_of
    from tasks.preflight.check import check as look_over
    from tasks.settings import load_settings

    settings = load_settings()
    with working("check", reference, quiet=json):
        checkup = look_over(
            reference,
            lambda workload: configure(workload, settings, set_ or ()),
            settings.home,
            lambda: code_of("flows.steps.prepare", reference),
        )
    show_checkup(checkup, as_json=json)
    raise typer.Exit(0 if checkup.ok else 2)


@commands.command(epilog=after_help("slipway clean --dry-run", "slipway clean digits"))
def clean(
    model: Annotated[
        str | None, typer.Argument(metavar="MODEL", help="Of which model; left out: of all that ran here.")
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Say what would be removed, and remove nothing.")
    ] = False,
    json: Json = False,
) -> None:
    """Remove what runs left here and nothing needs any more: all but what serves, served before, may come next, and the newest."""
    from flows.cli.views.cleaning import show_cleaning
    from flows.cli.views.waiting import working
    from flows.pipeline.retention import clean as remove
    from flows.pipeline.retention import models
    from tasks.registry.registry import Registry
    from tasks.settings import load_settings

    settings = load_settings()
    here = models(settings.home)
    if model is not None and model not in here:
        raise UserError(
            f"No run of {model!r} has left anything in {settings.home}: there are {', '.join(here) or 'none'}."
        )
    with working("clean", model or "", quiet=json):
        cleaning = remove(Registry(settings), here if model is None else [model], dry_run=dry_run)
    show_cleaning(cleaning, json)


@commands.command(
    epilog=after_help("slipway settings", "slipway settings digits", "slipway settings churn.py --json")
)
def settings(
    reference: Annotated[
        str | None,
        typer.Argument(
            metavar="WORKLOAD", help="Whose values to show; left out: those of a workload that says nothing."
        ),
    ] = None,
    json: Json = False,
) -> None:
    """Every setting that --set takes: its value, its bounds and what it does."""
    from flows.cli.overrides import configure
    from flows.cli.views.settings import show_settings
    from tasks.config import RunConfig
    from tasks.settings import load_settings
    from tasks.workloads.catalogue import load_workload

    run = RunConfig() if reference is None else configure(load_workload(reference), load_settings(), ())
    show_settings(reference, run, as_json=json)
