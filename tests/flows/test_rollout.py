"""A rollout that goes on by itself on a real Prefect server: its schedule, what is shown, what is announced. Servers' reports are written by hand."""

import contextlib
import shutil
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import deployed
import promotions
import pytest
import rollouts
from prefect import get_client
from prefect.client.schemas.actions import WorkPoolCreate
from prefect.client.schemas.filters import ArtifactFilter
from prefect.client.schemas.objects import FlowRun
from prefect.deployments import run_deployment

from flows.monitor import monitor
from flows.orchestration.events import announced
from flows.orchestration.own_deployments import deploy
from flows.orchestration.own_parts import Wanted
from flows.orchestration.rollout_schedule import follow
from flows.promote import promote as asking
from flows.rollout import rollout
from tasks.promotion import rolling
from tasks.promotion.champion import promote
from tasks.promotion.ledger import read_ledger
from tasks.promotion.manual import let_through, promote_version
from tasks.promotion.rollout_status import to_look_at
from tasks.registry.registry import Registry
from tasks.registry.tags import WAITS_TAG
from tasks.rollout.record import ROLLOUT_TAG
from tasks.settings import load_settings

pytestmark = pytest.mark.filterwarnings("ignore:unclosed <socket.socket:ResourceWarning")
"""Prefect leaves a connection of a run done in this process to the collector."""


@pytest.fixture
def registry_with(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, empty_mlflow_database: Path
) -> Callable[[str, str], Registry]:
    """An empty registry, and an mlflow.yaml by which a model has a rollout."""

    def made(model: str, policy: str) -> Registry:
        home.mkdir(mode=0o700)
        shutil.copyfile(empty_mlflow_database, home / "mlflow.db")
        monkeypatch.chdir(tmp_path)
        (tmp_path / "mlflow.yaml").write_text(f"models: {{{model}: {{rollout: {policy}}}}}")
        return Registry(load_settings())

    return made


def scheduled(name: str = "any") -> bool:
    with get_client(sync_client=True) as client:
        [schedule] = client.read_deployment_by_name(f"rollout/{name}").schedules
        return schedule.active


def deploy_own() -> None:
    """As `slipway deploy` of a model whose policy has a rollout."""
    with get_client(sync_client=True) as client:
        client.create_work_pool(WorkPoolCreate(name="rolled", type="process"))
        wanted = Wanted(
            name="rolled", model="rolled", reference="bundle:5a", form={}, pool="rolled", rollout=True
        )
        assert deploy(client, wanted).created
        own = client.read_deployment_by_name("rollout/rolled")
    assert own.parameters == {"model": "rolled"} and own.entrypoint == "flows.rollout.rollout"


def shown(key: str) -> list[str]:
    with get_client(sync_client=True) as client:
        found = client.read_artifacts(artifact_filter=ArtifactFilter.model_validate({"key": {"any_": [key]}}))
        return [str(artifact.data) for artifact in found]


@pytest.mark.slow
def test_a_pass_reads_the_ledger_of_what_is_open_and_of_nothing_else(
    registry_with: Callable[[str, str], Registry], monkeypatch: pytest.MonkeyPatch
) -> None:
    registry = registry_with("default", "{steps: [shadow, 50%], margin: {score: null}}")
    for model in ("open", "over", "paused"):
        rollouts.begun(registry, model)
    rolling.say(registry.settings, "over", "abort", why="not on Fridays")
    rolling.say(registry.settings, "paused", "pause", why="not on Fridays")
    read, followed, claims = Counter[str](), list[list[str]](), Registry.claims

    def counted(self: Registry, model: str) -> dict[str, str] | None:
        read[model] += 1
        return claims(self, model)

    monkeypatch.setattr(Registry, "claims", counted)
    monkeypatch.setattr("flows.rollout.look", lambda model: rolling.advance(load_settings(), model))
    monkeypatch.setattr("flows.rollout.announced", lambda *_: contextlib.nullcontext())
    monkeypatch.setattr("flows.rollout.show_rollout", lambda *_: None)
    monkeypatch.setattr("flows.rollout.follow", followed.append)
    [standing] = rollout.fn()
    assert (standing.model, standing.status, followed) == ("open", "rolling", [["open"]])
    assert (read["open"], read["over"], read["paused"]) == (1, 0, 0)

    def begins_meanwhile(models: list[str]) -> None:
        followed.append(models)
        if followed == [["open"]]:
            rollouts.again(registry, "over")

    followed.clear()
    monkeypatch.setattr("flows.rollout.follow", begins_meanwhile)
    rollout.fn()
    assert followed == [["open"], ["open", "over"]], "its schedule was switched off at that moment"
    registry.tag_model("open", {ROLLOUT_TAG: "what nobody signed"})
    assert to_look_at(registry) == ["open", "over"], "by its ledger"


