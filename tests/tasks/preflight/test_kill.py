"""A training of one's own, killed by a real SIGKILL at its first save: whether it goes on to the bit is said before anything is trained."""

import subprocess
import sys
from pathlib import Path

import pytest
from checkout import SUPPORT

from tasks.errors import UserError
from tasks.preflight import kill
from tasks.preflight.bench import Bench, Doubt
from tasks.workloads.workload import Workload

OWN = SUPPORT / "cases" / "own_fit.py"


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("home")


def rehearse(name: str, home: Path, scratch: Path) -> str:
    return kill.rehearse(Bench(f"{OWN}:{name}", Workload.defaults, home, scratch))


@pytest.mark.slow
@pytest.mark.parametrize("name", [pytest.param("workload", marks=pytest.mark.platform), "stepped"])
def test_one_that_goes_on_to_the_bit_is_told_so(name: str, home: Path, tmp_path: Path) -> None:
    assert rehearse(name, home, tmp_path) == "a killed training resumes to the bit"
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_one_that_draws_from_a_generator_that_is_not_kept_is_a_doubt(home: Path, tmp_path: Path) -> None:
    with pytest.raises(
        Doubt,
        match=r"resumes, with other weights: take training.batches\(epoch\), or give the DataLoader a generator",
    ):
        rehearse("with_a_generator", home, tmp_path)


WHOLE = kill.Result(best="a", last="b", resumed=False)


@pytest.mark.parametrize(
    ("first", "second", "said"),
    [
        (WHOLE, None, "never calls training.save"),
        (None, WHOLE, "never calls training.resume"),
        (None, WHOLE.model_copy(update={"resumed": True, "last": "c"}), "with other weights"),
        (None, WHOLE.model_copy(update={"resumed": True, "best": "c", "last": None}), "with other weights"),
    ],
)
def test_what_a_kill_would_cost_is_a_doubt(
    first: kill.Result | None,
    second: kill.Result | None,
    said: str,
    home: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    ends = iter([[WHOLE, first], [second]])
    monkeypatch.setattr(kill, "train_apart", lambda orders, name: next(ends))
    with pytest.raises(Doubt, match=said):
        rehearse("workload", home, tmp_path)


def test_one_that_had_nothing_left_to_offer_after_the_kill_is_right(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ends = iter([[WHOLE, None], [WHOLE.model_copy(update={"resumed": True, "last": None})]])
    monkeypatch.setattr(kill, "train_apart", lambda orders, name: next(ends))
    assert rehearse("workload", home, tmp_path) == kill.RIGHT


def test_one_that_fails_is_said_in_its_own_words(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = [
        sys.executable,
        "-c",
        "import sys; sys.stdin.read(); sys.exit('Traceback\\nWorkload own-fit: its fit offers nothing.')",
    ]
    start = subprocess.Popen
    monkeypatch.setattr(kill.subprocess, "Popen", lambda command, **options: start(words, **options))
    with pytest.raises(UserError, match="^Workload own-fit: its training fails: its fit offers nothing.$"):
        rehearse("workload", home, tmp_path)
