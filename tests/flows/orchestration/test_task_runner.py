"""Where candidates are made: threads of this process, or a Ray cluster."""

import pytest
from prefect.task_runners import ThreadPoolTaskRunner

from flows.orchestration.task_runner import VARIABLE, at_once, spread, task_runner
from tasks.errors import UserError


def test_candidates_are_made_one_at_a_time_unless_told_otherwise(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(VARIABLE, raising=False)
    runner = task_runner()
    assert isinstance(runner, ThreadPoolTaskRunner) and runner._max_workers == 1


def test_a_ray_cluster_is_named_by_its_address(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("prefect_ray")
    from prefect_ray import RayTaskRunner

    for chosen, address in (
        ("ray", None),
        ("ray://head:10001", "ray://head:10001"),
        ("head:6379", "head:6379"),
    ):
        monkeypatch.setenv(VARIABLE, chosen)
        runner = task_runner()
        assert isinstance(runner, RayTaskRunner) and runner.address == address


def test_another_runner_is_refused_in_a_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, "dask")
    with pytest.raises(
        UserError, match="SLIPWAY_TASK_RUNNER=dask is not a task runner: use threads, ray or ray://"
    ):
        task_runner()


def test_what_a_search_tries_goes_to_as_many_machines_as_there_are(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("prefect_ray")
    from prefect_ray.context import RemoteOptionsContext

    def strategy() -> object:
        return RemoteOptionsContext.get().current_remote_options.get("scheduling_strategy")

    class Running:
        def __init__(self, chosen: str) -> None:
            monkeypatch.setenv(VARIABLE, chosen)
            self.task_runner = task_runner()

    given = {"ray": (None, "SPREAD"), "threads": (1, None)}
    for chosen, (count, spreads) in given.items():
        running = Running(chosen)
        monkeypatch.setattr(
            "flows.orchestration.task_runner.FlowRunContext.get", lambda running=running: running
        )
        with spread():
            assert (at_once(), strategy()) == (count, spreads)
