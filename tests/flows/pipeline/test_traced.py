"""No step runs code of ours that is not in its key: each runs on a small workload, and what it runs is noted."""

import ast
import os
import pickle
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from checkout import ROOT, SUPPORT

from flows.pipeline.context import RunContext
from flows.pipeline.definitions import Code
from flows.pipeline.names import WHOLE, Node
from flows.pipeline.reach import Reach, reach
from tasks.config import RunConfig
from tasks.settings import Settings
from tasks.training.proposal import Proposal
from tasks.training.tried import without_test
from tasks.workloads.catalogue import load_workload
from tasks.workloads.dependencies import slipway_names

BESIDE = {
    "tasks.reporting.cost": "what a step costs is no part of its result",
    "tasks.system.processes.cpu_seconds": "likewise",
    "tasks.training.progress.progress_bar": "what is shown meanwhile",
    "tasks.outcome": "the record of that cost",
    "tasks.system.memory": "a part of that cost",
    "tasks.config.flatten": "a key being made, which names what a step goes on from",
    "tasks.system.libraries.installed": "the same",
    "tasks.system.syntax": "the same",
    "tasks.workloads.dependencies": "the same",
    "tasks.workloads.origin": "the same",
    "tasks.registry": "training's metrics on their way to MLflow; a champion's bytes, whose digest the proof checks",
    "tasks.system.imports": "what of a library is read when, and not what it does",
    "tasks.settings": "where MLflow and the stores are",
    "tasks.proof.provenance": "the revision that is written into a file, so that a stray one can be traced",
}
"""Code of tasks/ that runs during a step and is in no key, with the reason."""

MINE = """
import numpy as np
import pandas as pd
import pandera.pandas as pa
from torch import nn
from tasks.config import Gates, Train
from tasks.workloads import Workload


def load():
    random = np.random.default_rng(3)
    frame = pd.DataFrame({"a": random.normal(size=600), "b": random.normal(size=600), "c": random.choice(["x", "y"], 600)})
    return frame.assign(y=(frame.a + frame.b > 0).astype("int64"))


def inputs(frame):
    return {"x": frame[["a", "b"]].to_numpy("float32")}


class Net(nn.Module):
    def __init__(self, width=32):
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(2, width), nn.ReLU(), nn.Linear(width, width), nn.ReLU(), nn.Linear(width, 2))

    def forward(self, x):
        return self.layers(x)


workload = Workload(
    name="mine", kind="classification", load=load, schema=pa.DataFrameSchema({"y": pa.Column("int64")}), target="y",
    inputs=inputs, model=Net, students={"small": lambda: Net(8)}, slices=("c",),
    train=Train(epochs=2, lr=0.01, threads=1, checkpoint_seconds=0),
    gates=Gates(folds=2, min_slice_rows=10, max_score_drop=0),
)
"""

RECIPES: list[dict[str, Any]] = [
    {"name": "pruned", "steps": [{"kind": "prune", "ratio": 0.5, "rounds": 2}]},
    {
        "name": "sparse",
        "steps": [
            {"kind": "prune", "method": "unstructured", "ratio": 0.5, "teacher": False, "epochs": 1},
            {"kind": "float16"},
        ],
    },
    {
        "name": "small",
        "steps": [{"kind": "distill", "student": "small"}, {"kind": "quantize", "mode": "static"}],
    },
    {"name": "dynamic", "steps": [{"kind": "quantize", "mode": "dynamic"}]},
    {"name": "entropy", "steps": [{"kind": "quantize", "mode": "static", "calibration": "entropy"}]},
]


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_no_function_of_ours_runs_outside_the_key_of_its_step(tmp_path: Path) -> None:
    file = tmp_path / "mine.py"
    file.write_text(MINE)
    settings = Settings(home=tmp_path, tracking_uri=f"sqlite:///{tmp_path / 'mlflow.db'}")
    context = RunContext(workload=str(file), model="mine", settings=settings)
    config = load_workload(str(file)).defaults().model_copy(update={"recipes": ()})
    context.folder.mkdir(parents=True)
    with Runner(tmp_path, context) as run:
        check_each_step(run, config)
    assert {
        "tasks.compression.sensitivity",
        "tasks.proof.first_run",
        "infra.serving.models.batching",
    } <= run.seen


