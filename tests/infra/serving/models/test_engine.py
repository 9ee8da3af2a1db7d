"""What a version runs in: the engine of its evidence where this machine keeps what that promised, and else ONNX Runtime, saying why."""

import logging
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
import serving_models as models
from engines_here import HERE, IN, asked

from infra.serving.errors import Unservable
from infra.serving.ipc.messages import Release
from infra.serving.models.engine import Running, held_to
from infra.serving.models.version import LoadedVersion, load_version
from infra.serving.wire.tensors import RequestRows
from tasks.engines import Engine
from tasks.onnx.engines import SUPPORT, title
from tasks.onnx.openvino_session import OpenVinoSession
from tasks.system.files import sha256_of

SLOW: dict[int, float] = {}
"""No promise, which any machine keeps."""

ROWS = np.random.default_rng(0).normal(size=(8, 64)).round(3)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return models.save(tmp_path_factory.mktemp("model") / "m", models.mlp(), {"x": ROWS[:1].tolist()})


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("infra.serving.models.engine.WARM_SECONDS", 0.0)
    monkeypatch.setattr("infra.serving.models.engine.SECONDS", 0.01)


def load(
    folder: Path, engine: Engine, promise: dict[int, float] | None = None, batch: int | None = None
) -> LoadedVersion:
    about = {"model": "m", "version": "3", "digest": sha256_of(folder / "model.onnx"), "folder": folder}
    release = Release(**about, evidence="verified", engine=engine, promise=promise or {})
    return load_version(release, threads=1, batch=batch, max_rows=99)


def answers(loaded: LoadedVersion, rows: Any = ROWS) -> Any:
    read: RequestRows = loaded.invocations.read(b'{"inputs": %s}' % str(rows.tolist()).encode())
    return loaded.run([read]).arrays[0]


def test_a_version_runs_in_the_engine_that_it_was_proved_in(folder: Path) -> None:
    loaded, plain = load(folder, HERE, SLOW), load(folder, Engine())
    assert loaded.running.engine == HERE and loaded.running.instead is None
    assert plain.engines == {
        "engine": f"ONNX Runtime {onnxruntime.__version__}",
        "proved": "ONNX Runtime",
        "instead": None,
        "rows": {},
    }
    with asked() as batches:
        np.testing.assert_allclose(answers(loaded), answers(plain), atol=0.05)
    assert batches == [loaded.running.session]


def test_what_is_said_to_run_it_has_the_version_that_is_installed_here(folder: Path) -> None:
    older = HERE.model_copy(update={"version": "2025.1.0"})
    said = load(folder, older, SLOW).engines
    assert "2025.1.0" in str(said["proved"]) and said["engine"] == title(HERE)
    plain = load(folder, Engine(version="1.2.3", precision="fp32")).engines
    assert plain["engine"] == f"ONNX Runtime {onnxruntime.__version__} in fp32"
    assert plain["proved"] == "ONNX Runtime 1.2.3 in fp32"


