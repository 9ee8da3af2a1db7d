"""Registered versions: promote, rollback, copy, history, verify, attest, monitor, explain."""

import os
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from flows.cli.arguments import (
    EXIT_CODES,
    REFUSED,
    Json,
    Model,
    NewSignature,
    Reason,
    Target,
    Who,
    after_help,
)

if TYPE_CHECKING:
    from tasks.settings import Settings

commands = typer.Typer()

ledger = typer.Typer(no_args_is_help=True)

commands.add_typer(ledger, name="ledger", help="What was decided about a model, as a record.")


@commands.command(
    epilog=after_help('slipway promote digits 3 --reason "checked by hand on the new scanner"', codes=REFUSED)
)
def promote(
    model: Model,
    version: Annotated[int, typer.Argument(metavar="VERSION", help="The version to make the champion.")],
    reason: Reason,
    who: Who = None,
    new_signature: NewSignature = False,
    at_once: Annotated[
        bool, typer.Option("--now", help="At once, where mlflow.yaml asks for a rollout; the ledger says so.")
    ] = False,
    json: Json = False,
) -> None:
    """Make a version the champion, if it passes the gate against the one that serves now; by steps, where mlflow.yaml has a rollout."""
    from flows.cli.views.versions import show_entry
    from flows.cli.views.waiting import working
    from tasks.promotion.manual import promote_version
    from tasks.settings import load_settings

    settings = load_settings()
    with working("promote", model, quiet=json), announcing(settings, model):
        entry = promote_version(
            settings, model, version, why=reason, who=who, new_signature=new_signature, at_once=at_once
        )
    show_entry(entry, json)