def check_each_step(run: "Runner", config: RunConfig) -> None:
    (dataset,) = run("prepare", config=config.data)
    given = {"dataset": dataset, "model": None}
    (checkpoint,) = run("train", **given, config=config.train)
    proposal = Proposal(study="s", name="000", knobs={}, model=None, train=config.train, bar=(None, 1.1))
    (tried,) = run("try_training", dataset=without_test(dataset), training=proposal)
    assert tried.scores
    given["checkpoint"] = checkpoint
    (fp32,) = run("export", **given)
    recipes = RunConfig.model_validate({"recipes": RECIPES}).recipes
    given |= {"baseline": fp32, "train": config.train, "gates": config.gates}
    made = run("compress", *[{"recipe": recipe} for recipe in recipes], **given)
    assert [candidate.refused for candidate in made if candidate.onnx is None] == []
    run(
        "validate",
        *[{"candidate": candidate} for candidate in (fp32, *made[:2])],
        dataset=dataset,
        fp32=fp32,
        confidence=0.9,
    )
    (proof,) = run("prove", dataset=dataset, candidate=made[0], fp32=fp32, champion=None, gates=config.gates)
    assert proof.trial.problems == () and proof.trial.requests > 10
    run("cross_validate", dataset=dataset, config=config)


class Runner:
    """Runs steps, each in a process of its own, and holds the functions that ran against the step's key."""

    def __init__(self, folder: Path, context: RunContext) -> None:
        self._folder, self._context, self._code = folder, context, Code()
        self.seen: set[str] = set()
        path = os.pathsep.join(map(str, (ROOT, SUPPORT, SUPPORT / "tracing")))
        words = [sys.executable, str(SUPPORT / "traced_step.py"), str(folder)]
        pipe, environment = subprocess.PIPE, {**os.environ, "PYTHONPATH": path}
        self._steps = subprocess.Popen(words, env=environment, cwd=folder, stdin=pipe, stdout=pipe, text=True)

    def __enter__(self) -> "Runner":
        return self

    def __exit__(self, *_: object) -> None:
        self._steps.communicate()

    def __call__(self, step: str, *each: dict[str, Any], **same: Any) -> list[Any]:
        calls = [{"context": self._context, **same, **more} for more in each or ({},)]
        (self._folder / f"{step}.pickle").write_bytes(pickle.dumps(calls))
        os.mkfifo(self._folder / f"{step}.pipe")  # and not a file: the server's inspector may write none
        with (self._folder / f"{step}.trace").open("wb") as trace:
            with subprocess.Popen(["cat", f"{step}.pipe"], cwd=self._folder, stdout=trace):
                assert self._steps.stdin is not None and self._steps.stdout is not None
                self._steps.stdin.write(f"{step}\n")
                self._steps.stdin.flush()
                assert self._steps.stdout.readline() == "0\n", f"{step} failed"
        names = slipway_names(self._context.workload)
        outside = sorted(set(self._outside(step, reach(self._code, [f"flows.steps.{step}", *names]))))
        assert not outside, f"{step} runs what is not in its key: {', '.join(outside)}"
        results: list[Any] = pickle.loads((self._folder / f"{step}.results.pickle").read_bytes())
        return results

    def _outside(self, step: str, reached: Reach) -> Iterator[str]:
        for line in (self._folder / f"{step}.trace").read_text().splitlines():
            file, number, function = line.split("\t")
            module = ".".join(Path(file).relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
            if self._code.file(module) is None or module.startswith("flows."):
                continue
            self.seen.add(module)
            imports = {"<module>", "<genexpr>", "<listcomp>", "<dictcomp>", "<setcomp>"}
            *names, is_class = bound(Path(file), int(number))
            if f"{module}.{names[0] if names else ''}".startswith(tuple(BESIDE)):
                continue
            if (function in imports or (is_class and function == names[0])) and module in reached.modules:
                continue  # what importing it does is in the key if it does more than bind names
            if not any(Node(module, name) in reached.nodes for name in (WHOLE, *names)):
                yield f"{module}: {function}"


def bound(file: Path, line: int) -> Iterator[Any]:
    """The names of a module that the statement around a line binds; last, whether it is a class."""
    for statement in ast.parse(file.read_text()).body:
        first = min([statement.lineno, *(d.lineno for d in getattr(statement, "decorator_list", ()))])
        if first <= line <= (statement.end_lineno or 0):
            if isinstance(statement, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
                yield statement.name
            else:
                yield from (node.id for node in ast.walk(statement) if isinstance(node, ast.Name))
            yield isinstance(statement, ast.ClassDef)
            return
    yield False
