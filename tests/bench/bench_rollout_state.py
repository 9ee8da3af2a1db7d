"""A rollout's controller killed (SIGKILL) before or after each of its calls to MLflow, and two of them that loop without a pause.

After every kill the next pass has to leave each decision once, what servers obey equal to the ledger's last entry, and a replay without a
word. On SQLite, and with --postgres on PostgreSQL. What servers report is written by hand.
"""

import argparse
import contextlib
import itertools
import multiprocessing
import os
import random
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import promotions
from figures import listed, published

sys.path.append(str(Path(__file__).parents[1] / "support"))

import rollouts
from postgres import postgres

from tasks.promotion.champion import promote
from tasks.promotion.ledger import read_ledger
from tasks.promotion.replay import replay
from tasks.promotion.rolling import advance
from tasks.promotion.rollouts import open_rollout
from tasks.registry import connection
from tasks.registry.registry import Registry
from tasks.settings import Policy, Settings, load_settings

KILLS, ROLLOUTS, MODELS = 200, 200, 10

POLICY = {"steps": ["shadow", "50%"], "margin": {"score": None}, "hold": {"minutes": 0, "requests": 0}}

_FORK = multiprocessing.get_context("fork")


class Doomed:
    """A client of MLflow's, and MLflow's own where that is within, whose process ends before (even) or after (odd) one of its calls."""

    def __init__(self, client: Any, moment: int, calls: Iterator[int] | None = None) -> None:
        self._client, self._moment = client, moment
        self._calls = itertools.count() if calls is None else calls

    @property
    def __class__(self) -> Any:  # or else it were taken for MLflow's own
        return type(self._client)

    def __getattr__(self, name: str) -> Any:
        if name == "own":
            return Doomed(self._client.own, self._moment, self._calls)
        method = getattr(self._client, name)

        def call(*args: Any, **kwargs: Any) -> Any:
            self._edge()
            result = method(*args, **kwargs)
            self._edge()
            return result

        return call if callable(method) else method

    def _edge(self) -> None:
        if next(self._calls) == self._moment:
            os.kill(os.getpid(), signal.SIGKILL)


def settings_of(home: Path, uri: str) -> Settings:
    os.environ["SLIPWAY_HOME"] = str(home)
    models = {"default": Policy.model_validate({"rollout": POLICY})}
    return load_settings().model_copy(update={"tracking_uri": uri, "models": models})


def in_a_fork(act: Callable[[], Any], moment: int | None = None) -> bool:
    """Whether `act` came to its end in a process of its own, which `moment` ends before that."""

    def run() -> None:
        if moment is not None:
            connect = connection.connect
            connection.connect = lambda *args: Doomed(connect(*args), moment)  # type: ignore[assignment]
        act()
        os._exit(0)

    process = _FORK.Process(target=run)
    process.start()
    process.join()
    assert process.exitcode in (0, -signal.SIGKILL), f"a pass ended with {process.exitcode}"
    return process.exitcode == 0


def kills(home: Path, uri: str, count: int) -> Counter[str]:
    """Rollouts whose every decision is killed, at one call after the other; what was decided, and how often a kill hit it."""
    settings, outcomes = settings_of(home, uri), Counter[str]()
    expected = ["start", "step", "promote"]
    moments = dict.fromkeys([*expected, "abort"], 0)
    for number in itertools.count():
        model, bad = f"killed-{number}", number % 3 == 2
        in_a_fork(lambda: _register(settings, model))  # noqa: B023
        for action in ["start", "abort"] if bad else expected:
            act = _start if action == "start" else _look
            if action != "start":
                in_a_fork(lambda: _report(settings, model, bad))  # noqa: B023
            if in_a_fork(lambda: act(settings, model), moments[action]):  # noqa: B023
                moments[action] = 0  # past the last call: from the first one again
            else:
                moments[action] += 1
                outcomes[action] += 1
            assert in_a_fork(lambda: (act(settings, model), _check(settings, model, action)))  # noqa: B023
            if sum(outcomes.values()) == count:
                return outcomes
    raise AssertionError


def _register(settings: Settings, model: str, versions: int = 2) -> None:
    registry = Registry(settings)
    first, *_ = promotions.register_bare(registry, model, versions)
    promote(registry, first, against=None, why="the first")


def _start(settings: Settings, model: str) -> None:
    registry = Registry(settings)
    version = registry.version(model, 2)
    assert version is not None
    rollouts.passed(registry, version, 1)


def _look(settings: Settings, model: str) -> None:
    advance(settings, model)


def _report(settings: Settings, model: str, bad: bool) -> None:
    rollouts.report(Registry(settings), model, rollouts.BAD if bad else rollouts.GOOD)


