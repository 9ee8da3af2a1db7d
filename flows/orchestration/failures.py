"""What a run that failed says in the Prefect UI: the sentence meant for the user, and no more."""

from collections.abc import Callable
from functools import wraps
from typing import ParamSpec, TypeVar, cast

from prefect.runtime import deployment
from prefect.states import Cancelled, Failed

from flows.orchestration.run_lock import BusyError
from flows.orchestration.story import begin_story
from tasks.errors import UserError
from tasks.registry.reachability import explain
from tasks.settings import load_settings

P = ParamSpec("P")

R = TypeVar("R")


def failing_in_a_sentence(function: Callable[P, R]) -> Callable[P, R]:
    """A deployed flow that ends as Failed with a user's error as its message; called from Python it raises as ever.

    One that another run leaves no turn is Cancelled, as Prefect's own limits have it.
    """

    @wraps(function)
    def call(*arguments: P.args, **named: P.kwargs) -> R:
        begin_story()
        try:
            return function(*arguments, **named)
        except UserError as error:
            if deployment.id is None:
                raise
            ended = Cancelled if isinstance(error, BusyError) else Failed
            return cast(R, ended(message=str(error)))
        except Exception as error:
            said = explain(load_settings().tracking_uri, error)
            if deployment.id is None or said is None:
                raise
            return cast(R, Failed(message=str(said)))

    return call
