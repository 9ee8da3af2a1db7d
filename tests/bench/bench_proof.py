"""Promotions raced and killed in full numbers, rollback, verification, and the cost of validating digits."""

import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

import promotions
import proved
from figures import listed, published

sys.path.append(str(Path(__file__).parents[1] / "support"))

from mlflow_process import MlflowProcess
from stated import sealed

from tasks.attestation.bundle import ATTESTATIONS, check_statements, write_statements
from tasks.config import Gates
from tasks.promotion.champion import promote
from tasks.promotion.ledger import read_ledger
from tasks.promotion.manual import roll_back_to
from tasks.promotion.permits import grant
from tasks.promotion.verification import verify
from tasks.proof.evidence import read
from tasks.proof.holdout import prove
from tasks.proof.validation import validate
from tasks.registry.registry import Registry
from tasks.settings import Settings

RACERS, KILLS, CANDIDATES = 50, 30, 8


def main() -> None:
    results: dict[str, Any] = {}
    with published("proof", "mlflow") as lines, tempfile.TemporaryDirectory() as temporary:
        home = Path(temporary)
        results |= contention(home / "contention")
        (home / "server").mkdir()
        with MlflowProcess(home / "server") as server:
            results |= going_back(home / "rollback", server.url)
            results |= stating(home / "rollback", server.url)
        results |= validation(home / "validation")
        lines += listed(results)


def settings(home: Path) -> Settings:
    home.mkdir(mode=0o700, parents=True)
    code = f"import mlflow; mlflow.MlflowClient('sqlite:///{home / 'mlflow.db'}').search_experiments()"
    subprocess.run([sys.executable, "-W", "ignore", "-c", code], check=True, capture_output=True)
    return Settings(home=home, tracking_uri=f"sqlite:///{home / 'mlflow.db'}")


def contention(home: Path) -> dict[str, Any]:
    """Fifty at once; then thirty one after the other, each killed at a random moment of its own promotion."""
    where = settings(home)
    registry = Registry(where)
    first, *others = promotions.register_bare(registry, "race", RACERS + 1)
    promote(registry, first, against=None, why="the first")
    started = time.perf_counter()
    told = promotions.race(where, others, against=1)
    seconds = time.perf_counter() - started
    promotions.check(registry, read_ledger(registry, "race"))
    assert (
        told.count("promoted") == 1
        and sum("judged against champion v1" in line for line in told) == RACERS - 1
    ), told

    first, *others = promotions.register_bare(registry, "kill", KILLS + 1)
    started = time.perf_counter()
    promote(registry, first, against=None, why="the first")
    longest = 1.0 * (time.perf_counter() - started)
    outcomes = Counter(promotions.kill_drill(where, "kill", others, longest))
    return {
        f"{RACERS} promotions raced": f"1 promoted, {RACERS - 1} told, chain whole, {seconds:.1f} s",
        f"{KILLS} promotions killed": f"{dict(outcomes)}; always a champion, ledger repaired",
    }


def going_back(home: Path, address: str) -> dict[str, Any]:
    """Rollback and verification with MLflow running, in this process and as commands that start from nothing."""
    home.mkdir(mode=0o700)
    where = Settings(home=home, tracking_uri=address)
    os.environ.update(SLIPWAY_HOME=str(home), MLFLOW_TRACKING_URI=address)
    registry = Registry(where)
    for number, weight in enumerate((1.0, 2.0, 3.0)):
        version = promotions.register(registry, "digits", home, weight, champion=number or None)
        promote(registry, version, against=number or None, why="better")
    results = {
        "rollback in process, s": timed(lambda: roll_back_to(where, "digits", why="in process")),
        "verify in process, s": timed(lambda: verify(where, "digits")),
    }
    command = [sys.executable, "-m", "flows.cli"]
    words = ("rollback digits --reason bench --to 3", "rollback digits --reason bench --to 2")
    for name, turns in (
        ("rollback", words),
        ("verify", ("verify digits",) * 3),
        ("history", ("history digits",) * 3),
    ):
        used, walls = children(), [timed(lambda turn=turn: run([*command, *turn.split()])) for turn in turns]
        results[f"slipway {name}, s"] = statistics.median(walls)
        results[f"slipway {name}, CPU s"] = round((children() - used) / len(turns), 2)
    return results


def stating(home: Path, address: str) -> dict[str, Any]:
    """What a version and its promotion cost more since there are statements: each part with MLflow running, the middle of 20."""
    registry = Registry(Settings(home=home, tracking_uri=address))
    folder = sealed(home / "stated" / "digits-v4")
    evidence, version = read(folder), registry.by_alias("digits", "champion")
    assert version is not None
    grants = iter(range(1, 1000))
    parts = {
        "made and signed": lambda: write_statements(folder, evidence),
        "logged": lambda: registry.log_file(version.run_id, folder / ATTESTATIONS),
        "checked": lambda: check_statements(folder, evidence),
        "the permit written anew": lambda: grant(
            registry, version, basis="gate", why="better", by="the gate", entry=f"{next(grants):064x}"
        ),
    }
    middle = {name: statistics.median(timed(part, 4) for _ in range(20)) for name, part in parts.items()}
    upload = middle["logged"]  # beside the version's other files, once more
    return {f"statements {name}, s": round(seconds, 4) for name, seconds in middle.items()} | {
        "statements, all that a promotion costs more, s": round(sum(middle.values()) + upload, 3)
    }


def children() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def validation(home: Path) -> dict[str, Any]:
    """Eight candidates of digits on the validation rows, then the proof of one: what validating adds to a run."""
    from tasks.onnx.package import build_folder

    dataset, fp32 = proved.make_digits(home)
    assert fp32.onnx is not None
    validate("digits", dataset, fp32, fp32, home / "warm")
    started = time.perf_counter()
    for number in range(CANDIDATES):
        candidate = fp32.model_copy(update={"name": f"candidate-{number}"})
        assert validate("digits", dataset, candidate, fp32, home / "reports").problems == ()
    reports = time.perf_counter() - started
    build_folder(fp32.onnx, dataset, home / "package")
    started = time.perf_counter()
    proof = prove("digits", dataset, fp32, fp32, None, Gates(), home / "package", home / "proof")
    assert proof.trial is not None and proof.trial.problems == ()
    proving = time.perf_counter() - started
    return {
        f"validate {CANDIDATES} candidates, s": round(reports, 1),
        "prove the pick (test rows, sea trial), s": round(proving, 1),
        "both, s": round(reports + proving, 1),
    }


def timed(function: Any, places: int = 2) -> float:
    started = time.perf_counter()
    function()
    return round(time.perf_counter() - started, places)


def run(command: list[str]) -> None:
    subprocess.run(command, check=True, capture_output=True)


if __name__ == "__main__":
    main()
