"""The small client against MLflow's own, on a real server: the same answers, the same refusals."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tasks.registry.http import MlflowError
from tasks.registry.rest import RestClient, speaks_rest


@pytest.fixture
def both(mlflow_server: str) -> tuple[RestClient, "MlflowClient"]:  # type: ignore[name-defined]  # noqa: F821
    from mlflow import MlflowClient

    return RestClient(mlflow_server), MlflowClient(mlflow_server, mlflow_server)


def _version(mlflow, model: str) -> None:  # type: ignore[no-untyped-def]
    logged = mlflow.create_logged_model(mlflow.create_experiment(f"{model}-files"), name="fp32")
    tags = {"slipway.sha256": "ab", "empty": ""}
    mlflow.create_registered_model(model)
    mlflow.create_model_version(model, f"models:/{logged.model_id}", tags=tags, model_id=logged.model_id)


def test_what_one_writes_the_other_reads(both) -> None:  # type: ignore[no-untyped-def]
    rest, mlflow = both
    _version(mlflow, "rest-reads")
    text = 'ü "quoted"\n{"json": [1]} ' + "x" * 3000
    rest.set_model_version_tag("rest-reads", "1", "note", text)
    rest.set_registered_model_tag("rest-reads", "head", "7 abc")
    rest.set_registered_model_alias("rest-reads", "champion", "1")

    theirs, ours = mlflow.get_model_version("rest-reads", "1"), rest.get_model_version("rest-reads", "1")
    assert ours.tags == theirs.tags and ours.tags["note"] == text
    assert (ours.name, str(ours.version)) == (theirs.name, str(theirs.version))
    assert ours.creation_timestamp == theirs.creation_timestamp
    aliased = rest.get_model_version_by_alias("rest-reads", "champion")
    assert (aliased.version, aliased.tags) == (ours.version, ours.tags)
    assert mlflow.get_registered_model("rest-reads").aliases == {"champion": "1"}
    assert rest.get_registered_model("rest-reads").tags == {"head": "7 abc"}

    rest.delete_registered_model_alias("rest-reads", "champion")
    rest.delete_registered_model_tag("rest-reads", "head")
    model = mlflow.get_registered_model("rest-reads")
    assert not model.aliases and not model.tags


def test_runs_come_page_by_page_with_all_their_tags(both) -> None:  # type: ignore[no-untyped-def]
    rest, mlflow = both
    experiment = rest.create_experiment("rest/a ledger")
    found = rest.get_experiment_by_name("rest/a ledger")
    assert found is not None and found.experiment_id == experiment
    assert rest.get_experiment_by_name("rest/none") is None
    made = {
        rest.create_run(experiment, run_name=f"entry {number}", tags={"n": str(number)}).info.run_id
        for number in range(5)
    }
    for run_id in made:
        rest.set_terminated(run_id)
    pages, token = [], None
    while True:
        page = rest.search_runs([experiment], max_results=2, page_token=token)
        pages.append([(run.info.run_id, run.data.tags["n"]) for run in page])
        if not (token := page.token):
            break
    assert [len(page) for page in pages] == [2, 2, 1]
    theirs = mlflow.search_runs([experiment])
    assert sorted(sum(pages, [])) == sorted((run.info.run_id, run.data.tags["n"]) for run in theirs)
    assert {run.info.status for run in theirs} == {"FINISHED"}
    assert {run.info.run_name for run in theirs} == {f"entry {number}" for number in range(5)}


def test_what_is_not_there_is_said_as_mlflow_says_it(both) -> None:  # type: ignore[no-untyped-def]
    from mlflow.exceptions import MlflowException

    for ask in (
        lambda client: client.get_registered_model("rest-nobody"),
        lambda client: client.get_model_version("rest-nobody", "1"),
        lambda client: client.get_model_version_by_alias("rest-nobody", "champion"),
        lambda client: client.set_registered_model_alias("rest-nobody", "champion", "1"),
    ):
        with pytest.raises(MlflowError) as ours:
            ask(both[0])
        with pytest.raises(MlflowException) as theirs:
            ask(both[1])
        assert ours.value.error_code == theirs.value.error_code == "RESOURCE_DOES_NOT_EXIST"
        assert "rest-nobody" in str(ours.value)


@pytest.mark.slow
def test_nobody_there_is_one_sentence_without_the_password() -> None:
    with pytest.raises(MlflowError, match=r"MLflow does not answer at http://127.0.0.1:1 ") as said:
        RestClient("http://ann:secret@127.0.0.1:1").get_registered_model("m")
    assert "secret" not in str(said.value)


def test_signed_requests_and_plugins_are_mlflows_own(monkeypatch: pytest.MonkeyPatch) -> None:
    assert speaks_rest("https://mlflow") and not speaks_rest("sqlite:///mlflow.db")
    monkeypatch.setenv("MLFLOW_TRACKING_AWS_SIGV4", "true")
    assert not speaks_rest("https://mlflow")


def test_history_over_http_needs_no_mlflow(mlflow_server: str, tmp_path: Path) -> None:
    code = (
        "import sys; from tasks.promotion.history import history; from tasks.settings import load_settings\n"
        "try: history(load_settings(), 'rest-nobody')\n"
        "except Exception as error: print(error)\n"
        "print([name for name in ('mlflow', 'torch', 'prefect', 'pandas') if name in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "MLFLOW_TRACKING_URI": mlflow_server, "SLIPWAY_HOME": str(tmp_path)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.splitlines()[-1] == "[]", done.stdout
