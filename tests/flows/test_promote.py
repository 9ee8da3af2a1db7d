"""Promotion and rollback as flows on a real Prefect server: the gate, a person's yes and no, the ledger."""

import contextvars
import shutil
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import promotions
import pytest
from prefect import get_client
from prefect.client.schemas.filters import FlowRunFilter
from prefect.client.schemas.objects import StateType
from prefect.client.schemas.responses import SetStateStatus
from prefect.settings import PREFECT_API_URL, temporary_settings

from tasks.errors import RefusedError
from tasks.promotion.champion import promote as promote_now
from tasks.promotion.ledger import read_ledger
from tasks.registry.registry import Registry
from tasks.settings import load_settings


@pytest.fixture
def registry(home: Path, request: pytest.FixtureRequest, prefect_server: str) -> Iterator[Registry]:
    """A registry with two real versions, the first serving, in a process that talks to a real Prefect server."""
    home.mkdir(mode=0o700)
    shutil.copyfile(request.getfixturevalue("empty_mlflow_database"), home / "mlflow.db")
    made = Registry(load_settings())
    promote_now(made, promotions.register(made, "digits", home, 1.0), against=None, why="the first")
    with temporary_settings({PREFECT_API_URL: prefect_server}):
        yield made


def run(function: Any, **parameters: Any) -> Any:
    return function(**parameters)


def decide_when_asked(**answer: Any) -> threading.Thread:
    """Resume the next flow run of this process that waits for a person, with this answer; as the UI does."""

    def wait_and_answer() -> None:
        filters = FlowRunFilter.model_validate({"state": {"name": {"any_": ["Paused"]}}})
        deadline = time.monotonic() + 240
        with get_client(sync_client=True) as client:
            while time.monotonic() < deadline:
                for asked in client.read_flow_runs(flow_run_filter=filters):
                    # Refused for as long as the run has not yet said what it asks for.
                    if client.resume_flow_run(asked.id, run_input=answer).status == SetStateStatus.ACCEPT:
                        return
                time.sleep(0.1)

    thread = threading.Thread(target=contextvars.copy_context().run, args=(wait_and_answer,))
    thread.start()
    return thread


@pytest.mark.slow
def test_a_version_that_passed_is_promoted_and_rolled_back_by_flows(registry: Registry, home: Path) -> None:
    from flows.promote import promote, rollback

    promotions.register(registry, "digits", home, 2.0, champion=1)
    entry = run(promote, model="digits", version=2, reason="better", who="ada")
    assert (entry.action, entry.to_version, entry.who, entry.why) == ("promote", 2, "ada", "better")
    entry = run(rollback, model="digits", reason="slow on Mondays", who="bob")
    assert (entry.action, entry.from_version, entry.to_version) == ("rollback", 2, 1)
    promotions.check(registry, read_ledger(registry, "digits"))


@pytest.mark.slow
def test_a_person_is_asked_when_the_gate_is_not_sure(registry: Registry, home: Path) -> None:
    from flows.promote import promote

    promotions.register(registry, "digits", home, 2.0, decision="inconclusive", champion=1)
    thread = decide_when_asked(decision="refuse", who="ada", why="wait for more rows")
    state = run(promote, model="digits", version=2, reason="nightly", return_state=True)
    thread.join()
    assert (state.type, state.name) == (StateType.COMPLETED, "Declined")
    assert state.message == "declined by ada: wait for more rows" and state.result().action == "refuse"
    with get_client(sync_client=True) as client:
        ended = client.read_flow_run(state.state_details.flow_run_id)
    assert ended.name == "promote-digits-v2: declined by ada: wait for more rows"
    thread = decide_when_asked(decision="approve", who="bob", why="checked by hand")
    entry = run(promote, model="digits", version=2, reason="nightly")
    thread.join()
    assert (entry.verdict, entry.who, entry.why) == ("inconclusive", "bob", "checked by hand")
    assert [(e.action, e.who) for e in read_ledger(registry, "digits").entries][1:] == [
        ("refuse", "ada"),
        ("promote", "bob"),
    ]


@pytest.mark.slow
def test_a_yes_of_somebody_who_may_not_say_it_is_none_and_the_question_stays(
    registry: Registry, home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from flows.promote import promote

    (tmp_path / "mlflow.yaml").write_text("models: {default: {approvers: [ada]}}")
    monkeypatch.setenv("SLIPWAY_SETTINGS", str(tmp_path / "mlflow.yaml"))
    promotions.register(registry, "digits", home, 2.0, decision="inconclusive", champion=1)
    answers: list[str] = []
    monkeypatch.setattr("flows.promote.show_answer", lambda *said: answers.append(said[-1]))
    eve = decide_when_asked(decision="approve", who="eve", why="looks good")

    def then() -> None:
        eve.join()
        decide_when_asked(decision="approve", who="ada", why="it is").join()

    ada = threading.Thread(target=contextvars.copy_context().run, args=(then,))
    ada.start()
    entry = run(promote, model="digits", version=2, reason="nightly")
    ada.join()
    assert (entry.to_version, entry.who, answers) == (2, "ada", ["ada approved version 2: it is"])


@pytest.mark.slow
def test_a_version_that_failed_is_refused_without_asking(registry: Registry, home: Path) -> None:
    from flows.promote import promote

    promotions.register(registry, "digits", home, 2.0, decision="fail", champion=1)
    with pytest.raises(RefusedError, match="version 2 is refused"):
        run(promote, model="digits", version=2, reason="please", ask=True)
    assert read_ledger(registry, "digits").serving == 1
