"""What is read of a home's database by SQL is what MLflow's own client says of it, and what is not there it says alike."""

import shutil
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from tasks.errors import StepError
from tasks.registry.http import is_missing
from tasks.registry.local import LocalClient, is_known

MODEL = 'it\'s "quoted"'


@pytest.fixture(scope="module")
def both(empty_mlflow_database: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[LocalClient, Any]:
    """Two versions with aliases and tags, one deleted, and runs with parameters, of which one is deleted, too."""
    from mlflow import MlflowClient

    folder = tmp_path_factory.mktemp("local")
    uri = f"sqlite:///{shutil.copyfile(empty_mlflow_database, folder / 'mlflow.db')}"
    own = MlflowClient(uri, uri)
    experiment = own.create_experiment(
        "slipway-ledger/digits", artifact_location=folder.as_uri(), tags={"a": "b"}
    )
    own.create_registered_model("another")
    own.create_registered_model(MODEL, tags={"page": "ü\n1"})
    own.set_registered_model_tag(MODEL, "empty", "")
    for number in range(1, 4):
        run = own.create_run(experiment, tags={"n": str(number)}, run_name=f"entry {number}")
        own.log_param(run.info.run_id, f"entry-{number}", "{" * 4000)
        if number > 1:
            own.set_terminated(run.info.run_id)
        own.create_model_version(
            MODEL, f"{folder.as_uri()}/{number}", run.info.run_id, tags={"key": str(number % 2)}
        )
    own.delete_run(run.info.run_id)
    own.update_model_version(MODEL, "2", "why it is so")
    own.set_registered_model_alias(MODEL, "champion", "2")
    own.set_registered_model_alias(MODEL, "challenger", "1")
    own.delete_model_version(MODEL, "3")
    # As MLflow has it of a logged model's version:
    with closing(sqlite3.connect(folder / "mlflow.db")) as database:
        database.execute("UPDATE model_versions SET storage_location = 'file:///elsewhere' WHERE version = 1")
        database.commit()
    return LocalClient(uri, lambda: own), own


def test_a_model_and_its_versions_are_read_as_mlflow_has_them(both: tuple[LocalClient, Any]) -> None:
    ours, own = both

    def seen(version: Any) -> tuple[Any, ...]:
        said = (
            version.name,
            int(version.version),
            version.run_id,
            version.creation_timestamp,
            version.status,
        )
        return (*said, version.description or "", version.tags, version.source)

    for client in both:
        model = client.get_registered_model(MODEL)
        assert (model.name, model.tags) == (MODEL, {"page": "ü\n1", "empty": ""})
        assert {alias: int(version) for alias, version in model.aliases.items()} == {
            "champion": 2,
            "challenger": 1,
        }
        assert [model.name for model in client.search_registered_models()] == ["another", MODEL]
    for ask in (
        lambda client: client.get_model_version(MODEL, "1"),
        lambda client: client.get_model_version_by_alias(MODEL, "champion"),
        lambda client: client.get_model_version_by_alias(MODEL, "latest"),
    ):
        assert seen(ask(ours)) == seen(ask(own))
    for version in "12":
        address = own.get_model_version_download_uri(MODEL, version)
        assert ours.get_model_version_download_uri(MODEL, version) == address


def test_versions_are_searched_by_tag(both: tuple[LocalClient, Any]) -> None:
    for client in both:
        for query, numbers in {
            "name = 'another'": [],
            "name = 'another' AND tags.`key` = '1'": [],
            "name = 'digits' AND tags.`key` = '1'": [],
            "run_id = 'nobody'": [],  # which only MLflow's own answers
        }.items():
            assert [int(version.version) for version in client.search_model_versions(query)] == numbers
    ours, own = both
    own.create_registered_model("searched")
    for key in "101":
        own.create_model_version("searched", "file:///nowhere", tags={"key": key})
    for query in (
        "name = 'searched' AND tags.`key` = '1'",
        "name = 'searched' AND tags.`key` = ''",
        "name = 'searched'",
    ):
        numbers = [
            [int(version.version) for version in client.search_model_versions(query)] for client in both
        ]
        assert sorted(numbers[0], reverse=True) == numbers[0] == sorted(numbers[1], reverse=True)


def test_runs_are_read_with_all_that_is_written_in_them(both: tuple[LocalClient, Any]) -> None:
    def seen(run: Any) -> tuple[Any, ...]:
        info = run.info
        return (
            info.run_id,
            info.run_name,
            info.status,
            info.lifecycle_stage,
            dict(run.data.tags),
            dict(run.data.params),
        )

    ours, own = both
    experiment, theirs = (client.get_experiment_by_name("slipway-ledger/digits") for client in both)
    assert (experiment.experiment_id, experiment.tags) == (theirs.experiment_id, theirs.tags)
    assert experiment.artifact_location == theirs.artifact_location
    runs = [
        {run.info.run_id: seen(run) for run in client.search_runs([theirs.experiment_id])} for client in both
    ]
    assert runs[0] == runs[1] and len(runs[0]) == 2
    deleted = own.search_runs([theirs.experiment_id], run_view_type=2)[0].info.run_id
    for run_id in (*runs[0], deleted):
        assert seen(ours.get_run(run_id)) == seen(own.get_run(run_id))
    filtered = (client.search_runs([theirs.experiment_id], "tags.n = '2'") for client in both)
    assert [[run.info.run_name for run in page] for page in filtered] == [["entry 2"]] * 2
    assert ours.get_experiment_by_name("nobody") is None


def test_what_is_not_there_is_said_as_mlflow_says_it(both: tuple[LocalClient, Any]) -> None:
    for client in both:
        for ask in (
            lambda client: client.get_registered_model("nobody"),
            lambda client: client.get_model_version(MODEL, "9"),
            lambda client: client.get_model_version(MODEL, "3"),
            lambda client: client.get_model_version_by_alias(MODEL, "previous"),
            lambda client: client.get_model_version_by_alias("nobody", "champion"),
            lambda client: client.get_run("0" * 32),
        ):
            with pytest.raises(Exception, match=r"(?i)not found") as error:
                ask(client)
            assert is_missing(error.value)


def test_what_is_written_is_written_by_mlflow_and_read_at_once(both: tuple[LocalClient, Any]) -> None:
    ours, _ = both
    ours.set_registered_model_tag("another", "slipway.claims", "1")
    assert ours.get_registered_model("another").tags == {"slipway.claims": "1"}


def test_tables_of_another_release_are_mlflows_own_to_read_and_a_damaged_database_is_a_sentence(
    empty_mlflow_database: Path, tmp_path: Path
) -> None:
    path = tmp_path / "mlflow.db"
    uri = f"sqlite:///{path}"
    assert not is_known(uri) and not path.exists()
    assert not is_known("http://127.0.0.1:5000") and not is_known("postgresql://127.0.0.1/mlflow")
    shutil.copyfile(empty_mlflow_database, path)
    assert is_known(uri)
    client = LocalClient(uri, lambda: pytest.fail("reading takes nothing of MLflow's"))
    with closing(sqlite3.connect(path)) as database:
        database.execute("DROP TABLE registered_models")
        database.execute("UPDATE alembic_version SET version_num = 'another'")
        database.commit()
    assert not is_known(uri)
    with pytest.raises(StepError, match=r"mlflow\.db"):
        client.search_registered_models()
    path.write_bytes(b"no database" * 1000)
    assert not is_known(uri)
    for gone in (False, True):
        with pytest.raises(StepError, match=r"mlflow\.db"):
            client.search_registered_models()
        if not gone:
            path.unlink()
