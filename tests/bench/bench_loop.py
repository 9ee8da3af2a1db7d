"""Rows a second of the training loop against a bare torch loop over in-memory tensors, taking turns in one process.

Both train the small digits CNN with the same optimizer, clipping, schedule and validation each epoch, on one thread. Ours also reads mapped
arrays, checks every loss, logs and publishes metrics, shows progress and saves checkpoints; its start and its end count.
"""

import itertools
import json
import shutil
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import torch
from torch.nn import functional

from tasks.config import Data, Train
from tasks.data import prepare, read_split
from tasks.model import build_module
from tasks.optimise import learning_rate
from tasks.records import Dataset
from tasks.train import fit
from tasks.workloads import load_workload

ROUNDS = 5
CONFIG = Train(epochs=25, lr=2e-3, batch_size=64, patience=None, threads=1)


def bare(dataset: Dataset, fused: bool) -> float:
    """Rows a second of what people write first."""
    rows, validation = read_split(dataset, "train"), read_split(dataset, "validation")
    module = build_module(load_workload("digits"), dataset)
    torch.set_num_threads(1)
    x, y = torch.tensor(rows.inputs["image"]), torch.tensor(rows.target)
    vx, vy = torch.tensor(validation.inputs["image"]), torch.tensor(validation.target)
    optimizer = torch.optim.AdamW(
        module.parameters(), CONFIG.lr, weight_decay=CONFIG.weight_decay, fused=fused
    )
    steps = CONFIG.epochs * -(-len(x) // CONFIG.batch_size)
    step = 0
    start = time.perf_counter()
    for _ in range(CONFIG.epochs):
        module.train()
        for index in torch.randperm(len(x)).split(CONFIG.batch_size):
            optimizer.param_groups[0]["lr"] = learning_rate(CONFIG, step, steps)
            loss = functional.cross_entropy(module(x[index]), y[index])
            optimizer.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(module.parameters(), CONFIG.clip_norm)
            optimizer.step()
            step += 1
        module.eval()
        with torch.inference_mode():
            outputs = torch.cat([module(part) for part in vx.split(CONFIG.batch_size)])
            functional.cross_entropy(outputs, vy).item()
            (outputs.argmax(1) == vy).float().mean().item()
    return CONFIG.epochs * len(x) / (time.perf_counter() - start)


def ours(dataset: Dataset, folder: Path) -> float:
    """Rows a second of `fit`, from its call to its return."""
    rows, validation = read_split(dataset, "train"), read_split(dataset, "validation")
    workload = load_workload("digits")
    module = build_module(workload, dataset)
    published: list[object] = []
    shutil.rmtree(folder, ignore_errors=True)
    start = time.perf_counter()
    fit(
        module,
        rows,
        validation,
        CONFIG,
        folder,
        workload=workload,
        publish=published.extend,
        progress=lambda _: None,
    )
    return CONFIG.epochs * len(rows) / (time.perf_counter() - start)


def main() -> None:
    results: dict[str, list[float]] = {}
    with tempfile.TemporaryDirectory() as folder:
        dataset = prepare("digits", Data(), Path(folder))
        loops: dict[str, Callable[[], float]] = {
            "bare loop": lambda: bare(dataset, fused=True),
            "bare loop, optimizer not fused": lambda: bare(dataset, fused=False),
            "slipway": lambda: ours(dataset, Path(folder) / "train"),
        }
        orders = itertools.cycle(itertools.permutations(loops))
        for turn in range(ROUNDS + 1):
            for name in next(orders):
                speed = loops[name]()
                if turn:
                    results.setdefault(name, []).append(speed)
    table = {
        name: {
            "rows_per_second": statistics.median(results[name]),
            "ratio": statistics.median(
                a / b for a, b in zip(results[name], results["bare loop"], strict=True)
            ),
        }
        for name in loops
    }
    print(f"{'loop':32} {'rows/s':>8} {'to bare':>8}")
    for name, row in table.items():
        print(f"{name:32} {row['rows_per_second']:8,.0f} {row['ratio']:8.3f}")
    target = Path(".slipway/bench/loop.json")
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text(json.dumps(table, indent=1))


if __name__ == "__main__":
    main()
