"""Watching: served traffic against training data, and the workload's rows against those that versions were made of."""

from typing import NamedTuple

from prefect import State, flow, get_client, task
from prefect.client.schemas.filters import FlowFilter
from prefect.runtime import deployment
from prefect.states import Completed
from pydantic import Field

from flows.orchestration.artifacts import show_watched
from flows.orchestration.events import DATA_CHANGED, DRIFT_ALARM, emit
from flows.orchestration.failures import failing_in_a_sentence
from flows.orchestration.statuses import show_traffic
from flows.orchestration.story import told
from flows.pipeline.binding import worth_a_retry
from flows.rollout import rollout
from infra.platform.status import DEPLOYED_TAG
from tasks.monitoring import monitor as watching
from tasks.monitoring.watched import ColumnDrift, Performance, Status, Watched
from tasks.promotion.ledger import read_ledger
from tasks.promotion.permits import find_serving, serving_version
from tasks.promotion.rollouts import open_rollout
from tasks.promotion.verification import check_version, downloaded
from tasks.registry.registry import Registry
from tasks.settings import load_settings
from tasks.system.frozen import Frozen
from tasks.workloads.catalogue import names

_MOST = 10


class Alarm(Frozen):
    """What an event says of traffic that does harm: of which version, which inputs, by how much. `workload` and `file` are retrain's parameters."""

    workload: str
    file: str
    version: int
    status: Status
    reasons: tuple[str, ...]
    reason: str = Field(description="The version and these, as the run that follows is told.")
    inputs: tuple[ColumnDrift, ...] = ()
    answers: tuple[ColumnDrift, ...] = ()
    performance: Performance | None = None


class NewRows(Frozen):
    """What an event says of rows that no version was made of."""

    workload: str
    file: str
    fingerprint: str
    reason: str


@flow(name="monitor", flow_run_name="monitor-{model}", persist_result=True, result_serializer="json")
@failing_in_a_sentence
def monitor(model: str = "digits") -> Watched | State[Watched]:
    """Compare what is asked in production with what the champion was trained on; an alarm, or new data, starts retrain.

    Args:
        model: The registered model's name, such as digits.
    """
    if not has_champion(model):
        return Completed(message=f"{model} has no champion yet: there is nothing to watch.")
    watched = look(model)
    show_watched(watched, load_settings().policy(model).monitor.psi)
    reference = watched.workload
    if watched.alarming:
        made_by = maker(reference)
        about = alarm(watched, made_by)
        emit(DRIFT_ALARM, model, f"{model} {about.reason}", about, made_by.related)
    if (fingerprint := ask_for_rows(model)) is not None:
        reason = f"{reference} loads rows that no version was made of ({fingerprint[:16]}…)"
        made_by = maker(reference)
        about_rows = NewRows(**made_by.asked, fingerprint=fingerprint, reason=reason)
        emit(DATA_CHANGED, model, f"{model}: {reason}", about_rows, made_by.related)
    registry = Registry(load_settings())
    show_traffic(registry, watched)
    going_on = open_rollout(read_ledger(registry, model).entries)
    if going_on is not None and not going_on.paused:
        rollout(model)  # whoever began it may have been killed before the schedule that looks at it was on
    return told(watched, watched.headline)


def alarm(watched: Watched, made_by: "Maker") -> Alarm:
    """The columns that drifted most, and not all of a picture's."""
    inputs, answers = (
        (drift.drifted[:_MOST] if drift else ()) for drift in (watched.inputs, watched.predictions)
    )
    return Alarm(
        **made_by.asked,
        version=watched.version,
        status=watched.status,
        reasons=watched.reasons,
        reason=f"version {watched.version}: {'; '.join(watched.reasons)}",
        inputs=inputs,
        answers=answers,
        performance=watched.performance,
    )


def has_champion(model: str) -> bool:
    """A model that was deployed is watched from the first hour on, whenever its first version passes."""
    return serving_version(Registry(load_settings()), model) is not None


@task(retries=2, retry_delay_seconds=2, retry_condition_fn=worth_a_retry)
def look(model: str) -> Watched:
    """The champion's recorded traffic against its training rows."""
    return watching.monitor(load_settings(), model)


@task(retries=2, retry_delay_seconds=2, retry_condition_fn=worth_a_retry)
def ask_for_rows(model: str) -> str | None:
    """The fingerprint of what the workload loads now, if it is new."""
    registry = Registry(load_settings())
    champion = find_serving(registry, model)
    with downloaded(registry, champion) as folder:
        return watching.new_rows(registry, check_version(folder, champion))


class Maker(NamedTuple):
    """What an event says of who is to retrain: retrain's parameters, and its deployment as a related resource to be inferred."""

    asked: dict[str, str]
    related: list[dict[str, str]]


def maker(reference: str) -> Maker:
    """The deployment of retrain that `slipway deploy` made beside this one, with the bundle that it has now.

    Else the one for this workload, else the one for any.
    """
    retrain = FlowFilter.model_validate({"name": {"any_": ["retrain"]}})
    with get_client(sync_client=True) as client:
        deployments = client.read_deployments(flow_filter=retrain)
    own = [made for made in deployments if DEPLOYED_TAG in made.tags and made.name == deployment.name]
    own += [made for made in deployments if reference in map(made.parameters.get, ("workload", "file"))]
    chosen = own or [made for made in deployments if made.name == "any"]
    file = str(own[0].parameters.get("file", "")) if own else "" if reference in names() else reference
    return Maker(
        asked={"workload": names()[0] if file else reference, "file": file},
        related=[
            {"prefect.resource.id": f"prefect.deployment.{made.id}", "prefect.resource.role": "maker"}
            for made in chosen[:1]
        ],
    )
