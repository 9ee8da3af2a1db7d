"""One retraining of a model at a time, from whichever deployment: refused, or waiting its turn, by the deployment's policy."""

import random
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from time import sleep
from types import SimpleNamespace
from typing import Any

import deployed
import pytest
from prefect import flow, get_client
from prefect.client.schemas.filters import FlowRunFilter
from prefect.client.schemas.objects import (
    ConcurrencyLimitConfig,
    ConcurrencyLimitStrategy,
    FlowRun,
    StateType,
)
from prefect.states import Completed, Crashed, Running

from flows.orchestration import run_lock
from flows.orchestration.failures import failing_in_a_sentence

pytestmark = pytest.mark.filterwarnings("ignore:unclosed <socket.socket:ResourceWarning")


@flow(name="takes-a-turn")
@failing_in_a_sentence
def takes(model: str) -> str:
    run_lock.wait_for_turn(model)
    return "taken"


@pytest.fixture
def models(prefect_server: str, home: Path) -> Iterator[str]:
    """A model that no other test retrains."""
    with deployed.talking_to(prefect_server, home):
        for name, strategy in (
            ("refuses", ConcurrencyLimitStrategy.CANCEL_NEW),
            ("waits", ConcurrencyLimitStrategy.ENQUEUE),
        ):
            limit = ConcurrencyLimitConfig(limit=1, collision_strategy=strategy)
            deployed.deploy(takes, name, concurrency_limit=limit)
        yield home.parent.name.replace("_", "-")


def set_state(run: FlowRun, state: Any) -> None:
    with get_client(sync_client=True) as client:
        client.set_flow_run_state(run.id, state, force=True)


def going_on(model: str) -> FlowRun:
    """A run of another deployment that has its turn and still trains."""
    run = deployed.work(deployed.start("takes-a-turn/waits", model=model), takes)
    assert run.state is not None and run.state.type == StateType.COMPLETED
    set_state(run, Running())
    return run


def state_of(run: FlowRun) -> tuple[StateType, str]:
    assert run.state is not None
    return run.state.type, run.state.message or ""


class Runs:
    """Runs and their tags, as a server has them: each call is done at once, and calls of many runs come in any order."""

    def __init__(self, count: int) -> None:
        self.tags: dict[str, list[str]] = {f"run-{number}": ["slipway"] for number in range(count)}
        self.lock = threading.Lock()

    def _run(self, name: str) -> Any:
        return SimpleNamespace(id=name, name=name, tags=list(self.tags[name]))

    def read_flow_run(self, name: str) -> Any:
        return self._served(lambda: self._run(name))

    def read_flow_runs(self, flow_run_filter: FlowRunFilter) -> list[Any]:
        assert flow_run_filter.tags is not None and flow_run_filter.tags.any_ is not None
        asked = set(flow_run_filter.tags.any_)
        return self._served(lambda: [self._run(name) for name in self.tags if asked & {*self.tags[name]}])

    def update_flow_run(self, name: str, tags: list[str]) -> None:
        self._served(lambda: self.tags.update({name: tags}))

    def _served(self, answer: Callable[[], Any]) -> Any:
        sleep(random.uniform(0, 0.001))
        with self.lock:
            return answer()


def test_of_many_runs_that_ask_at_once_never_two_have_the_turn_and_each_gets_it() -> None:
    runs, holding, had = Runs(6), set[str](), list[str]()

    def retrain(name: str) -> None:
        turn = run_lock.Turn(runs, name, "toy")  # type: ignore[arg-type]
        for _ in range(5):
            while turn.take() is not None:
                sleep(random.uniform(0, 0.02))
            holding.add(name)
            assert holding == {name}
            sleep(0.001)
            had.append(name)
            holding.remove(name)
            runs.update_flow_run(name, ["slipway"])

    with ThreadPoolExecutor(len(runs.tags)) as pool:
        list(pool.map(retrain, runs.tags))
    assert Counter(had) == dict.fromkeys(runs.tags, 5)


@pytest.mark.slow
def test_a_second_retraining_of_a_model_is_cancelled_and_another_models_is_not(models: str) -> None:
    first = going_on(models)
    kind, message = state_of(deployed.work(deployed.start("takes-a-turn/refuses", model=models), takes))
    assert kind == StateType.CANCELLED
    assert message.startswith(f"{models} is being retrained by the run {first.name}: wait for it")
    other = deployed.start("takes-a-turn/refuses", model=f"{models}-other")
    assert state_of(deployed.work(other, takes))[0] == StateType.COMPLETED
    set_state(first, Crashed())
    again = deployed.start("takes-a-turn/refuses", model=models)
    assert state_of(deployed.work(again, takes))[0] == StateType.COMPLETED


@pytest.mark.slow
def test_a_retraining_that_may_wait_goes_on_when_the_other_has_ended(
    models: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = going_on(models)
    looked: list[float] = []

    def end_the_first(seconds: float) -> None:
        looked.append(seconds)
        if len(looked) == 2:
            set_state(first, Completed())

    monkeypatch.setattr(run_lock, "pause", end_the_first)
    second = deployed.work(deployed.start("takes-a-turn/waits", model=models), takes)
    assert state_of(second)[0] == StateType.COMPLETED and len(looked) == 2
