"""Deployments of one's own models on a Prefect server: whole or not at all, and what a person set there stays."""

import asyncio
import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from uuid import uuid4

import deployed
import promotions
import pytest
from prefect.blocks.system import Secret
from prefect.client.orchestration import SyncPrefectClient
from prefect.client.schemas.actions import DeploymentScheduleCreate, WorkPoolCreate
from prefect.client.schemas.responses import DeploymentResponse
from prefect.client.schemas.schedules import CronSchedule
from prefect.exceptions import ObjectNotFound, PrefectHTTPStatusError
from prefect.settings import PREFECT_API_URL, temporary_settings
from prefect.workers.process import ProcessJobConfiguration, ProcessWorker

from flows.cli import deployments as commands
from flows.monitor import maker
from flows.orchestration import own_deployments, own_parts
from flows.orchestration.deployment_list import listed
from flows.orchestration.own_deployments import deploy, prefect_server, withdraw
from flows.orchestration.own_form import own_form
from flows.orchestration.own_parts import Part, Wanted, environment
from flows.retrain import retrain
from tasks.errors import StepError, UserError
from tasks.promotion.champion import promote
from tasks.promotion.manual import decline_version
from tasks.registry.registry import Registry
from tasks.settings import load_settings
from tasks.workloads.catalogue import load_workload

FIRST, SECOND = (f"bundle:{digits * 32}" for digits in ("5a", "6b"))


@pytest.fixture
def client(prefect_server: str, home: Path) -> Iterator[SyncPrefectClient]:
    with deployed.talking_to(prefect_server, home), own_deployments.prefect_server() as client:
        yield client


@pytest.fixture
def wanted(client: SyncPrefectClient) -> Iterator[Wanted]:
    """A model of its own in a pool of its own: other tests' are on the server too."""
    name = f"churn-{uuid4().hex[:8]}"
    client.create_work_pool(WorkPoolCreate(name=name, type="process"))
    yield Wanted(name=name, model=name, reference=FIRST, form=form(FIRST), pool=name)
    client.delete_work_pool(name)


def form(reference: str) -> dict[str, Any]:
    return own_form(retrain.parameters.model_dump(), reference, load_workload("digits"))


def again(wanted: Wanted, **changes: Any) -> Wanted:
    return wanted.model_copy(update={"pool": None, **changes})


def read(client: SyncPrefectClient, flow: str, wanted: Wanted) -> DeploymentResponse:
    return client.read_deployment_by_name(f"{flow}/{wanted.name}")


def test_a_model_is_retrained_with_its_bundle_and_watched_and_deploying_it_again_changes_nothing(
    client: SyncPrefectClient, wanted: Wanted
) -> None:
    made = deploy(
        client, again(wanted, pool=wanted.pool, cron="0 2 * * *", parameters={"training": {"epochs": 3}})
    )
    assert (made.created, made.before, made.schedules) == (True, None, ("0 2 * * * UTC",))
    own, watch = read(client, "retrain", wanted), read(client, "monitor", wanted)
    assert own.parameters == {"file": FIRST, "training": {"epochs": 3}}
    assert (own.entrypoint, own.work_pool_name, own.version) == (
        "flows.retrain.retrain",
        wanted.pool,
        "5a" * 6,
    )
    assert own.global_concurrency_limit.limit == 1 and {"slipway", "retrain", "bundle"} == {*own.tags}  # type: ignore[union-attr]
    assert own.job_variables == {"env": {"PREFECT_FLOWS_HEARTBEAT_FREQUENCY": "30"}}
    assert watch.parameters == {"model": wanted.model} and [each.active for each in watch.schedules] == [True]
    assert deploy(client, again(wanted)).changes == ()
    assert read(client, "retrain", wanted).updated == own.updated, "it was not written"
    with pytest.raises(ObjectNotFound):
        read(client, "rollout", wanted)


def test_where_the_policy_has_a_rollout_the_model_has_a_deployment_of_that_too_which_begins_when_one_does(
    client: SyncPrefectClient, wanted: Wanted
) -> None:
    deploy(client, again(wanted, pool=wanted.pool, rollout=True))
    made = read(client, "rollout", wanted)
    assert made.parameters == {"model": wanted.model} and made.work_pool_name == wanted.pool
    assert [(each.schedule.cron, each.active) for each in made.schedules] == [("* * * * *", False)]  # type: ignore[union-attr]
    deploy(client, again(wanted, env={"REGION": "north"}))
    after = read(client, "rollout", wanted)
    assert after.job_variables["env"]["REGION"] == "north", (
        "one may be open: it stays, whatever the policy says now"
    )
    withdraw(client, wanted.name)
    with pytest.raises(ObjectNotFound):
        read(client, "rollout", wanted)