@commands.command(
    epilog=after_help(
        'slipway rollback digits --reason "wrong sevens"',
        "slipway rollback digits --to 3 --reason …",
        codes=REFUSED,
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
    """Go back to the version that served before, after seeing that it still loads and answers; while a rollout is open, end that."""
    from flows.cli.views.versions import show_entry
    from flows.cli.views.waiting import working
    from tasks.promotion.manual import roll_back_to
    from tasks.settings import load_settings

    settings = load_settings()
    with working("rollback", model, quiet=json), announcing(settings, model):
        entry = roll_back_to(settings, model, to, why=reason, who=who)
    show_entry(entry, json)


@commands.command(
    epilog=after_help("slipway copy digits@champion --to http://mlflow.prod:5000", codes=REFUSED)
)
def copy(
    target: Target,
    to: Annotated[
        str,
        typer.Option(metavar="REGISTRY", help="Where: http://host:port, or sqlite:///path/mlflow.db."),
    ],
    reason: Annotated[
        str | None, typer.Option(help="Why; kept in the ledger there; default: the reason here.")
    ] = None,
    who: Who = None,
    new_signature: NewSignature = False,
    json: Json = False,
) -> None:
    """Take a version that serves, with its proof, to another registry, and promote it there; again changes nothing."""
    from flows.cli.views.versions import show_copied
    from flows.cli.views.waiting import working
    from tasks.promotion.copying import copy_version, destination
    from tasks.settings import load_settings

    settings = load_settings()
    there = destination(settings, to)
    with working("copy", target, quiet=json), announcing(there, target.partition("@")[0].partition("/")[0]):
        copied = copy_version(settings, target, there, why=reason, who=who, new_signature=new_signature)
    show_copied(copied, json)


@commands.command(
    epilog=after_help(
        "slipway history digits",
        "slipway history digits --at 2026-05-03",
        "slipway history digits --json",
        codes={1: f"{EXIT_CODES[1]}, or the record is not whole"},
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
    from flows.cli.views.versions import show_history
    from tasks.promotion.history import history as read_history
    from tasks.settings import load_settings

    decided = read_history(load_settings(), model, at)
    show_history(decided, json)
    raise typer.Exit(1 if decided.problems else 0)


@ledger.command(
    epilog=after_help(
        'slipway ledger accept digits --reason "restored from the backup of Tuesday"', codes=REFUSED
    )
)
def accept(model: Model, reason: Reason, who: Who = None, json: Json = False) -> None:
    """Sign a ledger that lost or never had what it should have, as it stands: decisions go on from there."""
    from flows.cli.views.versions import show_entry
    from tasks.promotion.manual import accept_ledger
    from tasks.settings import load_settings

    settings = load_settings()
    with announcing(settings, model):
        entry = accept_ledger(settings, model, why=reason, who=who)
    show_entry(entry, json)


@commands.command(
    epilog=after_help(
        "slipway verify digits@champion",
        "slipway verify digits@champion --replay",
        codes={0: "all of it holds", 1: f"{EXIT_CODES[1]}, or something does not hold"},
    )
)
def verify(
    target: Target,
    replay: Annotated[
        bool,
        typer.Option(
            "--replay",
            help="Score it again and compare the numbers; make every decision of its rollouts again from their counts.",
        ),
    ] = False,
    json: Json = False,
) -> None:
    """Download a version and check its digest, signature and evidence; exit code 0 only if all hold."""
    from flows.cli.views.versions import show_verification
    from flows.cli.views.waiting import working
    from tasks.promotion.verification import verify as check
    from tasks.settings import load_settings

    with working("verify", f"{target} --replay" if replay else target, quiet=json):
        verification = check(load_settings(), target, replay=replay)
    show_verification(verification, json)


@commands.command(epilog=after_help("slipway attest digits@champion --out handed-over"))
def attest(
    target: Target,
    out: Annotated[
        Path, typer.Option(metavar="FOLDER", help="Where to; a folder that is not there yet, or is empty.")
    ],
    json: Json = False,
) -> None:
    """Write what a stranger checks without Slipway: the version, signed statements of how it was made and tested, a page that says how."""
    from flows.cli.views.versions import show_attested
    from flows.cli.views.waiting import working
    from tasks.promotion.attesting import attest as write
    from tasks.settings import load_settings

    with working("attest", target, quiet=json):
        attested = write(load_settings(), target, out)
    show_attested(attested, json)


@commands.command(
    epilog=after_help(
        "slipway monitor digits",
        "slipway monitor digits --json",
        codes={3: "an alarm: what is served drifted, or does harm"},
    )
)
def monitor(model: Model, json: Json = False) -> None:
    """Recorded traffic against the champion's training data, and its labels against the proof; exit code 3 is an alarm."""
    from flows.cli.views.versions import show_watched
    from flows.cli.views.waiting import working
    from tasks.monitoring.monitor import monitor as watch
    from tasks.settings import load_settings

    with working("monitor", model, quiet=json):
        watched = watch(load_settings(), model)
    show_watched(watched, json)
    raise typer.Exit(3 if watched.alarming else 0)


@commands.command(
    epilog=after_help(
        "slipway explain digits 5",
        "slipway explain digits@challenger 3,17",
        "slipway explain churn customers.csv",
    )
)
def explain(
    target: Target,
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
    from flows.cli.views.explanation import show_explanation
    from flows.cli.views.waiting import working
    from tasks.promotion.verification import check_version, downloaded
    from tasks.registry.lookup import find_version
    from tasks.registry.registry import Registry
    from tasks.reporting.explanation import explain_version
    from tasks.settings import load_settings

    registry = Registry(load_settings())
    version = find_version(registry, target)
    with working("explain", target, quiet=json), downloaded(registry, version) as folder:
        evidence = check_version(folder, version)
        explanation = explain_version(evidence, version.version, folder, rows, registry.settings.home)
    show_explanation(explanation, as_json=json)


def announcing(settings: "Settings", model: str) -> AbstractContextManager[None]:
    """Announced, when there is a Prefect server to do so."""
    if not os.environ.get("PREFECT_API_URL"):
        return nullcontext()
    from flows.orchestration.events import announced
    from tasks.registry.registry import Registry

    return announced(Registry(settings), model)
