"""What a flow says of its model for the pages of the model server and for `slipway status`: `tasks.registry.status_tags`."""

import datetime
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

from prefect.runtime import deployment, flow_run
from prefect.utilities.urls import url_for

from tasks.monitoring.watched import Watched
from tasks.outcome import Outcome
from tasks.records import Version
from tasks.registry.registry import Registry
from tasks.registry.status_tags import Page, StatusTag, Tone, publish
from tasks.system.sentences import first_line

ANSWER = "#answer"
"""Behind the address of a run that waits: where our own server shows Prefect's pages, it opens the form (prefect_server)."""

_TONES: dict[str, Tone] = {"promoted": "good", "rolling": "good", "refused": "warn", "failed": "bad"}


@contextmanager
def failures_shown(registry: Registry, model: str) -> Iterator[None]:
    """A run that fails is the last run, too, also where it would have made the first version."""
    try:
        yield
    except Exception as error:
        said = f"failed: {first_line(error, 390)}"  # its end is what to do
        tag = StatusTag(model=model, subject="run", said=said, tone="bad", pages=run_page())
        publish(replace(registry, patience=0.0), tag, first=True)
        raise


def show_run(registry: Registry, outcome: Outcome, said: str) -> None:
    """What came of a run of retrain."""
    pages = run_page()
    shown: dict[Page, str] = {"mlflow": "", "report": "report.html"}
    for page, artifact in shown.items():
        if address := registry.run_address(outcome.model, outcome.run_id or "", artifact):
            pages[page] = address
    tag = StatusTag(
        model=outcome.model,
        subject="run",
        said=said,
        tone=_TONES.get(outcome.decision, "plain"),
        version=outcome.version,
        pages=pages,
    )
    publish(registry, tag)


def show_traffic(registry: Registry, watched: Watched) -> None:
    """What watching said."""
    tag = StatusTag(
        model=watched.model,
        subject="traffic",
        said=watched.headline,
        tone="bad" if watched.alarming else "good" if watched.status == "steady" else "plain",
        version=watched.version,
        pages=run_page(),
    )
    publish(registry, tag)


def show_question(registry: Registry, version: Version, said: str, days: float) -> None:
    """That a person is asked about a version, where, and how long."""
    now = datetime.datetime.now(datetime.UTC)
    pages = {page: f"{address}{ANSWER}" for page, address in run_page().items()}
    if address := registry.run_address(version.model, version.run_id, "report.html"):
        pages["report"] = address
    tag = StatusTag(
        model=version.model,
        subject="question",
        at=now,
        said=said,
        tone="warn",
        version=version.version,
        until=now + datetime.timedelta(days=days),
        pages=pages,
    )
    publish(registry, tag)


def show_answer(registry: Registry, model: str, version: int, said: str) -> None:
    """That nobody is asked any more."""
    publish(
        registry, StatusTag(model=model, subject="question", said=said, version=version, pages=run_page())
    )


def run_page() -> dict[Page, str]:
    """This run's, where a server shows it: that of one command does not."""
    page = url_for("flow-run", obj_id=flow_run.id) if deployment.id is not None else None
    return {"prefect": page} if page else {}