def test_another_bundle_keeps_what_was_not_said_and_what_a_person_set_in_the_pages(
    client: SyncPrefectClient, wanted: Wanted
) -> None:
    deploy(client, again(wanted, pool=wanted.pool, cron="0 2 * * *", parameters={"promote": False}))
    own = read(client, "retrain", wanted)
    client.update_deployment_schedule(own.id, own.schedules[0].id, active=False)
    theirs = DeploymentScheduleCreate(
        schedule=CronSchedule(cron="0 4 * * 1"), active=True, parameters={"file": FIRST, "force": True}
    )
    client.create_deployment_schedules(own.id, [theirs])
    made = deploy(client, again(wanted, reference=SECOND, form=form(SECOND)))
    assert (made.before, made.created, made.changes) == (FIRST, False, ("another bundle",))
    own = read(client, "retrain", wanted)
    assert own.parameters == {"file": SECOND, "promote": False}
    assert {(each.schedule.cron, each.active) for each in own.schedules} == {
        ("0 2 * * *", False),
        ("0 4 * * 1", True),
    }  # type: ignore[union-attr]
    assert {"file": SECOND, "force": True} in [each.parameters for each in own.schedules]
    made = deploy(client, again(wanted, reference=SECOND, form=form(SECOND), cron="0 3 * * *", parameters={}))
    assert made.changes[0] == "parameters: none (before: promote=false)"
    assert "0 3 * * * UTC, paused" in made.schedules, "a schedule that is paused stays so"


def test_a_secret_comes_from_its_block_when_a_run_starts_and_stands_in_no_deployment(
    client: SyncPrefectClient, wanted: Wanted
) -> None:
    block = f"warehouse-{uuid4().hex[:8]}"
    Secret(value="postgresql://me:hunter22@host/rows").save(block)  # type: ignore[unused-coroutine]
    said = f"SLIPWAY_SQL_URL={{{{ prefect.blocks.secret.{block} }}}}"
    deploy(client, again(wanted, pool=wanted.pool, env=environment([said, "REGION=north"])))
    own = deploy(client, again(wanted)) and read(client, "retrain", wanted)
    assert "hunter22" not in own.model_dump_json() and own.job_variables["env"]["REGION"] == "north"
    template = ProcessWorker.get_default_base_job_template()
    job = asyncio.run(ProcessJobConfiguration.from_template_and_values(template, own.job_variables))
    assert job.env["SLIPWAY_SQL_URL"] == "postgresql://me:hunter22@host/rows"
    assert job.env["PREFECT_FLOWS_HEARTBEAT_FREQUENCY"] == "30"


@pytest.mark.parametrize(
    ("said", "sentence"),
    [
        ("REGION", "write NAME=VALUE"),
        ("SLIPWAY_SQL_URL=postgresql://me:hunter22@host/rows", "seems to hold an address with a password"),
        ("DB_PASSWORD=hunter22", "keep it in a block"),
    ],
)
def test_a_secret_in_the_command_is_refused_and_not_repeated(said: str, sentence: str) -> None:
    with pytest.raises(UserError, match=sentence) as refused:
        environment([said])
    assert "hunter22" not in str(refused.value)


@pytest.mark.parametrize("first", [True, False])
def test_a_part_that_fails_leaves_all_as_it_was(
    client: SyncPrefectClient, wanted: Wanted, monkeypatch: pytest.MonkeyPatch, first: bool
) -> None:
    if not first:
        deploy(client, again(wanted, pool=wanted.pool, cron="0 2 * * *"))
    save = own_deployments._save

    def fail(client: SyncPrefectClient, name: str, part: Part) -> None:
        if part.flow == "retrain" and part.fields["parameters"]["file"] == SECOND:
            raise StepError("the server is gone")
        save(client, name, part)

    monkeypatch.setattr(own_deployments, "_save", fail)
    monkeypatch.setattr(own_parts, "_model_form", lambda model: {"type": "object", "properties": {}})
    with pytest.raises(StepError):
        deploy(client, again(wanted, pool=wanted.pool, reference=SECOND, form=form(SECOND)))
    monkeypatch.undo()
    for flow in ("retrain", "monitor"):
        if first:
            with pytest.raises(ObjectNotFound):
                read(client, flow, wanted)
    if not first:
        assert deploy(client, again(wanted, cron="0 2 * * *")).changes == (), "all is as it was deployed"


