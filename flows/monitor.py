"""Watching: served traffic against training data, and the workload's rows against those that versions were made of."""

from prefect import flow, get_client, task
from prefect.client.schemas.filters import FlowFilter, FlowFilterName
from prefect.runtime import flow_run

from flows.orchestration.artifacts import show_watched
from flows.orchestration.events import DATA_CHANGED, DRIFT_ALARM, emit
from flows.pipeline.binding import worth_a_retry
from tasks.monitoring import monitor as watching
from tasks.monitoring.monitor import Watched
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


def _name() -> str:
    return "monitor-{model}".format(**flow_run.parameters)


@flow(name="monitor", flow_run_name=_name, persist_result=True, result_serializer="json")
def monitor(model: str = "digits") -> Watched:
    """Compare what is asked in production with what the champion was trained on; an alarm, or new data, starts retrain.

    Args:
        model: The registered model's name, such as digits.
    """
    found = look(model)
    show_watched(found, load_settings().policy(model).monitor.psi)
    workload = found.workload
    shipped = workload in names()
    asked = {"workload": workload if shipped else names()[0], "file": "" if shipped else workload}
    if found.status == "drifted":
        about = Alarm(**asked, version=found.version, reasons=found.reasons)
        emit(DRIFT_ALARM, model, f"{model}: {'; '.join(found.reasons)}", about, maker(workload))
    if (fingerprint := ask_for_rows(model)) is not None:
        message = f"{model}: {workload} loads rows that no version was made of ({fingerprint[:16]}…)"
        emit(DATA_CHANGED, model, message, NewRows(**asked, fingerprint=fingerprint), maker(workload))
    return found


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


def maker(workload: str) -> list[dict[str, str]]:
    """The deployment of retrain for this workload (else the one for any), as the event's related resource to be inferred."""
    with get_client(sync_client=True) as client:
        found = client.read_deployments(flow_filter=FlowFilter(name=FlowFilterName(any_=["retrain"])))
    own = [one for one in found if workload in (one.parameters.get("workload"), one.parameters.get("file"))]
    chosen = own or [one for one in found if one.name == "any"]
    return [
        {"prefect.resource.id": f"prefect.deployment.{one.id}", "prefect.resource.role": "maker"}
        for one in chosen[:1]
    ]