def test_a_version_in_onnx_runtime_looks_no_package_up(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    looked: list[str] = []
    monkeypatch.setattr("tasks.onnx.engines.installed", lambda name: looked.append(name) or "1.0")
    load(folder, Engine(name="onnxruntime", version="1.2.3"))
    assert looked == []
    load(folder, HERE, SLOW)
    assert "openvino" in looked


@pytest.mark.parametrize(
    "promise, rows, ratio, kept",
    [
        ({1: 1.0, 64: 2.0}, 1, 1.1, True),
        ({1: 1.0, 64: 2.0}, 1, 0.95, False),
        ({1: 1.0, 64: 1.2}, 1, 0.95, True),
        ({1: 1.0, 64: 1.2}, 1, 0.85, False),  # more than half of the promise, and slower
        ({1: 1.0, 64: 0.5}, 1, 0.5, False),
        ({1: 1.0}, 16, 0.95, True),
        ({1: 1.0}, 16, 0.85, False),
        ({}, 16, 0.1, True),
    ],
)
def test_a_promise_is_looked_at_at_its_largest_batch_and_keeps_nothing_that_is_slower(
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    promise: dict[int, float],
    rows: int,
    ratio: float,
    kept: bool,
) -> None:
    at: list[int] = []

    def took(run: Any, count: int, budget: float, clock: Any) -> float:
        at.append(count)
        return {1: 1e-3, 2: 1e-3, 3: ratio * 1e-3}[len(at)]

    monkeypatch.setattr("infra.serving.models.engine.fastest", took)
    loaded = load(folder, HERE.model_copy(update={"rows": rows}), promise)
    assert loaded.running.engine.is_always_there is not kept
    assert at == ([1, *[max([rows, *promise])] * 2] if promise else [])
    if not kept:
        assert f"{ratio:.2f}× as fast as ONNX Runtime here at batch {at[1]}" in str(loaded.running.instead)


def test_a_look_at_a_promise_takes_no_more_than_two_seconds_of_a_model_that_is_slow(folder: Path) -> None:
    loaded, run = load(folder, HERE), {"ours": 0.0, "plain": 0.0}
    now = [0.0]

    class Slow:
        def __init__(self, name: str) -> None:
            self.name = name

        def run(self, names: Any, feed: Any) -> Any:
            now[0] += 0.05 * len(feed["x"])
            run[self.name] += 1
            return []

    ours: Any = Slow("ours")
    ours.plain = Slow("plain")
    held = held_to(
        Running(ours, HERE), {1: 1.0, 64: 1.0}, lambda n: {"x": ROWS[:1].repeat(n, 0)}, lambda: now[0]
    )
    assert held.instead is None and now[0] <= 2.0 and min(run.values()) >= 1
    assert loaded.running.engine == HERE


def test_from_the_crossing_on_batches_run_in_it_and_smaller_ones_in_onnx_runtime(folder: Path) -> None:
    loaded, plain = load(folder, HERE.model_copy(update={"rows": 8}), SLOW), load(folder, Engine())
    with asked() as batches:
        np.testing.assert_array_equal(answers(loaded, ROWS[:7]), answers(plain, ROWS[:7]))
        assert batches == []
        np.testing.assert_allclose(answers(loaded), answers(plain), atol=0.05)
        assert batches == [loaded.running.session]
    assert loaded.engines["rows"] == {"onnxruntime": 7, "openvino": 8} and plain.engines["rows"] == {}


def test_an_engine_that_the_largest_batch_keeps_from_running_anything_is_not_said_to_run_it(
    folder: Path,
) -> None:
    of_eight = HERE.model_copy(update={"rows": 8})
    assert load(folder, of_eight, batch=8).engines["instead"] is None
    small = load(folder, of_eight, batch=7)
    assert small.running.engine.is_always_there and small.pace.batch == 7
    assert small.running.instead == f"{title(of_eight)} runs nothing at --batch 7"


def _fell_back(
    folder: Path, caplog: pytest.LogCaptureFixture, engine: Engine, promise: dict[int, float]
) -> str:
    """Why; its answers are ONNX Runtime's to the bit, and the log says it."""
    with caplog.at_level(logging.WARNING, "slipway.serving"):
        loaded = load(folder, engine, promise)
    assert loaded.running.engine.is_always_there and loaded.release.engine == engine
    np.testing.assert_array_equal(answers(loaded), answers(load(folder, Engine())))
    why = loaded.engines["instead"]
    assert f"m version 3 runs in ONNX Runtime: {why}" in caplog.messages
    assert why is not None
    return why


def test_what_was_proved_on_amx_falls_back_on_a_processor_faked_to_be_without(
    folder: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    there = lambda cpuinfo=None: frozenset(("avx512f", "avx512_bf16"))  # noqa: E731
    monkeypatch.setattr("tasks.system.processor.instructions", there)
    amx = HERE.model_copy(update={"instructions": (SUPPORT["bf16"][0],)})
    assert (
        _fell_back(folder, caplog, amx, SLOW)
        == f"OpenVINO {IN} rests on amx_bf16, which this processor has not"
    )


def test_without_the_package_which_is_faked_to_be_missing_it_falls_back(
    folder: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tasks.onnx.engines.installed", {"onnxruntime": "1.31.1"}.get)
    assert _fell_back(folder, caplog, HERE, SLOW).startswith("OpenVINO is not installed")


def test_a_promise_of_which_not_even_half_is_kept_falls_back(
    folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    why = _fell_back(folder, caplog, HERE, {1: 2.0, 64: 1e6})
    assert "as fast as ONNX Runtime here at batch 64, and at least 500000.00× is asked for" in why


@pytest.mark.parametrize(
    "count, promise, what",
    [
        (64, {64: 1e-6}, "held to its promise"),
        (1, SLOW, "first of all"),
        (3, SLOW, "probe"),
        (64, SLOW, "measure"),
        (2, SLOW, "warm"),
    ],
)
def test_an_engine_that_fails_anywhere_on_the_way_falls_back(
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
    count: int,
    promise: dict[int, float],
    what: str,
) -> None:
    def fails(self: Any, names: Any, feed: Any) -> Any:
        if len(feed["x"]) == count:
            raise RuntimeError("no such kernel")
        return real(self, names, feed)

    real = OpenVinoSession.run
    monkeypatch.setattr(OpenVinoSession, "run", fails)
    monkeypatch.setattr("infra.serving.models.engine.WARM_SECONDS", 9.0)
    three = models.save(tmp_path / "m", models.mlp(), {"x": ROWS[:3].tolist()})
    assert _fell_back(three, caplog, HERE, promise).endswith("no such kernel"), what


def test_an_engine_whose_answer_to_the_example_is_not_finite_falls_back(
    folder: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = OpenVinoSession.run
    monkeypatch.setattr(OpenVinoSession, "run", lambda *given: [each + np.nan for each in real(*given)])
    assert "not finite" in _fell_back(folder, caplog, HERE, SLOW)


@pytest.mark.parametrize("error", [ImportError("no libopenvino.so"), RuntimeError("no device CPU")])
def test_an_engine_that_is_installed_and_does_not_start_falls_back(
    folder: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    def load() -> Any:
        raise error

    monkeypatch.setattr("tasks.onnx.openvino_session.load", load)
    assert _fell_back(folder, caplog, HERE, SLOW) == f"OpenVINO does not take the graph: {error}"


def test_a_file_that_fails_in_both_engines_is_refused_with_what_onnx_runtime_says(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("infra.serving.models.version.all_finite", lambda arrays: len(arrays[0]) == 0)
    with pytest.raises(Unservable, match="its input example fails"):
        load(folder, HERE, SLOW)


def test_an_engine_of_a_later_slipway_falls_back(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    assert "no engine 'tensorrt'" in _fell_back(folder, caplog, Engine(name="tensorrt"), {})
