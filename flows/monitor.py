"""Watching: served traffic against training data, and the workload's rows against those that versions were made of."""

from prefect import flow, get_client, task
from prefect.client.schemas.filters import FlowFilter

from flows.orchestration.artifacts import show_watched
from flows.orchestration.events import DATA_CHANGED, DRIFT_ALARM, emit
from flows.pipeline.binding import worth_a_retry
from tasks.monitoring import monitor as watching
from tasks.monitoring.watched import Watched
from tasks.promotion.verification import check_version, downloaded
from tasks.registry.lookup import find_version
from tasks.registry.registry import Registry
from tasks.settings import load_settings
from tasks.system.frozen import Frozen
from tasks.workloads.catalogue import names


class Alarm(Frozen):
    """What an event says of drifted traffic; the rest is beside the run. `workload` and `file` are retrain's parameters."""

    workload: str
    file: str
    version: int
    reasons: tuple[str, ...]


class NewRows(Frozen):
    """What an event says of rows that no version was made of."""

    workload: str
    file: str
    fingerprint: str


@flow(name="monitor", flow_run_name="monitor-{model}", persist_result=True, result_serializer="json")
def monitor(model: str = "digits") -> Watched:
    """Compare what is asked in production with what the champion was trained on; an alarm, or new data, starts retrain.

    Args:
        model: The registered model's name, such as digits.
    """
    watched = look(model)
    show_watched(watched, load_settings().policy(model).monitor.psi)
    reference = watched.workload
    shipped = reference in names()
    asked = {"workload": reference if shipped else names()[0], "file": "" if shipped else reference}
    if watched.status == "drifted":
        about = Alarm(**asked, version=watched.version, reasons=watched.reasons)
        emit(DRIFT_ALARM, model, f"{model}: {'; '.join(watched.reasons)}", about, maker(reference))
    if (fingerprint := ask_for_rows(model)) is not None:
        message = f"{model}: {reference} loads rows that no version was made of ({fingerprint[:16]}…)"
        emit(DATA_CHANGED, model, message, NewRows(**asked, fingerprint=fingerprint), maker(reference))
    return watched


@task(retries=2, retry_delay_seconds=2, retry_condition_fn=worth_a_retry)
def look(model: str) -> Watched:
    """The champion's recorded traffic against its training rows."""
    return watching.monitor(load_settings(), model)


@task(retries=2, retry_delay_seconds=2, retry_condition_fn=worth_a_retry)
def ask_for_rows(model: str) -> str | None:
    """The fingerprint of what the workload loads now, if it is new."""
    registry = Registry(load_settings())
    champion = find_version(registry, f"{model}@champion")
    with downloaded(registry, champion) as folder:
        return watching.new_rows(registry, check_version(folder, champion))


def maker(reference: str) -> list[dict[str, str]]:
    """The deployment of retrain for this workload (else the one for any), as the event's related resource to be inferred."""
    retrain = FlowFilter.model_validate({"name": {"any_": ["retrain"]}})
    with get_client(sync_client=True) as client:
        deployments = client.read_deployments(flow_filter=retrain)
    own = [made for made in deployments if reference in map(made.parameters.get, ("workload", "file"))]
    chosen = own or [made for made in deployments if made.name == "any"]
    return [
        {"prefect.resource.id": f"prefect.deployment.{made.id}", "prefect.resource.role": "maker"}
        for made in chosen[:1]
    ]