@pytest.mark.slow
def test_the_schedule_is_off_while_a_rollout_is_paused_and_on_for_what_waits_for_its_end(
    registry_with: Callable[[str, str], Registry], monkeypatch: pytest.MonkeyPatch
) -> None:
    registry = registry_with("default", "{steps: [shadow, 50%], margin: {score: null}}")
    versions, followed = rollouts.begun(registry, "rolled", 3), list[list[str]]()
    monkeypatch.setattr("flows.orchestration.events.follow", followed.append)

    def say(action: Any) -> list[str]:
        with announced(registry, "rolled"):
            rolling.say(registry.settings, "rolled", action, why="lunch")
        return followed.pop()

    assert (say("pause"), say("resume"), say("pause")) == ([], ["rolled"], [])
    assert rollouts.passed(registry, versions[2], 1) == "registered" and to_look_at(registry) == []
    assert say("abort") == ["rolled"] and not followed


@pytest.mark.slow
def test_one_that_was_begun_by_what_was_killed_before_anybody_was_told_is_looked_at_from_the_next_monitoring_on(
    registry_with: Callable[[str, str], Registry], monkeypatch: pytest.MonkeyPatch
) -> None:
    registry = registry_with("default", "{steps: [shadow, 50%], margin: {score: null}}")
    rollouts.begun(registry, "rolled")
    registry.client.delete_registered_model_tag("rolled", ROLLOUT_TAG)
    assert to_look_at(registry) == []
    followed = list[list[str]]()
    monkeypatch.setattr("flows.rollout.look", lambda model: rolling.advance(load_settings(), model))
    monkeypatch.setattr("flows.rollout.show_rollout", lambda *_: None)
    monkeypatch.setattr("flows.rollout.follow", followed.append)
    monkeypatch.setattr("flows.monitor.rollout", rollout.fn)
    monkeypatch.setattr(
        "flows.monitor.look", lambda _: SimpleNamespace(workload="x", alarming=False, headline="")
    )
    for name in ("ask_for_rows", "show_watched", "show_traffic", "told"):
        monkeypatch.setattr(f"flows.monitor.{name}", lambda *_: None)
    monitor.fn("rolled")
    assert followed == [["rolled"]] == [to_look_at(registry)]
    rolling.say(registry.settings, "rolled", "pause", why="lunch")
    monitor.fn("rolled")
    assert followed == [["rolled"]]


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_it_looks_while_a_rollout_is_open_shows_what_is_to_go_and_stops_when_it_is_over(
    registry_with: Callable[[str, str], Registry], tmp_path: Path, prefect_server: str
) -> None:
    registry = registry_with(
        "rolled", "{steps: [shadow, 50%], margin: {score: null}, hold: {minutes: 0, requests: 0}}"
    )
    first, second, third = promotions.register_bare(registry, "rolled", 3)
    promote(registry, first, against=None, why="the first")
    run: Any = rollout
    with deployed.talking_to(prefect_server, tmp_path):
        deployed.deploy(rollout, "any", cron="* * * * *")
        with get_client(sync_client=True) as client:
            made = client.read_deployment_by_name("rollout/any")
            client.update_deployment_schedule(made.id, made.schedules[0].id, active=False)
        deploy_own()
        with announced(registry, "rolled"):
            ledger = read_ledger(registry, "rolled")
            let_through(registry, ledger, second, rollouts.PASS, why="nightly", who="ada")
        assert scheduled("rolled") and not scheduled()
        follow(["rolled", "another"])
        assert scheduled("rolled") and scheduled(), (
            "what has no deployment of its own is looked at by that for any"
        )
        assert rollouts.passed(registry, third, 1) == "registered"
        for action, counts in (("step", rollouts.GOOD), (None, rollouts.GOOD), ("abort", rollouts.BAD)):
            rollouts.report(registry, "rolled", counts, sequence=2 if action is None else None)
            [standing] = run()
            assert (standing.made and standing.made.action) == action
            assert scheduled("rolled") and not scheduled(), "its own looks after it"
            assert standing.waits == 3
        [ended] = run()  # what waited has no files to be judged by, so that a person has to
        assert ended.waits == 3 and registry.tags(third)[WAITS_TAG] == "a person"
        assert not scheduled("rolled") and not scheduled()
        tables, pictures = shown("rolled-rollout"), shown("rolled-rollout-picture")
    assert any("| slower | 800 of 4,000 pairs" in table and "still to go" in table for table in tables)
    assert len(tables) == 4 and all("data:image/svg+xml;base64," in picture for picture in pictures)
    rollouts.check(registry, "rolled")
    curves = registry.metric_history(standing.run, "errors/harmful")
    assert set(curves) == {300, 4000}


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_after_its_patience_a_person_is_asked_once_whose_word_ends_it(
    registry_with: Callable[[str, str], Registry],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    prefect_server: str,
) -> None:
    """Each rollout anew, whatever was asked about the version before; no word is taken for one that has ended meanwhile."""
    registry = registry_with("patient", "{steps: [shadow], margin: {score: null}, patience: 0s}")
    first, second = (
        promotions.register(registry, "patient", tmp_path, weight, champion=champion)
        for weight, champion in ((1.0, None), (2.0, 1))
    )
    promote(registry, first, against=None, why="the first")
    for module in (
        "flows.rollout",
        "flows.orchestration.events",
    ):  # another test looks at schedules on this server
        monkeypatch.setattr(f"{module}.follow", lambda models: None)
    with deployed.talking_to(prefect_server, tmp_path):
        deployed.deploy(rollout, "patient")
        questions = deployed.deploy(asking, "promote")
        run: Any = run_deployment(
            "promote/promote",
            parameters={"model": "patient", "version": 2, "reason": "made by retrain"},
            idempotency_key=f"asks-about-patient-2-{second.run_id}",
            timeout=0,
            as_subflow=False,
        )
        before = {run.id, *(each.id for each in deployed.runs_of(questions))}
        for decision, meanwhile in (("refuse", None), ("approve", rollouts.BAD), ("approve", None)):
            promote_version(registry.settings, "patient", 2, why="nightly")
            for _ in range(2):
                deployed.work(deployed.start("rollout/patient", model="patient"), rollout)
            [question] = [each for each in deployed.runs_of(questions) if each.id not in before]
            before.add(question.id)
            assert question.parameters["ask"] and state(deployed.work(question, asking)) == "Suspended"
            [page] = shown("patient-question")[-1:]
            assert "The patience of 0 s is over" in page
            if meanwhile is not None:
                rollouts.report(registry, "patient", meanwhile)
                rolling.advance(registry.settings, "patient")
            deployed.answer(question, decision, "ada", "by hand")
            ended = deployed.work(question, asking)
            if meanwhile is not None:
                assert state(ended) == "Failed" and "ended while this was asked" in str(ended.state.message)
    decided = [(entry.action, entry.who) for entry in read_ledger(registry, "patient").entries[1:]]
    me = decided[0][1]
    begun = ("start", me)
    assert decided == [begun, ("abort", "ada"), begun, ("abort", "the rollout"), begun, ("finish", "ada")]
    rollouts.check(registry, "patient")


def state(run: FlowRun) -> str:
    assert run.state is not None
    return run.state.name or ""
