"""`slipway run`: the whole pipeline in this process, with a Prefect server of its own when none is given."""

import os
import time
from importlib import import_module
from typing import TYPE_CHECKING

from flows.cli.overrides import configure
from flows.pipeline.reuse import find_unchanged
from tasks.compression.catalogue import check_run
from tasks.config import RunConfig
from tasks.outcome import Outcome
from tasks.registry.registry import Registry
from tasks.settings import Settings, load_settings
from tasks.system.imports import importing
from tasks.workloads.catalogue import load_workload

if TYPE_CHECKING:
    from flows.orchestration.embedded import EmbeddedServer

QUIETLY = {"PREFECT_LOGGING_LEVEL": "ERROR", "PREFECT_LOGGING_HANDLERS_CONSOLE_LEVEL": "CRITICAL"}
"""Prefect's own lines stay off the screen: ours say the same in fewer."""

_HEAVY = ("mlflow.store.tracking.sqlalchemy_store", "torch", "torch._dynamo", "onnxruntime", "onnx")
"""What most runs import sooner or later."""


def run_here(
    reference: str, settings_: tuple[str, ...], *, force: bool, promote: bool, quiet: bool
) -> Outcome:
    """Run `reference` with `--set` settings; its seconds are those that the caller waited, Prefect's start included.

    Raises UserError for bad input and for a step that failed.
    """
    from flows.cli.views.live import live_steps

    started = time.monotonic()
    settings = load_settings()
    with importing():  # all that its file imports
        workload = load_workload(reference)
    config = configure(workload, settings, settings_)
    check_run(workload, config)
    Registry(settings).check_reachable()
    outcome = None if force else find_unchanged(reference, workload, config, settings)
    if outcome is None:
        with live_steps(workload.name, settings.home, quiet=quiet):
            outcome = _run_flow(reference, config, settings, force=force, promote=promote)
    return outcome.model_copy(update={"seconds": round(time.monotonic() - started, 3)})


def _run_flow(
    reference: str, config: RunConfig, settings: Settings, *, force: bool, promote: bool
) -> Outcome:
    """Start the server first and import Prefect and more while it starts: neither waits for the other."""
    from flows.orchestration.embedded import EmbeddedServer
    from infra.platform.prefect import client_environment

    for name, value in (client_environment(settings.home) | QUIETLY).items():
        os.environ.setdefault(name, value)
    server = None
    if not os.environ.get("PREFECT_API_URL"):
        server = EmbeddedServer(settings.home)
        server.start()
    try:
        with importing(for_good=True):
            from prefect import tags

            from flows.orchestration.form import filled_in
            from flows.orchestration.reachability import check_prefect
            from flows.pipeline.runner import TAG
            from flows.retrain import retrain

            if server is not None:
                _import_until_up(server)
        if server is None:
            check_prefect()
        else:
            server.wait()
        with tags(TAG):  # on a server of a team, our automations see to it
            return retrain(reference, **filled_in(config), force=force, promote=promote)
    finally:
        if server is not None:
            from prefect.logging.handlers import APILogHandler

            APILogHandler().flush()  # what Prefect still has to say, before its server goes
            server.stop()


def _import_until_up(server: "EmbeddedServer") -> None:
    """What the steps would import anyway, for as long as there is nothing to do but wait."""
    for name in _HEAVY:
        if not server.is_up():
            import_module(name)
