"""One retraining of a model at a time, whichever deployment started it: what a second one does is its deployment's policy."""

from time import sleep as pause

from prefect import get_client
from prefect.client.orchestration import SyncPrefectClient
from prefect.client.schemas.filters import FlowRunFilter
from prefect.client.schemas.objects import ConcurrencyLimitStrategy, FlowRun
from prefect.runtime import deployment, flow_run

from flows.orchestration.decision_lock import one_at_a_time
from tasks.errors import RefusedError

_LOOK_SECONDS = 5.0


class BusyError(RefusedError):
    """Another run does what this one would."""


def wait_for_turn(model: str) -> None:
    """Return when no other deployed run retrains the model; ENQUEUE waits for that.

    Runs' own states say who is at it, so that a lost run keeps nobody waiting for longer than it takes to be found.
    Raises BusyError where the deployment's collision strategy is CANCEL_NEW.
    """
    if deployment.id is None:
        return
    tag = f"retrains-{model}"
    with get_client(sync_client=True) as client:
        while True:
            with one_at_a_time(model):
                other = _at_it(client, tag)
                _mark(client, tag, marked=other is None)
            if other is None:
                return
            if not _may_wait(client):
                raise BusyError(
                    f"{model} is being retrained by the run {other.name}: wait for it, or start retrain/any, which waits itself."
                )
            pause(_LOOK_SECONDS)


def _at_it(client: SyncPrefectClient, tag: str) -> FlowRun | None:
    going_on = {"tags": {"all_": [tag]}, "state": {"type": {"any_": ["RUNNING", "CANCELLING"]}}}
    runs = client.read_flow_runs(flow_run_filter=FlowRunFilter.model_validate(going_on))
    return next((run for run in runs if str(run.id) != flow_run.id), None)


def _mark(client: SyncPrefectClient, tag: str, *, marked: bool) -> None:
    """A run that was marked before, crashed and was started again waits like any other."""
    tags = {*client.read_flow_run(flow_run.id).tags} - {tag}
    client.update_flow_run(flow_run.id, tags=sorted({*tags, tag} if marked else tags))


def _may_wait(client: SyncPrefectClient) -> bool:
    options = client.read_deployment(deployment.id).concurrency_options
    return options is not None and options.collision_strategy == ConcurrencyLimitStrategy.ENQUEUE
