"""One way to MLflow for commands and server alike: REST to a server, SQL to read a home's own database, MLflow's own client for the rest.

MLflow's own also writes down trainings, wherever they go: metrics, models and artifacts are more than we say by REST.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

from tasks.errors import StepError
from tasks.registry.http import needs_mlflow
from tasks.registry.local import LocalClient, is_known
from tasks.registry.moved import lead_home
from tasks.registry.pages import OPENS_AS
from tasks.registry.reachability import check_mlflow, explain_database
from tasks.registry.rest import RestClient, speaks_rest
from tasks.registry.tables import make_tables
from tasks.settings import Settings
from tasks.system.imports import importing
from tasks.system.urls import without_secrets

if TYPE_CHECKING:
    from mlflow import MlflowClient

    Client = MlflowClient | RestClient | LocalClient


def connect(uri: str, patience: float = 0.0) -> "Client":
    """For what is read, decided and downloaded. Raises StepError or UserError, in a sentence, when MLflow is not there.

    `patience`: seconds to wait for a server that is away: a run waits, a person is told at once.
    """
    check_mlflow(uri, patience)
    if speaks_rest(uri):
        return RestClient(uri, patience)
    with _in_a_sentence(uri):
        make_tables(uri)
    if needs_mlflow() or not is_known(uri):
        return _mlflows_own(uri)
    lead_home(uri)
    return LocalClient(uri, lambda: _mlflows_own(uri))


def _mlflows_own(uri: str) -> "MlflowClient":
    lead_home(uri)
    with _in_a_sentence(uri), importing():
        from mlflow import MlflowClient, set_tracking_uri

        set_tracking_uri(uri)  # where its stores look for a version's model, whoever's client asks
        client = MlflowClient(uri, uri)
        client.search_experiments(max_results=1)
    return client


@contextmanager
def _in_a_sentence(uri: str) -> Iterator[None]:
    """What MLflow and SQLAlchemy raise of a database, and what is not installed for one."""
    try:
        yield
    except ImportError as error:
        raise StepError(
            f"{without_secrets(uri)} takes a package that is not here ({error}): install it."
        ) from error
    except Exception as error:  # MLflow's and SQLAlchemy's have no common base
        raise explain_database(uri, error) from error


@dataclass(frozen=True)
class Connection:
    """To the embedded SQLite store, or to a server."""

    settings: Settings
    patience: float = 0.0

    @cached_property
    def decisions(self) -> "Client":
        """For all but a training: a server is spoken to, and a database read, without importing MLflow."""
        return connect(self.settings.tracking_uri, self.patience)

    @cached_property
    def client(self) -> "MlflowClient":
        """MLflow's own. Made at first use: importing MLflow takes seconds, and a connection must not cross a fork."""
        decisions = self.decisions
        if isinstance(decisions, RestClient):
            return _mlflows_own(self.settings.tracking_uri)
        return decisions.own if isinstance(decisions, LocalClient) else decisions

    def check_reachable(self) -> None:
        """Raise StepError or UserError, at once and in a sentence, when there is no MLflow where settings say."""
        check_mlflow(self.settings.tracking_uri, self.patience)

    def experiment(self, name: str) -> str:
        """The experiment's id; made when it is not there, embedded with its artifacts under SLIPWAY_HOME."""
        if (experiment := self.decisions.get_experiment_by_name(name)) is None:
            root = (self.settings.home / "mlartifacts" / name).as_uri() if self.settings.embedded else None
            try:
                return str(self.decisions.create_experiment(name, artifact_location=root, tags=OPENS_AS))
            except Exception:
                if (experiment := self.decisions.get_experiment_by_name(name)) is None:
                    raise  # else another process made it first
        return str(experiment.experiment_id)
