"""Rows a second of the training loop against a bare torch loop over in-memory tensors, taking turns by the epoch in one process.

Both train the small digits CNN with the same optimizer, clipping, schedule and validation each epoch, on one thread. Ours also reads mapped
arrays, checks every loss, logs and publishes metrics, shows progress and saves checkpoints. An epoch's ratio is against the bare epoch right
beside it, so that a machine that slows down slows both; what a training costs once (its start, its last save) stands in a row of its own.
Each round is a process of its own: where the same code lies in memory makes 0.965 of one and 0.986 of the next.
"""

import itertools
import multiprocessing
import statistics
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path

import torch
from figures import published, spread, table
from torch.nn import functional

from tasks.config import Data, Train
from tasks.data.dataset import prepare, read_split
from tasks.records import Dataset
from tasks.training.module import build_module
from tasks.training.optimizer import learning_rate
from tasks.training.progress import Progress
from tasks.training.trainer import fit
from tasks.workloads.catalogue import load_workload

ROUNDS = 12
CONFIG = Train(epochs=25, lr=2e-3, batch_size=64, patience=None, threads=1)


class Turn:
    """A training in a thread of its own that stops at the end of each epoch until it is asked for the next."""

    def __init__(self, train: Callable[[Callable[[], None]], None]) -> None:
        self.go, self.there = threading.Semaphore(0), threading.Semaphore(0)
        self.thread = threading.Thread(target=self._run, args=[train])
        self.thread.start()

    def _run(self, train: Callable[[Callable[[], None]], None]) -> None:
        self.go.acquire()
        train(self._pause)
        self.there.release()

    def _pause(self) -> None:
        self.there.release()
        self.go.acquire()

    def next(self) -> tuple[float, float]:
        """CPU and wall seconds until the next stop; the first stop is the start, the last the return."""
        cpu, wall = time.process_time(), time.perf_counter()
        self.go.release()
        self.there.acquire()
        return time.process_time() - cpu, time.perf_counter() - wall


def bare(dataset: Dataset, fused: bool, pause: Callable[[], None]) -> None:
    """What people write first."""
    rows, validation = read_split(dataset, "train"), read_split(dataset, "validation")
    module = build_module(load_workload("digits"), dataset)
    x, y = torch.tensor(rows.inputs["image"]), torch.tensor(rows.target)
    vx, vy = torch.tensor(validation.inputs["image"]), torch.tensor(validation.target)
    optimizer = torch.optim.AdamW(
        module.parameters(), CONFIG.lr, weight_decay=CONFIG.weight_decay, fused=fused
    )
    steps = CONFIG.epochs * -(-len(x) // CONFIG.batch_size)
    step = 0
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
        pause()


def ours(dataset: Dataset, folder: Path, pause: Callable[[], None]) -> None:
    """`fit`, which shows its progress at the end of each epoch at the latest."""
    rows, validation = read_split(dataset, "train"), read_split(dataset, "validation")
    workload = load_workload("digits")
    module = build_module(workload, dataset)
    published: list[object] = []
    done = 0

    def show(progress: Progress) -> None:
        nonlocal done
        if progress.step == (done + 1) * progress.steps // progress.epochs and progress.score is not None:
            done += 1
            pause()

    fit(
        module,
        rows,
        validation,
        CONFIG,
        folder,
        workload=workload,
        publish=published.extend,
        progress=show,
    )


def training(dataset: Dataset, folder: Path) -> tuple[dict[str, list[tuple[float, float]]], float]:
    """CPU and wall seconds of each epoch of each loop, and the CPU seconds of ours after the last."""
    turns = {
        "bare loop": Turn(lambda pause: bare(dataset, True, pause)),
        "bare loop, optimizer not fused": Turn(lambda pause: bare(dataset, False, pause)),
        "slipway": Turn(lambda pause: ours(dataset, folder, pause)),
    }
    orders = itertools.cycle(itertools.permutations(turns))
    times: dict[str, list[tuple[float, float]]] = {name: [] for name in turns}
    for _ in range(CONFIG.epochs):
        for name in next(orders):
            times[name].append(turns[name].next())
    ends = {name: turn.next() for name, turn in turns.items()}
    return times, ends["slipway"][0]


def warm_round(dataset: Dataset, folder: Path) -> tuple[dict[str, list[tuple[float, float]]], float]:
    """The second of two, for the first warms torch up."""
    torch.set_num_threads(1)
    training(dataset, folder / "cold")
    return training(dataset, folder / "warm")


def main() -> None:
    with published("loop", "torch") as lines:
        lines += measured()


def measured() -> list[str]:
    ratios: dict[str, dict[str, list[float]]] = {}
    seconds: dict[str, list[float]] = {}
    whole: list[float] = []
    spawned = multiprocessing.get_context("spawn")
    with tempfile.TemporaryDirectory() as folder:
        dataset = prepare("digits", Data(), Path(folder))
        rows = len(read_split(dataset, "train"))
        for number in range(ROUNDS):
            with spawned.Pool(1) as pool:
                times, end = pool.apply(warm_round, (dataset, Path(folder) / str(number)))
            base = times["bare loop"]
            for name, epochs in times.items():
                kept = ratios.setdefault(name, {"cpu": [], "wall": []})
                pairs = list(zip(epochs, base, strict=True))[1:]  # the first one's start is not an epoch's
                for (cpu, wall), (bare_cpu, bare_wall) in pairs:
                    kept["cpu"].append(bare_cpu / cpu)
                    kept["wall"].append(bare_wall / wall)
                seconds.setdefault(name, []).extend(cpu for cpu, _ in epochs)
            # All of it: every epoch as it came, saves included, the key at the start and the last save at the end.
            whole.append(sum(cpu for cpu, _ in base) / (sum(cpu for cpu, _ in times["slipway"]) + end))
    return table(
        ("loop", "rows a CPU second", "bare loop's CPU time over its own", "and by the clock"),
        [
            (
                name,
                f"{rows / statistics.median(seconds[name]):,.0f}",
                spread(kept["cpu"]),
                spread(kept["wall"]),
            )
            for name, kept in ratios.items()
        ]
        + [("slipway, start and end included", "", spread(whole), "")],
    )


if __name__ == "__main__":
    main()
