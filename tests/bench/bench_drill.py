"""Kill a training with SIGKILL at random moments, resume it each time, and compare the end with an uninterrupted run's.

Prints how many kills hit, and exits with an error unless weights are the same to the bit and every metric is there once.
"""

import multiprocessing
import random
import sys
import tempfile
import time
from dataclasses import dataclass
from multiprocessing.context import ForkServerContext
from pathlib import Path

from figures import listed, published

from tasks.config import Data, Train
from tasks.data.dataset import prepare
from tasks.records import Checkpoint, Dataset, Metric
from tasks.training.checkpoint import load
from tasks.training.metrics import read_metrics
from tasks.training.trainer import train

# Early stopping and dropout are part of what must resume; one thread, because two may add in another order.
CONFIG = Train(epochs=6, patience=2, lr=0.01, batch_size=64, threads=1, checkpoint_seconds=0.02)
WORKLOAD = str(Path(__file__).with_name("tiny_digits.py"))
MEASURED = ("system/", "train/rows_per_second")


@dataclass
class Drill:
    """A training in processes of its own; they are forked from one that has torch, so that a start takes no seconds (its first optimizer imports torch._dynamo)."""

    dataset: Dataset
    config: Train
    context: ForkServerContext

    def start(self, folder: Path) -> multiprocessing.process.BaseProcess:
        process = self.context.Process(target=train, args=(WORKLOAD, self.dataset, self.config, folder))
        process.start()
        return process

    def finish(self, folder: Path) -> Checkpoint:
        """Run to the end, in a process as well, and say what came out."""
        process = self.start(folder)
        process.join(120)
        assert process.exitcode == 0, f"the training ended with {process.exitcode}"
        [record] = folder.glob("*/checkpoint.json")
        return Checkpoint.model_validate_json(record.read_bytes())

    def kill_after(self, folder: Path, seconds: float) -> bool:
        """Start, wait so long, kill; False when it had finished by then."""
        process = self.start(folder)
        process.join(seconds)
        process.kill()
        process.join()
        return process.exitcode != 0

    def kill_at_save(self, folder: Path, number: int) -> None:
        """Start and kill as soon as the checkpoint generation `number` is there."""
        process = self.start(folder)
        end = time.monotonic() + 60
        while not list(folder.glob(f"*/last-{number:06d}.pt")):
            assert process.is_alive() and time.monotonic() < end, f"generation {number} never came"
            time.sleep(0.0005)
        process.kill()
        process.join()
        assert process.exitcode != 0


def make_drill(folder: Path, config: Train = CONFIG) -> Drill:
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["tasks.training.trainer", "torch._dynamo", "psutil", "filelock"])
    return Drill(prepare(WORKLOAD, Data(), folder / "data"), config, context)


def curves(metrics: Path) -> dict[tuple[str, int], float]:
    """Every computed metric by key and step. Raises AssertionError when one is there twice."""
    points: list[Metric] = read_metrics(metrics)
    values = {(point.key, point.step): point.value for point in points if not point.key.startswith(MEASURED)}
    everything = [(point.key, point.step) for point in points]
    assert len(everything) == len(set(everything)), "a metric is in the log twice"
    assert len(metrics.read_bytes().splitlines()) == len(points), "the log has a broken line"
    return values


def check(resumed: Checkpoint, whole: Checkpoint) -> None:
    """Raise AssertionError unless the two trainings came to the same end."""
    assert resumed.sha256 == whole.sha256, "the weights differ"
    assert (resumed.step, resumed.score, resumed.stopped) == (whole.step, whole.score, whole.stopped)
    assert curves(resumed.metrics) == curves(whole.metrics), "the curves differ"
    steps = [step for key, step in curves(resumed.metrics) if key == "train/loss"]
    assert steps == list(range(1, len(steps) + 1)), "the loss has a gap"
    assert last_state(resumed) == last_state(whole), "the training states differ"


def last_state(checkpoint: Checkpoint) -> str:
    """Everything in the newest state (weights, optimizer, random generators, early stopping), as text to the last bit."""
    newest = load(max(checkpoint.path.parent.glob("last-*.pt")))
    return "\n".join(_lines("", newest))


def _lines(name: str, value: object) -> list[str]:
    if isinstance(value, dict):
        return [line for key in value for line in _lines(f"{name}/{key}", value[key])]
    if isinstance(value, list | tuple):
        return [line for index, item in enumerate(value) for line in _lines(f"{name}/{index}", item)]
    if name == "/metrics":
        return []
    return [f"{name} {value.tolist() if hasattr(value, 'tolist') else value!r}"]


def random_kills(drill: Drill, folder: Path, kills: int, seed: int) -> tuple[int, int]:
    """Kill at random moments until `kills` have hit, each training resumed until it ends and checked; kills and trainings."""
    dice = random.Random(seed)
    drill.finish(folder / "warm")
    began = time.monotonic()
    whole = drill.finish(folder / "whole")
    took = time.monotonic() - began
    hit = trainings = 0
    while hit < kills:
        trainings += 1
        target = folder / f"resumed-{trainings}"
        while hit < kills and drill.kill_after(target, dice.uniform(0.05, 0.5 * took)):
            hit += 1
        check(drill.finish(target), whole)
    return hit, trainings


def main() -> None:
    kills = int(sys.argv[1]) if len(sys.argv) > 1 else 20
    seed = random.randrange(2**32)
    print(f"seed {seed}")
    with published("drill", "torch") as lines, tempfile.TemporaryDirectory() as folder:
        hit, trainings = random_kills(make_drill(Path(folder)), Path(folder), kills, seed)
        lines += listed(
            {
                "kills": hit,
                "trainings, each with weights, state and curves as if there had been none": trainings,
            }
        )


if __name__ == "__main__":
    main()
