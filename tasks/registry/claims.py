"""What was claimed in the registry, read by whoever asks: commands, and servers that import no more of it."""

from collections.abc import Callable
from typing import TYPE_CHECKING, TypeVar

from tasks.registry.http import is_missing

if TYPE_CHECKING:
    from mlflow import MlflowClient

    from tasks.registry.local import LocalClient
    from tasks.registry.rest import RestClient

T = TypeVar("T")

CLAIMS = "slipway.claims"
"""Of a run that holds claims: its model; of the experiment that names the one that counts: its id."""

KEYS = ".keys"
"""Stands for a model among those that claims are about: changes of keys. No model is called so."""


def read_claims(client: "MlflowClient | RestClient | LocalClient", model: str) -> dict[str, str] | None:
    """What was claimed about a model, by name; None before the first claim, empty when the run that held it was deleted."""
    run_id = claims_run(client, model)
    if run_id is None:
        return None
    run = find(lambda: client.get_run(run_id))
    return dict(run.data.params) if run is not None and run.info.lifecycle_stage == "active" else {}


def claims_run(client: "MlflowClient | RestClient | LocalClient", model: str) -> str | None:
    experiment = client.get_experiment_by_name(claims_of(model))
    return experiment.tags[CLAIMS] if experiment is not None else None


def claims_of(model: str) -> str:
    return f"slipway-ledger/{model}/claims"


def find(get: Callable[[], T]) -> T | None:
    """What is got, or None where there is no such thing."""
    try:
        return get()
    except Exception as error:  # MLflow's, or ours for the same answer
        if is_missing(error):
            return None
        raise
