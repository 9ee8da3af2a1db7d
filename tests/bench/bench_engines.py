"""Engines in one run: the same files in ONNX Runtime and in OpenVINO, against ONNX Runtime's fp32.

CPU time of one thread, taking turns; batches of 1, of eight sizes from 1 to 64, of 16, 32 and 64; ratios are medians of rounds with their 95% intervals.
8 bits are static, and dynamic for what has attention, of which a static file stands beside it.
Weights are as they are born, for how fast a file is does not hang on them: what a score does is seen in runs. *Half*: the network with half of each layer's
channels, which is what pruning leaves of it, against the whole one. MiniLM where its package is installed.

With `--peers` beside them what Olive and NNCF (OpenVINO's own tool) make of the same fp32 file, in both engines, in environments of their own,
and two ways that are no recipes: a transformer's graph optimised before it is quantised, and 8 bits but where they cost the answers most.
`--only NAME…` measures these models alone; `--profile` says instead on which operators ONNX Runtime spends their time, by its own profiler.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
import warnings
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import bench_compress
import compress_models
import numpy as np
import onnx
import onnxruntime
import torch
from figures import published, table
from onnxruntime.quantization import CalibrationDataReader, QuantType, quantize_dynamic, quantize_static
from torch import nn

from tasks.compression.graph import has_attention, prepare, weighted
from tasks.compression.quantiser_output import without_quantiser_output
from tasks.compression.quantization import Quantization
from tasks.engines import ONNX_RUNTIME, Engine
from tasks.errors import UserError
from tasks.onnx.engines import SUPPORT, described, missing, open_in
from tasks.onnx.session import Session
from tasks.proof.speed import median_interval
from tasks.system.processor import first_of
from tasks.workloads.examples import topics

HOME = (Path(os.environ.get("SLIPWAY_HOME") or ".slipway") / "bench").absolute()
SIZES = {"batch 1": (1,), "mixed, 1–64": (7, 1, 38, 2, 64, 13, 4, 24), "16": (16,), "32": (32,), "64": (64,)}
ROWS = 320
ROUND_SECONDS, LEAST, ROUNDS = 0.03, 5, 15
CELL_SECONDS = 20.0
PROFILED = 30
OTHERS = ("openvino:bf16", "openvino:fp32")
HALF = ", half"

Arrays = dict[str, np.ndarray[Any, Any]]


class Subject(NamedTuple):
    """A model with rows, of which 64 are raced on, and how ONNX Runtime quantises it best."""

    module: nn.Module
    rows: Arrays
    axes: dict[int, str]
    static: bool
    half: nn.Module | None = None


class Residual(nn.Module):
    """0.3 million weights, 32 to 128 channels."""

    def __init__(self, width: int = 32) -> None:
        super().__init__()

        def layer(taken: int, given: int, stride: int = 1) -> nn.Module:
            return nn.Sequential(
                nn.Conv2d(taken, given, 3, stride, 1, bias=False), nn.BatchNorm2d(given), nn.ReLU()
            )

        twice = 2 * width
        self.stem, self.first = layer(1, width), layer(width, width)
        self.down, self.second = (
            layer(width, twice, 2),
            nn.Sequential(layer(twice, twice), layer(twice, twice)),
        )
        self.last, self.head = layer(twice, 2 * twice, 2), nn.Linear(2 * twice, 10)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        hidden = self.stem(image)
        hidden = self.down(hidden + self.first(hidden))
        logits: torch.Tensor = self.head(self.last(hidden + self.second(hidden)).mean((2, 3)))
        return logits


def subjects() -> dict[str, Subject]:
    random = np.random.default_rng(0)
    image = {"image": random.random((ROWS, 1, 28, 28), "float32")}
    words = {"words": random.integers(1, compress_models.WORDS, (ROWS, compress_models.LENGTH))}
    found = {
        "CNN": Subject(compress_models.ImageNet(), image, {}, True),
        "residual CNN": Subject(Residual(), image, {}, True, Residual(16)),
        "small residual CNN": Subject(
            compress_models.SmallNet(), image, {}, True, compress_models.SmallNet(8)
        ),
        "transformer": Subject(compress_models.Transformer(), words, {1: "length"}, False),
        "MLP": Subject(
            compress_models.build_mlp(), {"genes": random.random((ROWS, 765), "float32")}, {}, True
        ),
    }
    try:
        topics.base_file("model.safetensors")
    except UserError as error:
        print(f"without MiniLM: {error}", file=sys.stderr)
        return found
    ids, mask = random.integers(1000, 30_000, (ROWS, 32)), np.ones((ROWS, 32), "int64")
    minilm = Subject(topics.build_model(), {"input_ids": ids, "attention_mask": mask}, {1: "length"}, False)
    return {**found, "MiniLM, 32 words": minilm}


class _Rows(CalibrationDataReader):  # type: ignore[misc]
    def __init__(self, rows: Arrays) -> None:
        self.rows: Iterator[Arrays] = iter([rows])

    def get_next(self) -> Arrays | None:
        return next(self.rows, None)


def exported(subject: Subject, folder: Path) -> dict[str, Path]:
    """The fp32 file and the one of 8 bits."""
    fp32, int8 = folder / "fp32.onnx", folder / "int8.onnx"
    axes = {
        name: {0: torch.export.Dim("batch")} | {a: torch.export.Dim(n) for a, n in subject.axes.items()}
        for name in subject.rows
    }
    arrays = tuple(torch.from_numpy(array) for array in subject.rows.values())
    torch.onnx.export(
        subject.module.eval(), arrays, fp32, input_names=[*subject.rows], output_names=["logits"], dynamic_shapes=tuple(axes.values()),
        dynamo=True, external_data=False, verbose=False,
    )  # fmt: skip
    _quantise(fp32, int8, subject)
    return {"fp32": fp32, "int8": int8}


def _quantise(fp32: Path, target: Path, subject: Subject, static: bool | None = None, **knobs: Any) -> None:
    """As the recipes do without their repair: by 64 rows."""
    static = subject.static if static is None else static
    ready = prepare(fp32, target.parent)
    types = [*Quantization(mode="static" if static else "dynamic").types_for(onnx.load(ready))]
    with without_quantiser_output():
        if static:
            rows = {name: array[:64] for name, array in subject.rows.items()}
            attention = has_attention(onnx.load(ready))
            options = {
                "MatMulConstBOnly": attention,
                "OpTypesToExcludeOutputQuantization": ["MatMul", "Gemm"] if attention else [],
            }
            quantize_static(
                ready, target, _Rows(rows), op_types_to_quantize=types, per_channel=attention or "Conv" in _kinds(ready),
                weight_type=QuantType.QInt8, activation_type=QuantType.QUInt8, extra_options=options, **knobs,
            )  # fmt: skip
        else:
            quantize_dynamic(ready, target, op_types_to_quantize=types, **knobs)


def attempts(fp32: Path, subject: Subject, folder: Path) -> dict[str, Path]:
    """What is tried and is no recipe, by what it is called."""
    ready = onnx.load(prepare(fp32, folder))
    made = {"8 bits but where they cost most": _mixed(fp32, ready, subject, folder)}
    if has_attention(ready):
        from onnxruntime.transformers.optimizer import optimize_model

        optimised, target = folder / "optimised.onnx", folder / "optimised-int8.onnx"
        model = optimize_model(str(fp32), "bert", opt_level=0)
        print(f"fused: {model.get_fused_operator_statistics()}", file=sys.stderr)
        del model.model.graph.value_info[:]  # it keeps the shapes that weights had before they were turned
        model.save_model_to_file(str(optimised))
        with without_quantiser_output():
            kinds = ["MatMul", "Attention", "Gemm"]
            # ONNX says nothing of what fused operators give
            known = {"DefaultTensorType": onnx.TensorProto.FLOAT}
            quantize_dynamic(optimised, target, op_types_to_quantize=kinds, extra_options=known)
        made |= {"fp32, optimised": optimised, "8 bits, optimised before": target}
    return made


def _mixed(fp32: Path, ready: onnx.ModelProto, subject: Subject, folder: Path) -> Path:
    """Static 8 bits without the quarter of the layers whose own 8 bits move the answers most."""
    rows = {name: array[:64] for name, array in subject.rows.items()}
    expected = open_in(ONNX_RUNTIME, fp32).run(None, rows)[0]
    target, moved = folder / "mixed.onnx", {}
    names = [node.name for node in weighted(ready, ("Conv", "Gemm", "MatMul"))]
    for name in names:
        _quantise(fp32, target, subject, static=True, nodes_to_quantize=[name])
        moved[name] = float(np.abs(open_in(ONNX_RUNTIME, target).run(None, rows)[0] - expected).max())
    kept = sorted(names, key=lambda name: moved[name])[: max(1, len(names) * 3 // 4)]
    _quantise(fp32, target, subject, static=True, nodes_to_quantize=kept)
    return target


def peers(fp32: Path, subject: Subject, folder: Path) -> dict[str, Path]:
    """What the others' tools make of the same file, by their names; what they refuse is said on stderr."""
    rows = folder / "rows.npz"
    np.savez(rows, **subject.rows)  # type: ignore[arg-type]
    attention = "attention" if has_attention(onnx.load(fp32)) else "none"
    made = {}
    for tool in ("nncf", "olive"):
        words = [bench_compress.environment(tool), bench_compress.HERE / "compress_peers.py", tool, fp32, rows, folder, attention]  # fmt: skip
        alone = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
        done = subprocess.run([*map(str, words)], capture_output=True, text=True, timeout=1800, env=alone)
        if done.returncode:
            print(f"{tool}: {done.stderr.strip().splitlines()[-1]}", file=sys.stderr)
            continue
        for method, result in json.loads(done.stdout.strip().splitlines()[-1]).items():
            if "error" in result:
                print(f"{method}: {result['error']}", file=sys.stderr)
            else:
                made[method] = Path(result["path"])
    return made


