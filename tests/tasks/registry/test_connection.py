"""Which client speaks to which MLflow, and what is said when neither can."""

import gc
import sys
from pathlib import Path

import pytest

from tasks.errors import StepError
from tasks.registry.connection import connect
from tasks.registry.local import LocalClient
from tasks.registry.rest import RestClient


def test_a_server_is_spoken_to_by_rest_and_a_database_that_we_know_is_read_and_another_is_mlflows(
    mlflow_server: str, empty_mlflow_database: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from mlflow import MlflowClient

    assert isinstance(connect(mlflow_server), RestClient)
    assert isinstance(connect(f"sqlite:///{empty_mlflow_database}"), LocalClient)
    assert isinstance(connect(f"sqlite:///{tmp_path}/new.db"), LocalClient)
    assert isinstance(connect(f"sqlite:///{empty_mlflow_database}?timeout=9"), MlflowClient)
    monkeypatch.setenv("MLFLOW_TRACKING_AWS_SIGV4", "true")  # only MLflow's own signs requests
    with pytest.raises(StepError, match="takes a package that is not here .*requests_auth_aws_sigv4"):
        connect(mlflow_server)
    assert gc.isenabled()


def test_mlflows_own_client_that_is_not_installed_is_a_sentence(
    empty_mlflow_database: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As in the image of the model server, which speaks to servers alone."""
    monkeypatch.setitem(sys.modules, "mlflow", None)
    client = connect(f"sqlite:///{empty_mlflow_database}")
    assert not client.search_registered_models()
    with pytest.raises(StepError, match="sqlite:.* takes a package that is not here .*mlflow"):
        client.create_registered_model("digits")
    assert gc.isenabled()
