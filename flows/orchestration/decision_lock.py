"""One decision about a model at a time, wherever it is made: a global concurrency limit of the Prefect server."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress

from prefect import get_client
from prefect.concurrency.sync import concurrency
from prefect.exceptions import ObjectAlreadyExists

from flows.orchestration.events import announced
from flows.orchestration.reachability import in_a_sentence
from tasks.errors import RefusedError
from tasks.registry.registry import Registry
from tasks.settings import Settings

_LEASE_SECONDS = 60  # the shortest that Prefect grants

_WAIT_SECONDS = 120


@contextmanager
def decision_lock(settings: Settings, model: str) -> Iterator[None]:
    """Hold the model's slot while deciding, and announce what was decided."""
    with one_at_a_time(model), announced(Registry(settings), model):
        yield


@contextmanager
def one_at_a_time(model: str) -> Iterator[None]:
    """Hold the model's slot. Raises RefusedError when another decision holds it for too long.

    The lease of a process that stands still runs out; that it then decides nothing is seen to in tasks/promotion/champion.py.
    """
    name = f"slipway-promote-{model}"
    with in_a_sentence(), get_client(sync_client=True) as client:
        with suppress(ObjectAlreadyExists):  # another made it just now
            client.upsert_global_concurrency_limit_by_name(name, 1)
    with ExitStack() as slots:
        try:
            slots.enter_context(
                concurrency(name, lease_duration=_LEASE_SECONDS, timeout_seconds=_WAIT_SECONDS, strict=True)
            )
        except TimeoutError as error:
            raise RefusedError(
                f"Another decision about {model} has held the limit {name} for {_WAIT_SECONDS} s: see it in the Prefect UI."
            ) from error
        yield
