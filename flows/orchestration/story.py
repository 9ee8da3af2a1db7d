"""What a run's own page tells: a line a step in its logs while it goes on, and what came of it in its name and its state."""

import logging
from contextlib import suppress
from typing import TypeVar, cast

from httpx import HTTPError
from prefect import get_client
from prefect.exceptions import CancelledRun, FailedRun
from prefect.runtime import deployment, flow_run
from prefect.states import Completed

from tasks.system.sentences import shortened

R = TypeVar("R")

_ENDED = ": "

_LONGEST = 150
"""Of a name in Prefect's lists."""


def begin_story() -> None:
    """In a deployed run, our lines are in its logs, and Prefect's own, which say of each step only that it ended, are not.

    Nor is the traceback of how Prefect hands on a state that says in a sentence what went wrong.
    """
    if deployment.id is not None:
        logging.getLogger("slipway").setLevel(logging.INFO)
        logging.getLogger("prefect.task_runs").setLevel(logging.WARNING)
        logging.getLogger("prefect.flow_runs").addFilter(_is_no_state)


def _is_no_state(record: logging.LogRecord) -> bool:
    raised = record.exc_info[1] if record.exc_info else None
    return not isinstance(raised, FailedRun | CancelledRun)


def ended_name(begun: str, said: str) -> str:
    """In Prefect's lists; what is cut says so, for the whole of it is the state's message."""
    return shortened(f"{begun}{_ENDED}{said}", _LONGEST - 1)


def told(result: R, said: str, name: str = "Completed") -> R:
    """What a flow returns to end with `result`, with `said` in the run's name and as its state's message."""
    begun = str(flow_run.name).partition(_ENDED)[0]
    with suppress(HTTPError), get_client(sync_client=True) as client:
        client.update_flow_run(flow_run.id, name=ended_name(begun, said))
    return cast(R, Completed(name=name, message=said, data=result))