def test_what_is_withdrawn_is_gone_and_what_is_left_is_listed(
    client: SyncPrefectClient, wanted: Wanted
) -> None:
    deploy(client, again(wanted, pool=wanted.pool))
    (row,) = [each for each in listed(client, lambda model: 7).deployments if each.name == wanted.name]
    assert (row.model, row.bundle, row.schedules, row.last_run, row.champion) == (
        wanted.model, FIRST.removeprefix("bundle:"), (), None, 7,
    )  # fmt: skip
    assert withdraw(client, wanted.name) == wanted.model
    assert wanted.name not in {each.name for each in listed(client, lambda model: 7).deployments}
    with pytest.raises(UserError, match=r"There is no deployment .* that `slipway deploy` made"):
        withdraw(client, wanted.name)


def test_the_champion_that_is_listed_and_goes_on_is_what_serves_whoever_moved_the_alias(
    client: SyncPrefectClient,
    wanted: Wanted,
    home: Path,
    empty_mlflow_database: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    home.mkdir(exist_ok=True)
    shutil.copyfile(empty_mlflow_database, home / "mlflow.db")
    registry, model = Registry(load_settings()), wanted.model
    first, second = (promotions.register(registry, model, home, weight) for weight in (1.0, 2.0))
    promote(registry, first, against=None, why="the first")
    decline_version(registry.settings, model, 2, why="wrong sevens", who="ada")
    registry.set_alias(model, "champion", second.version)
    deploy(client, again(wanted, pool=wanted.pool))
    commands.deployments(json=True)
    rows = json.loads(capsys.readouterr().out)["deployments"]
    assert [row["champion"] for row in rows if row["name"] == wanted.name] == [1]
    commands.withdraw(wanted.name, json=True)
    assert json.loads(capsys.readouterr().out)["champion"] == 1


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"cron": "61 2 * * *"}, "--cron '61 2 .*is no schedule"),
        ({"cron": "0 2 30 2 *"}, "never comes"),
        ({"cron": "0 2 * * *", "timezone": "Europe/Atlantis"}, "'Europe/Atlantis' is no time zone"),
        ({"name": "digits"}, "retrain/digits|monitor/digits is not one of"),
        ({"name": "Churn now"}, "is no name for a deployment"),
        ({"pool": "nowhere"}, "There is no work pool 'nowhere'"),
        ({"image": "team/worker:latest"}, "name it by its digest"),
        ({"image": f"team/worker@sha256:{'0' * 64}"}, "for pools whose runs are containers"),
    ],
)
def test_what_makes_no_sense_is_said_and_nothing_is_deployed(
    client: SyncPrefectClient, wanted: Wanted, changes: dict[str, Any], sentence: str
) -> None:
    with pytest.raises(UserError, match=sentence):
        deploy(client, again(wanted, pool=wanted.pool).model_copy(update=changes))
    with pytest.raises(ObjectNotFound):
        read(client, "retrain", wanted)


def test_the_name_of_another_models_deployment_is_refused(client: SyncPrefectClient, wanted: Wanted) -> None:
    deploy(client, again(wanted, pool=wanted.pool))
    with pytest.raises(UserError, match=f"is of the model {wanted.model}, and this workload's is other"):
        deploy(client, again(wanted, model="other"))


def test_what_drifts_is_retrained_by_its_own_deployment_with_the_bundle_that_it_has_now(
    client: SyncPrefectClient, wanted: Wanted, monkeypatch: pytest.MonkeyPatch
) -> None:
    deploy(client, again(wanted, pool=wanted.pool, reference=SECOND, form=form(SECOND)))
    monkeypatch.setattr("flows.monitor.deployment", SimpleNamespace(name=wanted.name))
    made_by = maker(FIRST)
    own = read(client, "retrain", wanted)
    assert made_by.asked["file"] == SECOND
    assert [each["prefect.resource.id"] for each in made_by.related] == [f"prefect.deployment.{own.id}"]
    run = client.create_flow_run_from_deployment(own.id, parameters=made_by.asked)
    assert run.parameters["file"] == SECOND, "the form takes what the automation says"
    with pytest.raises(
        PrefectHTTPStatusError, match="409"
    ):  # a run of before crashed, and would be started again
        client.create_flow_run_from_deployment(own.id, parameters={"file": FIRST})


def test_workers_elsewhere_need_a_store() -> None:
    with temporary_settings({PREFECT_API_URL: "http://prefect.internal:4200/api"}):
        with pytest.raises(UserError, match="set SLIPWAY_STORE"):
            own_deployments.check_store(None)
        own_deployments.check_store("s3://bucket/slipway")
    with temporary_settings({PREFECT_API_URL: "http://127.0.0.1:4200/api"}):
        own_deployments.check_store(None)


def test_without_a_server_it_says_where_one_comes_from() -> None:
    with temporary_settings(restore_defaults={PREFECT_API_URL}):
        with pytest.raises(StepError, match="There is no Prefect server to deploy to"), prefect_server():
            pass
