"""Compression in one run: a CNN, a transformer, a biLSTM and an MLP; our recipes against Olive and NNCF, which get environments of their own.

All files are measured by tasks/proof/speed.py in this process: one thread, taking turns with fp32. Scores are on the test rows, which nothing here
chose by. Trained fp32 models are kept under .slipway/bench; recipes are made anew each time.
"""

import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from figures import published, table

from tasks.compression.candidate import compress
from tasks.compression.graph import has_attention
from tasks.compression.int8_support import multiplies_int8_exactly
from tasks.data.dataset import prepare, read_split
from tasks.onnx.export import export, export_module
from tasks.onnx.session import open_session, run_rows
from tasks.proof.speed import gzipped_size, measure
from tasks.recipes import Recipe
from tasks.records import Candidate, Checkpoint, Dataset
from tasks.training.module import build_module
from tasks.training.trainer import train
from tasks.workloads.catalogue import load_workload
from tasks.workloads.scoring import score
from tasks.workloads.workload import Workload

HERE = Path(__file__).parent
HOME = (Path(os.environ.get("SLIPWAY_HOME") or ".slipway") / "bench").absolute()
PINS = {
    "nncf": ["nncf==3.4.0", "onnx==1.23.2", "onnxruntime==1.31.1"],
    "olive": [
        "torch==2.13.0",
        "olive-ai==0.13.0",
        "requests",
        "onnx==1.23.2",
        "onnxruntime==1.31.1",
        "onnxscript==0.7.2",
    ],
    "genes": ["--no-deps", "scanpy", "h5py", "numpy==2.4.6"],
}
STATIC = {"kind": "quantize", "mode": "static"}
DYNAMIC = {"kind": "quantize", "mode": "dynamic"}


def pruned(ratio: float, epochs: int, **knobs: object) -> dict[str, object]:
    return {"kind": "prune", "ratio": ratio, "epochs": epochs, **knobs}


RECIPES: dict[str, dict[str, list[dict[str, object]]]] = {
    "cnn": {
        "int8-static": [STATIC],
        "int8-dynamic": [{**DYNAMIC, "op_types": "all"}],
        "pruned-50-int8": [pruned(0.5, 3), STATIC],
        "pruned-60-int8": [pruned(0.6, 4), STATIC],
    },
    "transformer": {"int8-dynamic": [DYNAMIC], "int8-static": [STATIC], "float16": [{"kind": "float16"}]},
    "bilstm": {"int8-dynamic": [DYNAMIC], "int8-static": [STATIC]},
    "mlp": {
        "int8-static": [STATIC],
        "int8-dynamic": [DYNAMIC],
        "pruned-50-int8": [pruned(0.5, 40, teacher=False, lr=3e-4), STATIC],
    },
}


@dataclass
class Row:
    """One file's line in the table; ratios against the model's fp32 file."""

    model: str
    method: str
    size: float | None = None
    gzipped: float | None = None
    latency_1: float | None = None
    throughput_64: float | None = None
    interval_64: tuple[float, float] | None = None
    score: float | None = None
    drop: float | None = None
    seconds: float | None = None
    said: str = ""


def main() -> None:
    if sys.argv[1:2] == ["--quantise-large"]:
        return _quantise_large(Path(sys.argv[2]))
    names = sys.argv[1:] or list(RECIPES)
    fetch_data()
    with published("compress", "torch", "onnxruntime") as lines:
        rows = [row for name in names for row in _compare(name)]
        lines += [
            f"One thread, {_dot_products()}. Against the model's fp32 file:",
            "",
            *table(HEADS, map(cells, rows)),
        ]
        large = _large()
        lines += [
            "",
            f"{large['parameters'] / 1e6:.1f} million parameters, static int8: {large['seconds']:.1f} s, {large['gigabytes']:.2f} GB.",
        ]