def _check(settings: Settings, model: str, action: str) -> None:
    registry = Registry(settings)
    rollouts.check(registry, model)
    decided = [entry.action for entry in read_ledger(registry, model).entries]
    rest = ["promote", "start", "abort"] if action == "abort" else ["promote", "start", "step", "promote"]
    assert decided == rest[: 1 + rest[1:].index(action) + 1], decided
    assert replay(registry, model).notes == ()


def two_controllers(home: Path, uri: str, count: int, models: int) -> tuple[int, float]:
    """Two machines' controllers that never pause, while rollouts begin and end; entries made, and rollouts a second."""
    settings = settings_of(home, uri)
    each = max(1, count // models)
    names = [f"looped-{number}" for number in range(models)]
    for name in names:
        in_a_fork(lambda: _register(settings, name, each + 1))  # noqa: B023
    stop = _FORK.Event()
    controllers = [
        _FORK.Process(target=_loop, args=(settings, home / f"machine-{number}", names, stop))
        for number in (1, 2)
    ]
    for controller in controllers:
        controller.start()
    began = time.monotonic()
    assert in_a_fork(lambda: _drive(settings, names, each))
    seconds = time.monotonic() - began
    stop.set()
    for controller in controllers:
        controller.join()
        assert controller.exitcode == 0, "a controller ended with an error"
    made = _FORK.Value("i", 0)
    assert in_a_fork(lambda: _count(settings, names, each, made))
    return made.value, len(names) * each / seconds


def _loop(settings: Settings, home: Path, names: list[str], stop: Any) -> None:
    """A machine of its own: its locks are not the other's."""
    own = settings.model_copy(update={"home": home})
    dice = random.Random(str(home))
    while not stop.is_set():
        advance(own, dice.choice(names))
    os._exit(0)


def _drive(settings: Settings, names: list[str], each: int) -> None:
    """Begin a rollout of the next version of every model, report what makes it go through or back, and wait until all are over."""
    registry = Registry(settings)
    for number in range(2, each + 2):
        for name in names:
            version = registry.version(name, number)
            assert version is not None
            while rollouts.passed(registry, version, registry.number(name, "champion")) != "rolling":
                pass  # another decided at that moment
        left = names
        while left := [name for name in left if open_rollout(read_ledger(registry, name).entries)]:
            for name in left:
                bad = (number + names.index(name)) % 4 == 0
                rollouts.report(registry, name, rollouts.BAD if bad else rollouts.GOOD)


def _count(settings: Settings, names: list[str], each: int, made: Any) -> None:
    registry, ended = Registry(settings), 0
    for name in names:
        advance(settings, name)
        rollouts.check(registry, name)
        entries = read_ledger(registry, name).entries
        decided = Counter(entry.action for entry in entries)
        assert decided["start"] == each == decided["abort"] + decided["promote"] - 1, decided
        assert decided["step"] == decided["promote"] - 1, decided
        assert replay(registry, name).notes == ()
        ended += len(entries)
    made.value = ended


@contextlib.contextmanager
def database(on_postgres: bool) -> Iterator[tuple[Path, str]]:
    with tempfile.TemporaryDirectory() as scratch, contextlib.ExitStack() as stack:
        home = Path(scratch) / "home"
        home.mkdir(mode=0o700)
        os.environ.pop("MLFLOW_TRACKING_URI", None)
        os.environ["SLIPWAY_HOME"] = str(home)
        uri = stack.enter_context(postgres()) if on_postgres else f"sqlite:///{home / 'mlflow.db'}"
        import mlflow.store.model_registry.sqlalchemy_store
        import mlflow.store.tracking.sqlalchemy_store  # noqa: F401  once, and not in every process

        in_a_fork(lambda: Registry(settings_of(home, uri)).models())
        yield home, uri


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--postgres", action="store_true")
    parser.add_argument("--kills", type=int, default=KILLS)
    parser.add_argument("--rollouts", type=int, default=ROLLOUTS)
    given = parser.parse_args()
    name = "PostgreSQL" if given.postgres else "SQLite"
    with published(f"rollout state, {name}", "mlflow") as lines:
        began = time.monotonic()
        with database(given.postgres) as (home, uri):
            outcomes = kills(home, uri, given.kills)
        seconds = time.monotonic() - began
        with database(given.postgres) as (home, uri):
            entries, rate = two_controllers(home, uri, given.rollouts, MODELS)
        lines += listed(
            {
                f"kills at a call to MLflow in a {action}, each decided once after": times
                for action, times in outcomes.items()
            }
            | {"s for all kills": seconds, "rollouts by two controllers that never pause": given.rollouts}
            | {
                "entries of theirs, none twice, replayed without a word": entries,
                "rollouts a minute": 60 * rate,
            }
        )


if __name__ == "__main__":
    main()
