"""What a step costs: the process, its threads and its children are counted, and only what was measured is said."""

import sys
import threading
from pathlib import Path

import pytest

from tasks.outcome import Cost, StepTime
from tasks.reporting import cost
from tasks.reporting.cost import describe, meter, metered, metrics_of, take_cost, total, watt_hours

MEGABYTE = 1_000_000


def measure(work: object) -> Cost:
    costs: list[Cost] = []
    with meter(costs.append):
        work()  # type: ignore[operator]
    return costs[0]


def burn(seconds: float) -> None:
    import time

    end = time.thread_time() + seconds
    while time.thread_time() < end:
        pass


@pytest.mark.slow
def test_threads_and_children_that_ended_are_in_it() -> None:
    import subprocess

    def work() -> None:
        thread = threading.Thread(target=burn, args=(0.15,))
        thread.start()
        code = "import time\nwhile time.process_time() < 0.3: pass"
        subprocess.run([sys.executable, "-S", "-c", code], check=True)
        thread.join()

    cost = measure(work)
    assert cost.cpu_seconds > 0.4 and cost.wall_seconds > 0


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="the peak cannot be set back here")
def test_the_peak_is_that_of_the_step_and_not_of_what_ran_before() -> None:
    large = measure(lambda: len(b"x" * (300 * MEGABYTE)))
    small = measure(lambda: None)
    assert large.peak_bytes is not None and small.peak_bytes is not None
    assert large.peak_bytes > small.peak_bytes + 200 * MEGABYTE


def test_a_cost_is_left_for_its_caller_once_also_when_the_step_fails(tmp_path: Path) -> None:
    @metered(lambda *_: tmp_path / "costs" / "train.json")
    def step(fail: bool) -> int:
        if fail:
            raise ValueError
        return 7

    assert step(False) == 7
    assert take_cost(tmp_path / "costs" / "train.json") is not None
    assert take_cost(tmp_path / "costs" / "train.json") is None
    with pytest.raises(ValueError):
        step(True)
    assert take_cost(tmp_path / "costs" / "train.json") is not None


def test_a_total_counts_what_was_measured_and_nothing_else() -> None:
    ran = Cost(cpu_seconds=2, wall_seconds=4, peak_bytes=10, written_bytes=5)
    other = Cost(cpu_seconds=1, wall_seconds=1, peak_bytes=30, written_bytes=None)
    steps = [("train", ran), ("validate fp32", other), ("prepare", None)]
    times = [StepTime(name=n, seconds=1, reason="", cached=c is None, cost=c) for n, c in steps]
    assert total(times) == Cost(cpu_seconds=3, wall_seconds=5, peak_bytes=30, written_bytes=5)
    assert total(times[2:]) is None
    values = {metric.key: metric.value for metric in metrics_of(times, watts=10.0)}
    assert values["work/train/cpu_seconds"] == 2 and values["work/validate-fp32/peak_bytes"] == 30
    assert values["work/total/watt_hours"] == pytest.approx(30 / 3600)
    assert not any("prepare" in key for key in values)
    assert not any("watt_hours" in metric.key for metric in metrics_of(times, watts=None))


def test_energy_is_said_to_be_an_estimate_or_how_to_get_one(monkeypatch: pytest.MonkeyPatch) -> None:
    hour = Cost(cpu_seconds=3600, wall_seconds=3600, peak_bytes=8_000_000_000, written_bytes=0)
    assert watt_hours(hour, 10.0) == pytest.approx(10 + 3)
    cost.watts_a_cpu.cache_clear()
    monkeypatch.setitem(sys.modules, "codecarbon", None)
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
    assert describe(hour).endswith("energy not estimated: pip install 'slipway[cost]'")
    cost.watts_a_cpu.cache_clear()


@pytest.mark.slow
def test_codecarbons_table_gives_a_power_and_says_where_it_is_from() -> None:
    pytest.importorskip("codecarbon")
    cost.watts_a_cpu.cache_clear()
    watts, how = cost.watts_a_cpu()
    assert watts is not None and 0.1 < watts < 200
    assert how.startswith("estimated, not measured") and "codecarbon" in how and "GPUs" in how


def test_what_linux_calls_the_processor_is_looked_up_in_the_table_and_no_process_is_started_to_find_it_out(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    pytest.importorskip("codecarbon")
    monkeypatch.setattr("codecarbon.core.cpu.detect_cpu_model", None)  # put back afterwards
    monkeypatch.setattr(cost, "model", lambda: "AMD EPYC 7742")
    monkeypatch.setattr("subprocess.Popen", None)
    cost.watts_a_cpu.cache_clear()
    assert "for AMD EPYC 7742 over" in cost.watts_a_cpu()[1]
    cost.watts_a_cpu.cache_clear()
