"""Engines in one run: the same files in ONNX Runtime and in OpenVINO, against ONNX Runtime's fp32.

CPU time of one thread, taking turns; batches of 1, of eight sizes from 1 to 64, and of 64; ratios are medians of rounds with their 95% intervals.
Weights are as they are born, for how fast a file is does not hang on them: what a score does is seen in runs. MiniLM where its package is installed.
"""

import json
import os
import sys
import tempfile
import time
import warnings
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import compress_models
import numpy as np
import onnx
import torch
from onnxruntime.quantization import CalibrationDataReader, QuantType, quantize_dynamic, quantize_static
from torch import nn

from tasks.compression.graph import prepare
from tasks.compression.quantiser_output import without_quantiser_output
from tasks.compression.quantization import Quantization
from tasks.engines import ONNX_RUNTIME, Engine
from tasks.errors import UserError
from tasks.onnx.engines import SUPPORT, described, missing, open_in
from tasks.onnx.session import Session
from tasks.proof.speed import median_interval
from tasks.system.files import write_atomically
from tasks.system.processor import first_of
from tasks.workloads.examples import topics

HOME = (Path(os.environ.get("SLIPWAY_HOME") or ".slipway") / "bench").absolute()
SIZES = {"1": (1,), "mixed": (7, 1, 38, 2, 64, 13, 4, 24), "64": (64,)}
ROUND_SECONDS, LEAST, ROUNDS = 0.03, 5, 15
CELL_SECONDS = 20.0
OTHERS = ("openvino:bf16", "openvino:fp32")

Arrays = dict[str, np.ndarray[Any, Any]]


class Subject(NamedTuple):
    """A model with 64 rows, and how ONNX Runtime quantises it best."""

    module: nn.Module
    rows: Arrays
    axes: dict[int, str]
    static: bool


class Residual(nn.Module):
    """0.3 million weights, 32 to 128 channels."""

    def __init__(self) -> None:
        super().__init__()

        def layer(taken: int, given: int, stride: int = 1) -> nn.Module:
            return nn.Sequential(
                nn.Conv2d(taken, given, 3, stride, 1, bias=False), nn.BatchNorm2d(given), nn.ReLU()
            )

        self.stem, self.first = layer(1, 32), layer(32, 32)
        self.down, self.second = layer(32, 64, 2), nn.Sequential(layer(64, 64), layer(64, 64))
        self.last, self.head = layer(64, 128, 2), nn.Linear(128, 10)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        hidden = self.stem(image)
        hidden = self.down(hidden + self.first(hidden))
        logits: torch.Tensor = self.head(self.last(hidden + self.second(hidden)).mean((2, 3)))
        return logits


def subjects() -> dict[str, Subject]:
    random = np.random.default_rng(0)
    image = {"image": random.random((64, 1, 28, 28), "float32")}
    words = {"words": random.integers(1, compress_models.WORDS, (64, compress_models.LENGTH))}
    found = {
        "CNN": Subject(compress_models.ImageNet(), image, {}, True),
        "residual CNN": Subject(Residual(), image, {}, True),
        "transformer": Subject(compress_models.Transformer(), words, {1: "length"}, False),
        "MLP": Subject(compress_models.build_mlp(), {"genes": random.random((64, 765), "float32")}, {}, True),
    }
    try:
        topics.base_file("model.safetensors")
    except UserError as error:
        print(f"without MiniLM: {error}", file=sys.stderr)
        return found
    ids, mask = random.integers(1000, 30_000, (64, 32)), np.ones((64, 32), "int64")
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
    recipe = Quantization(mode="static" if subject.static else "dynamic")
    ready = prepare(fp32, folder)
    types = [*recipe.types_for(onnx.load(ready))]
    with without_quantiser_output():
        if subject.static:
            quantize_static(
                ready, int8, _Rows(subject.rows), op_types_to_quantize=types, per_channel="Conv" in _kinds(ready),
                weight_type=QuantType.QInt8, activation_type=QuantType.QUInt8,
            )  # fmt: skip
        else:
            quantize_dynamic(ready, int8, op_types_to_quantize=types)
    return {"fp32": fp32, "int8": int8}


def _kinds(path: Path) -> set[str]:
    return {node.op_type for node in onnx.load(path).graph.node}


def opened(files: dict[str, Path]) -> dict[str, Session]:
    """By what is said in the table, the baseline first."""
    sessions = {}
    for engine in (ONNX_RUNTIME, *map(Engine.parse, OTHERS)):
        if (reason := missing(engine)) is not None:
            print(f"without {engine.choice}: {reason}", file=sys.stderr)
            continue
        for numbers, path in files.items():
            if (engine.numbers, numbers) != ("fp32", "int8"):
                whole = described(engine, numbers)
                sessions[f"{whole.name} {whole.precision}"] = open_in(engine, path)
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


def main() -> None:
    warnings.simplefilter("ignore")
    torch.manual_seed(0)
    torch.set_num_threads(1)
    found = {kind: first_of(names) for kind, names in SUPPORT.items()}
    processor = next(
        (
            line.partition(": ")[2]
            for line in Path("/proc/cpuinfo").read_text().splitlines()
            if line.startswith("model name")
        ),
        "?",
    )
    about = f"{time.strftime('%Y-%m-%d')}, {processor}, {os.cpu_count()} cores, {found}, load {os.getloadavg()[0]:.1f}"
    versions = " and ".join(
        f"{e.name} {described(e, 'fp32').version}" for e in map(Engine.parse, ("onnxruntime", "openvino"))
    )
    print(
        f"{about}; {versions}\n\n| model | engine, precision | batch 1 | mixed | 64 | largest difference |\n|---|---|---|---|---|---|"
    )
    lines = []
    for name, subject in subjects().items():
        with tempfile.TemporaryDirectory() as folder:
            sessions = opened(exported(subject, Path(folder)))
        expected = next(iter(sessions.values())).run(None, subject.rows)[0]
        race = partial(compared, sessions, subject.rows)
        measured = {batch: race(sizes) for batch, sizes in SIZES.items()}
        for label, session in [*sessions.items()][1:]:
            far = float(np.abs(session.run(None, subject.rows)[0] - expected).max())
            ratios = {batch: measured[batch][label] for batch in SIZES}
            said = " | ".join(
                f"{middle:.2f}× ({low:.2f}–{high:.2f})" for middle, low, high in ratios.values()
            )
            print(f"| {name} | {label} | {said} | {far:.1g} of {np.abs(expected).max():.2g} |", flush=True)
            lines.append({"model": name, "engine": label, "ratios": ratios, "difference": far})
    write_atomically(HOME / "engines.json", json.dumps({"about": about, "lines": lines}, indent=1).encode())


if __name__ == "__main__":
    main()