def _kinds(path: Path) -> set[str]:
    return {node.op_type for node in onnx.load(path).graph.node}


def opened(files: dict[str, Path]) -> dict[str, Session]:
    """By what is said in the table, the baseline first; 8 bits in the first of an engine's precisions that there is here."""
    sessions, quantised = {}, set[str]()
    for engine in (ONNX_RUNTIME, *map(Engine.parse, OTHERS)):
        if (reason := missing(engine)) is not None:
            print(f"without {engine.choice}: {reason}", file=sys.stderr)
            continue
        for numbers, path in files.items():
            if numbers == "fp32" or engine.name not in quantised:
                whole = described(engine, numbers)
                sessions[f"{whole.name} {whole.precision}"] = open_in(engine, path)
        quantised.add(engine.name)
    return sessions


def opened_beside(files: dict[str, Path], rows: Arrays) -> dict[str, Session]:
    """Others' files in ONNX Runtime and, in the first precision there is here, in OpenVINO: those that answer."""
    there = [engine for engine in map(Engine.parse, OTHERS) if missing(engine) is None][:1]
    sessions = {}
    for label, path in files.items():
        for engine in (ONNX_RUNTIME, *there):
            try:
                session = open_in(engine, path)
                session.run(None, rows)
                sessions[f"{engine.choice} {label}"] = session
            except Exception as error:
                print(f"{engine.choice} {label}: {str(error).splitlines()[0][:160]}", file=sys.stderr)
    return sessions


