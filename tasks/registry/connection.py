"""A connection to MLflow: by its own client, or for decisions by REST alone, which need not wait for its import."""

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

from tasks.registry.reachability import check_mlflow, explain_database
from tasks.registry.rest import RestClient, speaks_rest
from tasks.settings import Settings

if TYPE_CHECKING:
    from mlflow import MlflowClient


@dataclass(frozen=True)
class Connection:
    """To the embedded SQLite store, or to a server."""

    settings: Settings
    patience: float = 0.0
    """Seconds to wait for a server that is away: a run waits, a person is told at once."""

    @cached_property
    def client(self) -> "MlflowClient":
        """Made at first use: importing MLflow takes seconds, and a connection must not cross a fork."""
        self.check_reachable()
        import mlflow
        from mlflow.exceptions import MlflowException
        from sqlalchemy.exc import SQLAlchemyError

        uri = self.settings.tracking_uri
        mlflow.set_tracking_uri(uri)
        mlflow.set_registry_uri(uri)
        try:
            client = mlflow.MlflowClient(uri, uri)
            client.search_experiments(max_results=1)
        except (MlflowException, SQLAlchemyError) as error:
            raise explain_database(uri, error) from error
        return client

    @cached_property
    def decisions(self) -> "MlflowClient | RestClient":
        """For what a decision asks and moves: a server is spoken to without importing MLflow."""
        if not speaks_rest(self.settings.tracking_uri):
            return self.client
        self.check_reachable()
        return RestClient(self.settings.tracking_uri, self.patience)

    def check_reachable(self) -> None:
        """Raise StepError or UserError, at once and in a sentence, when there is no MLflow where settings say."""
        check_mlflow(self.settings.tracking_uri, self.patience)

    def experiment(self, name: str) -> str:
        """The experiment's id; made when it is not there, embedded with its artifacts under SLIPWAY_HOME."""
        found = self.decisions.get_experiment_by_name(name)
        if found is not None:
            return str(found.experiment_id)
        root = (self.settings.home / "mlartifacts" / name).as_uri() if self.settings.embedded else None
        try:
            return str(self.decisions.create_experiment(name, artifact_location=root))
        except Exception:
            if (found := self.decisions.get_experiment_by_name(name)) is None:
                raise
            return str(found.experiment_id)  # another process made it first
