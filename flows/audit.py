"""Once a month everything that was ever promoted is looked at again; what does not hold is told to whoever is told of alarms."""

from prefect import flow, task
from prefect.runtime import flow_run

from flows.orchestration.artifacts import show_audit
from flows.orchestration.events import AUDIT_FAILED, emit
from flows.orchestration.failures import failing_in_a_sentence
from flows.orchestration.story import told
from flows.pipeline.binding import worth_a_retry
from tasks.promotion import audit as auditing
from tasks.promotion.audit import Audit
from tasks.registry.claims import KEYS
from tasks.settings import load_settings


@flow(
    name="audit",
    flow_run_name=lambda: f"audit-{flow_run.parameters.get('model') or 'all'}",
    persist_result=True,
    result_serializer="json",
)
@failing_in_a_sentence
def audit(model: str = "", replay: bool = True) -> Audit:
    """Look at every version that was ever promoted: bytes, signatures by the keys of then, ledger, evidence, rows, score.

    Args:
        model: One registered model's name, such as digits; empty: all of them.
        replay: Score each version again where its rows are on this worker, and make every decision of rollouts again.
    """
    audited = look(model, replay)
    show_audit(audited)
    tell(audited)
    return told(audited, audited.headline, name="Completed" if audited.holds else "Faulty")


def tell(audited: Audit) -> None:
    """An event for each model that something is wrong with, and one for keys, which are every model's."""
    of_keys = {KEYS: audited.model_copy(update={"models": ()})}
    of_models = {
        each.model: audited.model_copy(update={"models": (each,), "problems": ()}) for each in audited.models
    }
    for about, alone in (of_keys | of_models).items():
        if faults := list(alone.faults()):
            emit(AUDIT_FAILED, about, f"audit: {faults[0]}", alone)


@task(retries=2, retry_delay_seconds=2, retry_condition_fn=worth_a_retry)
def look(model: str, replay: bool) -> Audit:
    """Versions are downloaded again, one after the other."""
    return auditing.audit(load_settings(), [model] if model else (), replay=replay)