def compared(
    sessions: dict[str, Session], rows: Arrays, sizes: tuple[int, ...]
) -> dict[str, tuple[float, float, float]]:
    """How many times as fast as the first, with its interval."""
    feeds = [{name: array[:size].copy() for name, array in rows.items()} for size in sizes]
    for session in sessions.values():
        for feed in feeds:
            session.run(None, feed)
    slowest = max(_seconds(session, feeds) for session in sessions.values())
    again = max(1, min(200, round(ROUND_SECONDS / slowest)))
    ratios: dict[str, list[float]] = {name: [] for name in sessions}
    end = time.process_time() + CELL_SECONDS
    for number in range(ROUNDS):
        if number >= LEAST and time.process_time() > end:
            break
        order = [*sessions][:: -1 if number % 2 else 1]
        took = {name: _seconds(sessions[name], feeds * again) for name in order}
        for name in sessions:
            ratios[name].append(took[next(iter(sessions))] / took[name])
    return {name: median_interval(values) for name, values in ratios.items()}


def _seconds(session: Session, feeds: list[Arrays]) -> float:
    start = time.process_time()
    for feed in feeds:
        session.run(None, feed)
    return time.process_time() - start


def shares(path: Path, rows: Arrays, batch: int) -> dict[str, float]:
    """Of the time in operators, what each kind takes; those of a fiftieth or more."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.enable_profiling = 1, True
    options.profile_file_prefix = str(path.with_suffix(""))
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    for _ in range(PROFILED):
        session.run(None, {name: array[:batch] for name, array in rows.items()})
    took = Counter[str]()
    for event in json.loads(Path(session.end_profiling()).read_text()):
        if event.get("cat") == "Node" and event["name"].endswith("_kernel_time"):
            took[event["args"]["op_name"]] += event["dur"]
    return {kind: time / took.total() for kind, time in took.most_common() if time > took.total() / 50}


def profile(subject: Subject) -> None:
    with tempfile.TemporaryDirectory() as folder:
        for numbers, path in exported(subject, Path(folder)).items():
            for batch in (1, 16):
                said = (f"{kind} {share:.0%}" for kind, share in shares(path, subject.rows, batch).items())
                print(f"{numbers}, batch {batch}: {', '.join(said)}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--profile", action="store_true")
    parser.add_argument("--peers", action="store_true")
    parser.add_argument("--only", nargs="+")
    asked = parser.parse_args()
    warnings.simplefilter("ignore")
    torch.manual_seed(0)
    torch.set_num_threads(1)
    chosen = {name: each for name, each in subjects().items() if not asked.only or name in asked.only}
    if asked.profile:
        for name, subject in chosen.items():
            print(f"{name}:")
            profile(subject)
        return
    found = {kind: first_of(names) for kind, names in SUPPORT.items()}
    with published("engines, peers" if asked.peers else "engines", "onnxruntime", "openvino") as lines:
        rows = [row for name, subject in chosen.items() for row in raced(name, subject, asked.peers)]
        heads = ("model", "engine, precision", *SIZES, "largest difference")
        lines += [
            f"What it has for each precision: {found}. Against fp32 in ONNX Runtime:",
            "",
            *table(heads, rows),
        ]


def raced(name: str, subject: Subject, beside: bool) -> Iterator[tuple[str, ...]]:
    """A row for each engine and precision; with `beside` for others' files, too."""
    with tempfile.TemporaryDirectory() as folder:
        files = exported(subject, Path(folder))
        sessions = opened(files)
        if subject.half is not None:
            (half := Path(folder) / "half").mkdir()
            made = exported(subject._replace(module=subject.half), half)
            sessions |= {f"{label}{HALF}": session for label, session in opened(made).items()}
        if not subject.static:
            _quantise(files["fp32"], static := Path(folder) / "static.onnx", subject, static=True)
            sessions |= {f"{label}, static": each for label, each in opened({"int8": static}).items()}
        rows = {name: array[:64] for name, array in subject.rows.items()}
        if beside:
            fp32 = files["fp32"]
            others = {**attempts(fp32, subject, Path(folder)), **peers(fp32, subject, Path(folder))}
            sessions |= opened_beside(others, rows)
    expected = next(iter(sessions.values())).run(None, rows)[0]
    measured = {batch: compared(sessions, rows, sizes) for batch, sizes in SIZES.items()}
    for label, session in [*sessions.items()][1:]:
        far = float(np.abs(session.run(None, rows)[0] - expected).max())
        times = [
            f"{middle:.2f}× ({low:.2f}–{high:.2f})"
            for middle, low, high in (measured[batch][label] for batch in SIZES)
        ]
        print(f"{name}, {label}: {', '.join(times)}", file=sys.stderr, flush=True)
        yield (
            name,
            label,
            *times,
            "" if label.endswith(HALF) else f"{far:.1g} of {np.abs(expected).max():.2g}",
        )


if __name__ == "__main__":
    main()
