"""Whether a training that is killed goes on as if nothing had happened: a short one, killed for real at its first save.

`rehearse` asks; `python -m tasks.preflight.kill` trains. Processes of their own, because a kill is one, and because whoever goes on
after it has nothing but what was saved.
"""

import hashlib
import os
import signal
import subprocess
import sys
from contextlib import redirect_stdout
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from tasks.config import Train
from tasks.errors import UserError
from tasks.preflight.bench import Bench, Doubt
from tasks.records import Dataset
from tasks.system.frozen import Frozen
from tasks.system.processes import end_all, family, how_it_ended

if TYPE_CHECKING:
    from torch import nn

    from tasks.training.checkpoint import CheckpointStore
    from tasks.workloads.own_training import Fit

_BATCHES, _JUDGED, _SECONDS = 3, 500, 300.0

RIGHT = "a killed training resumes to the bit"

OTHER = (
    "killed, it resumes, with other weights: take training.batches(epoch), or give the DataLoader a generator of its own, and draw random "
    "numbers from torch, numpy or random alone"
)


class Order(Frozen):
    """One short training, and whether it is to be killed."""

    reference: str
    dataset: Dataset
    train: Train
    model: str | None
    folder: Path
    kill: bool


class Result(Frozen):
    """A training that came to its end: what would ship and what it had last, by digests; whether it went on from what another left."""

    best: str
    last: str | None
    resumed: bool


def rehearse(bench: Bench) -> str:
    """Two epochs of a few batches, whole and killed after the first save; in words what came of it. Raises Doubt, UserError."""
    workload, train = bench.workload, bench.run.train
    assert train is not None  # look_at_step has said so before
    short = train.model_copy(update={"epochs": 2, "patience": None, "checkpoint_seconds": 0.0, "workers": 1})
    with TemporaryDirectory(dir=bench.scratch, prefix=".killed-") as scratch:

        def order(name: str, kill: bool = False) -> Order:
            return Order(
                reference=_absolute(bench.reference), dataset=bench.dataset, train=short, model=bench.run.model,
                folder=Path(scratch) / name, kill=kill,
            )  # fmt: skip

        whole, killed = train_apart([order("whole"), order("killed", kill=True)], workload.name)
        if killed is not None:
            raise Doubt("its fit never calls training.save(), so a kill starts it anew")
        (resumed,) = train_apart([order("killed")], workload.name)
    assert whole is not None and resumed is not None
    if not resumed.resumed:
        raise Doubt("its fit never calls training.resume(), so a kill starts it anew")
    if resumed.best != whole.best or resumed.last not in (None, whole.last):
        raise Doubt(OTHER)
    return RIGHT


def _absolute(reference: str) -> str:
    """A path as it is from any folder."""
    path, colon, attribute = reference.partition(":")
    return f"{Path(path).resolve()}{colon}{attribute}" if path.endswith(".py") else reference


def train_apart(orders: list[Order], name: str) -> list[Result | None]:
    """Each training of the workload `name` in a process of its own, at once; None for one that was killed. Raises UserError for one that failed."""
    root = str(Path(__file__).parents[2])
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([root, os.environ.get("PYTHONPATH", "")])}
    command = [sys.executable, "-m", "tasks.preflight.kill"]
    pipes: dict[str, Any] = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.PIPE)
    processes = [subprocess.Popen(command, env=environment, **pipes) for _ in orders]
    try:
        for process, order in zip(processes, orders, strict=True):
            assert process.stdin is not None
            process.stdin.write(order.model_dump_json().encode())
            process.stdin.close()
            process.stdin = None
        return [_result(*pair, name) for pair in zip(processes, orders, strict=True)]
    except subprocess.TimeoutExpired:
        raise Doubt(
            f"two epochs of {_BATCHES} batches took more than {_SECONDS / 60:.0f} minutes: whether it resumes was not tried to the end"
        ) from None
    finally:
        for process in processes:
            if process.poll() is None:
                end_all(family(process.pid))
            process.communicate()


def _result(process: "subprocess.Popen[bytes]", order: Order, name: str) -> Result | None:
    out, err = process.communicate(timeout=_SECONDS)
    if process.returncode == 0:
        return Result.model_validate_json(out.splitlines()[-1])
    if order.kill and process.returncode == -signal.SIGKILL:
        return None
    last = (err.decode(errors="replace").strip().splitlines() or [how_it_ended(process.returncode)])[-1]
    whose = f"Workload {name}: "
    raise UserError(f"{whose}its training fails: {last.removeprefix(whose).rstrip('.')}.")


def _train(order: Order) -> Result:
    """What the process does."""
    from tasks.data.dataset import read_split
    from tasks.training.checkpoint import CheckpointStore
    from tasks.training.module import build_module
    from tasks.training.trainer import fit
    from tasks.workloads.catalogue import load_workload

    workload = load_workload(order.reference)
    module = build_module(workload, order.dataset, order.model, order.train.seed)
    rows = _BATCHES * order.train.batch_size * order.train.accumulate
    noting = _Noting(workload.fit) if workload.fit is not None else None
    resumed = any(order.folder.glob("*/last-*.pt"))
    checkpoint = fit(
        module,
        read_split(order.dataset, "train")[:rows],
        read_split(order.dataset, "validation")[:_JUDGED],
        order.train,
        order.folder,
        workload=replace(workload, fit=noting),
        checkpoints=_killed_at_a_save() if order.kill else CheckpointStore,
    )
    if noting is None:
        return Result(best=checkpoint.sha256, last=_digest(module), resumed=resumed)
    return Result(best=checkpoint.sha256, last=noting.last, resumed=noting.resumed)


class _Noting:
    """A workload's fit, with an eye on what it resumes and offers last."""

    def __init__(self, fit: "Fit") -> None:
        self._fit, self.resumed = fit, False
        self.last: str | None = None

    def __call__(self, module: "nn.Module", training: Any) -> None:
        resume, offer = training.resume, training.offer

        def resuming() -> Any:
            state = resume()
            self.resumed = state is not None
            return state

        def offering(module: "nn.Module", *, epoch: int) -> float:
            self.last = _digest(module)
            return float(offer(module, epoch=epoch))

        training.resume, training.offer = resuming, offering
        self._fit(module, training)


def _digest(module: "nn.Module") -> str:
    import torch

    digest = hashlib.sha256()
    for value in module.state_dict().values():
        digest.update(value.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().data)
    return digest.hexdigest()


def _killed_at_a_save() -> "type[CheckpointStore]":
    from tasks.training.checkpoint import CheckpointStore, State

    class Killed(CheckpointStore):
        def save(self, state: State) -> None:
            super().save(state)
            os.kill(os.getpid(), signal.SIGKILL)

    return Killed


def main() -> None:
    order = Order.model_validate_json(sys.stdin.read())
    try:
        with redirect_stdout(sys.stderr):  # a fit may print
            result = _train(order)
    except UserError as error:
        sys.exit(str(error))
    print(result.model_dump_json())


if __name__ == "__main__":
    main()
