"""Versions to promote, and what must hold of a registry however promotions of them ended: for tests and the benchmark."""

import contextlib
import datetime
import json
import multiprocessing
import os
import random
import shutil
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from onnx import TensorProto, helper, numpy_helper

from tasks.errors import RefusedError
from tasks.measured import Proof, Report, Verdict
from tasks.promotion.champion import model_lock, promote, repair
from tasks.promotion.entries import Ledger
from tasks.promotion.ledger import read_ledger
from tasks.proof import evidence
from tasks.proof.evidence import Evidence
from tasks.proof.provenance import Code
from tasks.records import OnnxModel, Version
from tasks.registry.registry import Registry
from tasks.registry.tags import EVIDENCE_TAG, VERDICT_TAG
from tasks.settings import Settings
from tasks.system.files import sha256_of


def write_model(path: Path, weight: float = 2.0) -> None:
    """logits = x · weight, as a file of a few hundred bytes."""
    graph = helper.make_graph(
        [helper.make_node("MatMul", ["x", "w"], ["logits"])],
        "toy",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", 4])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["batch", 3])],
        [numpy_helper.from_array(np.full((4, 3), weight, "float32"), "w")],
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    proto = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    path.write_bytes(proto.SerializeToString())


def make_evidence(
    sha256: str,
    model: str,
    decision: str = "pass",
    champion: int | None = None,
    run_id: str = "0" * 32,
) -> Evidence:
    report = Report(
        name="fp32", split="test", rows=360, score=0.98, score_name="accuracy", sha256=sha256, size_bytes=300
    )
    verdict = Verdict(decision=decision, reasons=("accuracy 0.98 on 360 test rows",))  # type: ignore[arg-type]
    return Evidence(
        model=model,
        workload=model,
        created=datetime.datetime(2026, 11, 22, tzinfo=datetime.UTC),
        model_sha256=sha256,
        run_id=run_id,
        fingerprint="f" * 64,
        rows={"train": 1000, "validation": 200, "test": 360},
        checkpoint_sha256="c" * 64,
        code=Code(revision="a" * 40, dirty=False),
        config={"gates": {}, "data": {}},
        libraries={"python": "3.11"},
        machine="a test",
        candidates=(report,),
        picked="fp32",
        proof=Proof(report=report, baseline=report, verdict=verdict),
        champion=champion,
    )


def seal_folder(
    folder: Path,
    model: str,
    weight: float,
    decision: str = "pass",
    champion: int | None = None,
    run_id: str = "0" * 32,
    output: str = "logits",
) -> str:
    """An MLflow folder of a toy model with signed evidence; the evidence's digest. `output`: what its signature calls that."""
    write_model(folder / "model.onnx", weight)
    sides = {
        side: json.dumps([{"name": name, "tensor-spec": {"dtype": "float32", "shape": [-1, width]}}])
        for side, name, width in (("inputs", "x", 4), ("outputs", output, 3))
    }
    flavors = {"onnx": {"data": "model.onnx"}}
    (folder / "MLmodel").write_text(json.dumps({"flavors": flavors, "signature": sides}))
    (folder / "serving_input_example.json").write_text(json.dumps({"inputs": {"x": [[1.0, 2.0, 3.0, 4.0]]}}))
    found = make_evidence(sha256_of(folder / "model.onnx"), model, decision, champion, run_id)
    return evidence.seal(folder, found.model_copy(update={"files": evidence.files_beside(folder)}))


def register(
    registry: Registry,
    model: str,
    scratch: Path,
    weight: float,
    decision: str = "pass",
    champion: int | None = None,
    elsewhere: str = "",
    output: str = "logits",
) -> Version:
    """A real version: sealed, uploaded, registered as the pipeline does; `elsewhere`: the run of another registry that made it."""
    folder = scratch / f"{model}-{weight}"
    run_id = registry.start_run(model, "run", {})
    digest = seal_folder(folder, model, weight, decision, champion, elsewhere or run_id, output)
    model_id = str(
        registry.client.create_logged_model(
            registry.experiment(model), name="fp32", source_run_id=run_id
        ).model_id
    )
    path = folder / "model.onnx"
    described = OnnxModel(
        path=path, sha256=sha256_of(path), size_bytes=300, opset=18, exporter="hand", inputs=(), outputs=()
    )
    version = registry.register(
        run_id, model, model_id, folder, described, {EVIDENCE_TAG: digest, VERDICT_TAG: decision}
    )
    registry.finish_run(run_id)
    shutil.rmtree(folder)
    return version


def register_bare(registry: Registry, model: str, count: int) -> list[Version]:
    """Versions without files, made quickly, for what only moves aliases."""
    if registry.model_tags(model) is None:
        registry.client.create_registered_model(model)
    tags = {VERDICT_TAG: "pass", EVIDENCE_TAG: "e" * 64}
    run = registry.client.create_run(registry.experiment(model))
    source, run_id = f"{run.info.artifact_uri}/model", run.info.run_id
    made = [registry.client.create_model_version(model, source, run_id, tags) for _ in range(count)]
    return [Version(model=model, version=int(one.version), sha256="", run_id=run_id) for one in made]


def race(settings: Settings, versions: list[Version], against: int | None) -> list[str]:
    """Promote every version at once, each from a process of its own; what each was told ("promoted", or why not)."""
    context = multiprocessing.get_context("fork")
    start, told = context.Event(), context.Queue()

    def one(version: Version) -> None:
        registry = Registry(settings)
        start.wait()
        try:
            with model_lock(settings, version.model, 300):
                promote(
                    registry, version, against=against, why="it won the race", who=f"racer {version.version}"
                )
            told.put("promoted")
        except RefusedError as error:
            told.put(str(error))
        except BaseException as error:
            told.put(f"{type(error).__name__}: {error}")

    racers = [context.Process(target=one, args=(version,)) for version in versions]
    for racer in racers:
        racer.start()
    start.set()
    found = [told.get(timeout=300) for _ in racers]
    for racer in racers:
        racer.join()
    return found


def promote_and_be_killed(settings: Settings, version: Version, against: int | None, seconds: float) -> bool:
    """Promote in a process that gets SIGKILL after `seconds`; whether it was killed before it had ended."""
    context = multiprocessing.get_context("fork")
    ready = context.Event()

    def one() -> None:
        registry = Registry(settings)
        registry.by_alias(version.model, "champion")  # connected before the clock starts
        ready.set()
        with model_lock(settings, version.model):
            promote(registry, version, against=against, why="promoted by one that may die", who="victim")
        os._exit(0)

    victim = context.Process(target=one)
    victim.start()
    ready.wait()
    time.sleep(seconds)
    assert victim.pid is not None
    with contextlib.suppress(ProcessLookupError):
        os.kill(victim.pid, signal.SIGKILL)
    victim.join()
    return victim.exitcode == -signal.SIGKILL


def kill_drill(
    settings: Settings, model: str, versions: list[Version], longest: float, seed: int = 0
) -> Iterator[str]:
    """Promote versions one after the other, each killed at a random moment; what each attempt came to.

    After every kill the champion must be the old or the new version, and after the next repair the ledger true.
    """
    pick = random.Random(seed)
    for version in versions:
        registry = Registry(settings)
        before = registry.by_alias(model, "champion")
        against = before.version if before else None
        killed = promote_and_be_killed(settings, version, against, pick.uniform(0, longest))
        now = registry.by_alias(model, "champion")
        assert now is not None or before is None, "there is no champion"
        found = now.version if now else None
        assert found in (against, version.version), f"champion is {found}"
        with model_lock(settings, model):
            ledger = repair(registry, model)
        check(registry, ledger)
        decided = ledger.serving == version.version
        yield ("killed" if killed else "ended") + (", moved" if decided else ", not moved")


def check(registry: Registry, ledger: Ledger) -> None:
    """What must hold whenever nothing is under way."""
    champion, previous = (
        registry.by_alias(ledger.model, "champion"),
        registry.by_alias(ledger.model, "previous"),
    )
    assert ledger == read_ledger(registry, ledger.model)
    assert ledger.problems == ()
    assert (champion.version if champion else None) == ledger.serving
    assert (previous.version if previous else None) == ledger.before
    assert not any(entry.action == "repair" for entry in ledger.entries), (
        "a crash was taken for a move by hand"
    )
