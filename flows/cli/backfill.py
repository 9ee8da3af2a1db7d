"""`slipway backfill`: retrainings over the past, in a home of their own: what they would have made of it."""

import datetime
import json
import os
import sys
from contextlib import redirect_stdout
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from flows.cli.arguments import Json, Reference, Set, after_help
from flows.cli.failures import in_a_sentence
from tasks.errors import UserError

if TYPE_CHECKING:
    from tasks.monitoring.backfill import Backfill, Period

commands = typer.Typer()

_OTHERS = (
    "MLFLOW_TRACKING_URI",
    "PREFECT_API_URL",
    "SLIPWAY_STORE",
    "SLIPWAY_PUBLIC_KEY",
)
"""What leads out of the home of a replay, as does what signs elsewhere."""


@commands.command(
    epilog=after_help(
        "slipway backfill flights --from 2013-03-01 --to 2014-01-01 --every month",
        "slipway backfill path/to/churn.py --from 2026-01-05 --every week --set recipes=[]",
        "slipway backfill flights --from 2013-03-01 --every 14d --json",
    )
)
def backfill(
    reference: Reference,
    since: Annotated[
        str,
        typer.Option("--from", metavar="DAY", help="The first retraining: on all rows before this day."),
    ],
    until: Annotated[
        str | None,
        typer.Option("--to", metavar="DAY", help="Where the last period ends; left out: with the rows."),
    ] = None,
    every: Annotated[
        str,
        typer.Option("--every", metavar="SPAN", help="day, week, month, quarter, year, or days such as 14d."),
    ] = "month",
    set_: Set = None,
    json: Json = False,
) -> None:
    """Replay retrainings over the past: each on the rows before a day, through the gates, and judged by the rows after it.

    It has a registry and a ledger of its own: what serves is not touched. The same command goes on where it was ended.
    """
    from flows.cli.views.replayed import show_backfill

    with redirect_stdout(sys.stderr), in_a_sentence():  # a workload may print
        days = _day("--from", since), None if until is None else _day("--to", until)
        result = _replay(reference, *days, every, tuple(set_ or ()), quiet=json)
    show_backfill(result, json)


def _day(option: str, text: str) -> datetime.date:
    try:
        return datetime.date.fromisoformat(text)
    except ValueError as error:
        raise UserError(f"{option} {text} is no day: write it as 2026-03-01.") from error


def _replay(
    reference: str,
    since: datetime.date,
    until: datetime.date | None,
    every: str,
    asked: tuple[str, ...],
    *,
    quiet: bool,
) -> "Backfill":
    from flows.cli.overrides import configure
    from flows.cli.views.replayed import Shown
    from flows.cli.views.waiting import working
    from flows.pipeline.reuse import pipeline_key
    from tasks.bundles.bundle import is_bundle
    from tasks.compression.catalogue import check_run
    from tasks.monitoring.backfill import Replay, days_of
    from tasks.monitoring.past import Past
    from tasks.registry.registry import Registry
    from tasks.settings import load_settings
    from tasks.system.locks import alone
    from tasks.workloads.catalogue import load_workload
    from tasks.workloads.scoring import score_name

    if is_bundle(reference):
        raise UserError(
            f"{reference} is a bundle, which only its own home has: name the workload's file or module."
        )
    settings, workload = load_settings(), load_workload(reference)
    config = configure(workload, settings, asked)
    check_run(workload, config)
    if config.data.until is not None:
        raise UserError(
            f"--set data.until={config.data.until}: a replay says itself until when: leave it out."
        )
    with working("backfill: rows of", workload.name, quiet=quiet):
        past = Past(workload)
    days = days_of(since, until, every, past.end)
    if not past.before(since):
        raise UserError(f"--from {since}: {workload.name} has no rows before it: name a later day.")
    key = pipeline_key(reference, "", config, workload.all_materials()).digest[:8]
    home = settings.home / "backfills" / workload.name / f"{since}-every-{every}-{key}"
    home.mkdir(mode=0o700, parents=True, exist_ok=True)
    shown = Shown(workload.name, home, score_name(workload), quiet=quiet)
    with alone(home, "backfill", "waits: the same replay is at work"):
        _move_to(home, {workload.name: {"gates": settings.policy(workload.name).gates}}, settings.runs)
        retrain = _Retraining(reference, asked, home)
        replay = Replay(Registry(load_settings()), past, days, retrain, home / "periods.json")
        shown.begin(len(replay.done), len(days) - 1, replay.later)
        with retrain:
            for period in replay.periods():
                shown.over(period, replay.left(replay.done))
        return _drawn(workload.name, every, score_name(workload), home, replay.done)


def _drawn(model: str, every: str, score_name: str, home: Path, periods: "tuple[Period, ...]") -> "Backfill":
    """All of it, with its picture."""
    from tasks.monitoring.backfill import Backfill
    from tasks.monitoring.chart import replayed
    from tasks.system.files import write_atomically

    picture = home / "replay.svg"
    write_atomically(picture, replayed(periods, score_name, f"{model}, retrained every {every}").encode())
    return Backfill(
        model=model, every=every, score_name=score_name, home=home, periods=periods, picture=picture
    )


def _move_to(home: Path, models: dict[str, Any], runs: Any) -> None:
    """From here on this process has this home, a registry and a Prefect in it, and of mlflow.yaml what decides: the gates.

    Nobody is asked and nothing is rolled out by steps, for nobody is there to answer; nothing of it is told to anyone.
    """
    from flows.cli.run import QUIETLY
    from infra.platform.prefect import client_environment
    from tasks.system import signers
    from tasks.system.files import write_atomically

    settings = home / "mlflow.yaml"
    trusted = runs if isinstance(runs, str) else [str(path) for path in runs]
    write_atomically(settings, json.dumps({"runs": trusted, "models": models}).encode())
    for name in (*_OTHERS, *signers.VARIABLES):
        os.environ.pop(name, None)
    os.environ |= {"SLIPWAY_HOME": str(home), "SLIPWAY_SETTINGS": str(settings)}
    os.environ |= client_environment(home) | QUIETLY


class _Retraining:
    """`slipway run` on the rows before a day; one Prefect for all of them."""

    def __init__(self, reference: str, asked: tuple[str, ...], home: Path) -> None:
        from flows.orchestration.embedded import EmbeddedServer

        self._reference, self._asked = reference, asked
        self._server = EmbeddedServer(home)
        self._runs = False

    def __call__(self, until: datetime.date) -> int:
        from flows.cli.run import run_here

        if not self._runs:
            self._runs = True
            self._server.start()
            self._server.wait()
        asked = (*self._asked, f"data.until={until}")
        outcome = run_here(self._reference, asked, force=False, promote=True, quiet=True)
        assert outcome.version is not None
        return outcome.version

    def __enter__(self) -> None: ...

    def __exit__(self, *_: object) -> None:
        if self._runs:
            self._server.stop()
