"""One retraining of a model at a time, whichever deployment started it: what a second one does is its deployment's policy.

No lock is held that a dead process could keep. A run says with a tag that it asks for its turn, and takes it if no other asks or
has one: of two that come at once at least the later sees the other, takes its word back and asks again after a while.
"""

import random
from time import sleep as pause

from prefect import get_client
from prefect.client.orchestration import SyncPrefectClient
from prefect.client.schemas.filters import FlowRunFilter
from prefect.client.schemas.objects import ConcurrencyLimitStrategy, FlowRun
from prefect.runtime import deployment, flow_run

from tasks.errors import RefusedError

_LOOK_SECONDS = 5.0

_ASK_SECONDS = 1.0


class BusyError(RefusedError):
    """Another run does what this one would."""


def wait_for_turn(model: str) -> None:
    """Return when no other deployed run retrains the model; ENQUEUE waits for that.

    Runs' own states say who is at it, so that a lost run keeps nobody waiting for longer than it takes to be found.
    Raises BusyError where the deployment's collision strategy is CANCEL_NEW.
    """
    if deployment.id is None:
        return
    with get_client(sync_client=True) as client:
        turn = Turn(client, flow_run.id, model)
        while (other := turn.take()) is not None:
            if turn.has(other) and not _may_wait(client):
                raise BusyError(
                    f"{model} is being retrained by the run {other.name}: wait for it, or start retrain/any, which waits itself."
                )
            pause(_LOOK_SECONDS if turn.has(other) else random.uniform(0, _ASK_SECONDS))


class Turn:
    """A run's turn to retrain a model."""

    def __init__(self, client: SyncPrefectClient, run_id: str, model: str) -> None:
        self._client, self._run_id = client, run_id
        self._asks, self._has = f"asks-to-retrain-{model}", f"retrains-{model}"

    def take(self) -> FlowRun | None:
        """None when it has the turn; else a run that has it or asks for it, first one that has. One that crashed asks like any other."""
        self._mark(self._asks)
        others = self._others()
        self._mark(None if others else self._has)
        return max(others, key=self.has, default=None)

    def has(self, run: FlowRun) -> bool:
        return self._has in run.tags

    def _others(self) -> list[FlowRun]:
        going_on = {
            "tags": {"any_": [self._asks, self._has]},
            "state": {"type": {"any_": ["RUNNING", "CANCELLING"]}},
        }
        runs = self._client.read_flow_runs(flow_run_filter=FlowRunFilter.model_validate(going_on))
        return [run for run in runs if str(run.id) != self._run_id]

    def _mark(self, tag: str | None) -> None:
        tags = {*self._client.read_flow_run(self._run_id).tags} - {self._asks, self._has}
        self._client.update_flow_run(self._run_id, tags=sorted({*tags, tag} if tag else tags))


def _may_wait(client: SyncPrefectClient) -> bool:
    options = client.read_deployment(deployment.id).concurrency_options
    return options is not None and options.collision_strategy == ConcurrencyLimitStrategy.ENQUEUE