def _compare(name: str) -> list[Row]:
    reference = f"{HERE / 'compress_models.py'}:{name}"
    workload, folder = load_workload(reference), HOME / "compress" / name
    dataset = prepare(reference, workload.data, folder / "data")
    checkpoint = train(reference, dataset, workload.train, folder / "train")
    rows = []
    with tempfile.TemporaryDirectory(dir=folder) as scratch:
        fp32 = export(
            reference, dataset, checkpoint, Path(scratch) / "fp32.onnx", metadata={"workload": name}
        )
        rows.append(row_of(workload, dataset, fp32, "fp32", fp32, 0.0))
        for recipe in recipes_of(name):
            started = time.perf_counter()
            made = compress(
                *(reference, dataset, checkpoint, fp32, recipe, Path(scratch) / recipe.name),
                *(workload.train, workload.gates),
            )
            rows.append(row_of(workload, dataset, fp32, recipe.name, made, time.perf_counter() - started))
        for tool in ("olive", "nncf"):
            rows += _theirs(tool, workload, dataset, fp32, Path(scratch))
    return rows


def _large() -> dict[str, float]:
    """Time and memory of a process that quantises ten million parameters statically, all its imports included."""
    with tempfile.TemporaryDirectory(dir=HOME) as scratch:
        subprocess.run([sys.executable, __file__, "--quantise-large", scratch], check=True)
        measured: dict[str, float] = json.loads((Path(scratch) / "found.json").read_text())
    return measured


def _quantise_large(folder: Path) -> None:
    """Weights as they are born: what it costs does not depend on what they learnt."""
    import resource

    reference = f"{HERE / 'compress_models.py'}:large"
    workload = load_workload(reference)
    dataset = prepare(reference, workload.data, HOME / "compress" / "large" / "data")
    module = build_module(workload, dataset)
    fp32 = Candidate(name="fp32", onnx=export_module(module, workload, dataset, folder / "fp32.onnx", {}))
    recipe = Recipe.model_validate({"name": "int8-static", "steps": [{**STATIC, "repair_seconds": 0}]})
    nothing = Checkpoint(path=folder, sha256="", epoch=0, step=0, score=0, stopped="", metrics=folder)
    started = time.perf_counter()
    made = compress(reference, dataset, nothing, fp32, recipe, folder, workload.train, workload.gates)
    assert made.onnx is not None, made.refused
    measured = {
        "parameters": float(sum(parameter.numel() for parameter in module.parameters())),
        "seconds": time.perf_counter() - started,
        "gigabytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6,
    }
    (folder / "found.json").write_text(json.dumps(measured))


def recipes_of(name: str) -> list[Recipe]:
    return [Recipe.model_validate({"name": key, "steps": steps}) for key, steps in RECIPES[name].items()]


def _theirs(tool: str, workload: Workload, dataset: Dataset, fp32: Candidate, folder: Path) -> list[Row]:
    assert fp32.onnx is not None
    python = environment(tool)
    rows_path = folder / "rows.npz"
    np.savez(rows_path, **{k: v[:512] for k, v in read_split(dataset, "train").inputs.items()})
    import onnx

    attention = "attention" if has_attention(onnx.load(fp32.onnx.path)) else "none"
    command = [python, HERE / "compress_peers.py", tool, fp32.onnx.path, rows_path, folder, attention]
    alone = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True, timeout=1800, env=alone)
    if done.returncode:
        return [_show(Row(workload.name, tool, said=done.stderr.strip().splitlines()[-1][:120]))]
    rows = []
    for method, result in json.loads(done.stdout.strip().splitlines()[-1]).items():
        if "error" in result:
            rows.append(_show(Row(workload.name, method, said=result["error"])))
            continue
        onnx_model = fp32.onnx.model_copy(update={"path": Path(result["path"])})
        rows.append(
            row_of(
                workload, dataset, fp32, method, Candidate(name="peer", onnx=onnx_model), result["seconds"]
            )
        )
    return rows


def row_of(
    workload: Workload, dataset: Dataset, fp32: Candidate, method: str, candidate: Candidate, seconds: float
) -> Row:
    if candidate.onnx is None:
        return _show(Row(workload.name, method, said=f"refused: {candidate.refused}"))
    assert fp32.onnx is not None
    test, ours, base = read_split(dataset, "test"), candidate.onnx.path, fp32.onnx.path
    try:
        single, many = measure(ours, base, test.inputs, seconds=3)
        value = score(workload, test.target, run_rows(open_session(ours), test.inputs))
    except Exception as error:
        return _show(
            Row(workload.name, method, said=f"{type(error).__name__}: {error}".splitlines()[0][:120])
        )
    return _show(
        Row(
            workload.name,
            method,
            size=ours.stat().st_size / base.stat().st_size,
            gzipped=gzipped_size(ours) / gzipped_size(base),
            latency_1=single.throughput_ratio,
            throughput_64=many.throughput_ratio,
            interval_64=(many.interval.low, many.interval.high),
            score=value,
            drop=score(workload, test.target, run_rows(open_session(base), test.inputs)) - value,
            seconds=seconds,
            said="; ".join(candidate.notes),
        )
    )


HEADS = (
    "model",
    "recipe or tool",
    "size",
    "gzipped",
    "at 1",
    "at 64",
    "score",
    "points less",
    "made in, s",
    "",
)


def cells(row: Row) -> tuple[str, ...]:
    if row.size is None or row.interval_64 is None:
        return row.model, row.method, *[""] * (len(HEADS) - 3), row.said
    low, high = row.interval_64
    times = (f"{row.latency_1:.2f}×", f"{row.throughput_64:.2f}× ({low:.2f}–{high:.2f})")
    scores = (f"{row.score:.4f}", f"{100 * (row.drop or 0):+.2f}")
    return (
        row.model,
        row.method,
        f"{row.size:.1%}",
        f"{row.gzipped:.1%}",
        *times,
        *scores,
        f"{row.seconds:.1f}",
        row.said[:60],
    )


def _show(row: Row) -> Row:
    """As it comes; the table stands at the end."""
    print("  ".join(filter(None, cells(row))), file=sys.stderr, flush=True)
    return row


def environment(name: str) -> Path:
    """The peer's own Python, made on first use."""
    folder = HOME / "envs" / name
    ready = folder / "ready"
    if not ready.exists():
        subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True)
        subprocess.run(
            [str(folder / "bin" / "python"), "-m", "pip", "install", "-q", *PINS[name]], check=True
        )
        ready.touch()
    return folder / "bin" / "python"


def fetch_data() -> None:
    """What the models learn from, where it is not there yet."""
    _fetch_glosses()
    _fetch_genes()


def _fetch_glosses() -> None:
    """WordNet's nouns out of Debian's package, unpacked and not installed."""
    target = HOME / "wordnet" / "data.noun"
    if target.exists():
        return
    installed = Path("/usr/share/wordnet/data.noun")
    target.parent.mkdir(parents=True, exist_ok=True)
    if installed.exists():
        shutil.copyfile(installed, target)
        return
    with tempfile.TemporaryDirectory() as scratch:
        subprocess.run(["apt-get", "download", "-q", "wordnet-base"], cwd=scratch, check=True)
        (package,) = Path(scratch).glob("*.deb")
        subprocess.run(["dpkg", "-x", str(package), scratch], check=True)
        shutil.copyfile(Path(scratch) / "usr/share/wordnet/data.noun", target)


def _fetch_genes() -> None:
    """The cells that scanpy ships, read by path in an environment that has h5py."""
    target = HOME / "genes.npz"
    if not target.exists():
        subprocess.run([str(environment("genes")), "-c", _READ_CELLS, str(target)], check=True)


_READ_CELLS = """
import importlib.util, pathlib, sys
import h5py, numpy
path = pathlib.Path(importlib.util.find_spec("scanpy").origin).parent / "datasets" / "10x_pbmc68k_reduced.h5ad"
with h5py.File(path) as file:
    codes, names = file["obs"]["bulk_labels"], file["uns"]["bulk_labels_categories"][:]
    numpy.savez(sys.argv[1], genes=file["X"][:], type=names.astype("U")[codes])
"""


def _dot_products() -> str:
    return "with 8-bit dot products" if multiplies_int8_exactly() else "without VNNI"


if __name__ == "__main__":
    main()
