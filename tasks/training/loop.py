"""The training loop: plain torch, and everything needed to stop at any step and go on as if nothing had happened."""

import math
import time
from contextlib import nullcontext
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from tasks.config import Train
from tasks.data.arrays import Array, Samples
from tasks.training.average import Average
from tasks.training.batches import Batch, order_of, resident, take
from tasks.training.checkpoint import CheckpointStore
from tasks.training.device import Compute
from tasks.training.divergence import LossWatch
from tasks.training.groups import freeze, learning_mode
from tasks.training.loss import DistillationLoss, loss_of, own_step, weights_of
from tasks.training.metrics import MetricsLog
from tasks.training.module import goal_outputs, predict_goals
from tasks.training.optimizer import learning_rate, make_optimizer, set_rate
from tasks.training.progress import Reporter, ShowProgress
from tasks.training.randomness import random_state, seed_everything, set_random_state
from tasks.training.unfinished import Bar, check_bar
from tasks.workloads.scoring import score
from tasks.workloads.workload import Workload

_POINTS = 5000

_LOOK_EVERY = 50

_SAVING_SHARE = 0.01

_SYSTEM_SECONDS = 1.0

_EARLIEST_SAVE_SECONDS = 2.0  # less than that is sooner trained again than saved


def loss_and_score(
    workload: Workload, module: nn.Module, rows: Samples, batch_size: int, device: torch.device
) -> tuple[float, float]:
    """What a module makes of rows that it has not learned from."""
    outputs = predict_goals(workload, module, rows.inputs, batch_size)
    targets = tuple(torch.tensor(target, device=device) for target in rows.targets)
    raw = {name: torch.from_numpy(array).to(device) for name, array in outputs.items()}
    weight = None if rows.weight is None else torch.tensor(rows.weight, device=device)
    return float(loss_of(workload, device)(raw, targets, weight)), score(workload, rows.truth, outputs)


@dataclass
class Best:
    """The weights with the highest validation score so far, on the CPU."""

    weights: dict[str, Tensor]
    epoch: int
    step: int
    score: float


@dataclass
class TrainingState:
    """How far a training is: steps taken, the best so far, epochs since then, and why it ended if it did."""

    step: int = 0
    best: Best | None = None
    stale: int = 0
    stopped: str = ""

    @classmethod
    def of(cls, standing: dict[str, Any]) -> "TrainingState":
        """What `standing` has kept."""
        best = standing["best"]
        return cls(**{**standing, "best": Best(**best) if best else None})

    @property
    def standing(self) -> dict[str, Any]:
        """As a checkpoint keeps it."""
        return vars(self) | {"best": self.best and vars(self.best)}

    def judged(self, module: nn.Module, epoch: int, score: float) -> None:
        """Keep the module's weights when no score was better."""
        if self.best is None or score > self.best.score or math.isnan(self.best.score):
            weights = {name: value.detach().cpu().clone() for name, value in module.state_dict().items()}
            self.best, self.stale = Best(weights, epoch, self.step, score), 0
        else:
            self.stale += 1


@dataclass
class Loop:
    """One training of one module; `run` takes it from wherever it stands to its end."""

    module: nn.Module
    samples: Samples
    validation: Samples
    config: Train
    workload: Workload
    compute: Compute
    store: CheckpointStore
    metrics: MetricsLog | None
    distillation: DistillationLoss | None = None
    show: ShowProgress | None = None
    bar: Bar = ()
    state: TrainingState = field(default_factory=TrainingState)

    def __post_init__(self) -> None:
        import psutil

        self.module.to(self.compute.device)
        freeze(self.module, self.config.groups)
        if self.distillation is not None:
            self.distillation.teacher.to(self.compute.device).eval()
        self.rows = resident(self.samples, self.compute.device)
        batches = self.config.batch_size * self.config.accumulate
        self.order = order_of(self.workload, self.samples, batches, self.config.seed)
        self.steps = self.order.steps_an_epoch * self.config.epochs
        self.optimizer = make_optimizer(self.module, self.config)
        # once: to walk through a module takes a hundredth of a small one's step
        self.learned = [weight for weight in self.module.parameters() if weight.requires_grad]
        self.scaler = self.compute.scaler()
        self.loss = loss_of(self.workload, self.compute.device)
        self.average = None if self.config.average is None else Average(self.module, self.config.average)
        self.forward = self.compute.parallel(self.module)
        self.process = psutil.Process()
        self.score: float | None = None
        self._metric_every = math.ceil(self.steps / _POINTS)
        self._losses = LossWatch(self.samples, self.order, self.steps, self._rate, self._note_loss)
        self._saved = time.monotonic()
        self._saving_took, self._looked = 0.0, -math.inf
        seed_everything(self.config.seed + self.compute.rank)
        self._resume()
        self._reporter = Reporter(
            self.show, self.config.epochs, self.steps, len(self.samples), first=self.state.step
        )

    def run(self) -> TrainingState:
        """Train until the epochs are done or the score no longer gets better. Raises StepError for a loss that is not finite."""
        while not self.state.stopped:
            self._train_an_epoch()
            self._validate()
        return self.state

    def _train_an_epoch(self) -> None:
        learning_mode(self.module, self.config.groups)
        first = self.state.step
        end = first - first % self.order.steps_an_epoch + self.order.steps_an_epoch
        for step in range(first, end):
            set_rate(self.optimizer, self._rate(step))
            self.optimizer.zero_grad()
            self._losses.add(step, self._backward(step), self.module)
            if self.config.clip_norm is not None:
                self.scaler.unscale_(self.optimizer)
                torch.nn.utils.clip_grad_norm_(self.learned, self.config.clip_norm)
            self.scaler.step(self.optimizer)
            self.scaler.update()
            self.state.step = step + 1
            if self.average is not None:
                self.average.update(step + 1)
            if step + 1 < end and self._due():
                self._save()
            self._report()

    def _backward(self, step: int) -> Tensor:
        """The gradients of a step, added up over its batches; the mean loss of this process's rows."""
        index = self.order.rows(step)
        mine = self.order.share(index, self.compute.rank, self.compute.count)
        share = self._mass(mine) * self.compute.count / self._mass(index)
        mine = mine if len(mine) else index[:1]
        batches = min(self.config.accumulate, -(-len(index) // self.config.batch_size), len(mine))
        parts = self.order.parts(mine, batches)
        losses = []
        for place, rows in enumerate(parts, 1):
            batch = take(self.workload, self.rows, rows, self.compute.device)
            part = self._mass(rows) / self._mass(mine)
            with self.compute.gathering(self.forward, place == len(parts)):
                with self.compute.autocast():
                    loss = self._loss(batch)
                weight = share * part
                self.scaler.scale(loss * weight if weight != 1 else loss).backward()  # type: ignore[no-untyped-call]
            losses.append(loss.detach() * part if part != 1 else loss.detach())
        return torch.stack(losses).sum() if len(losses) > 1 else losses[0]

    def _loss(self, batch: Batch) -> Tensor:
        """A batch's loss, by the workload's own step where it has one, with the teacher's part mixed in where there is one."""
        stepped = None if self.workload.step is None else own_step(self.workload, self.forward, batch)
        if stepped is not None and self.distillation is None:
            return stepped
        raw = goal_outputs(self.workload, self.forward(**batch.inputs))
        outputs = {name: output.float() for name, output in raw.items()}
        weights = weights_of(self.workload, batch)
        loss = self.loss(outputs, tuple(batch.targets.values()), weights) if stepped is None else stepped
        return loss if self.distillation is None else self.distillation.mix(batch.inputs, outputs, loss)

    def _mass(self, rows: Array) -> float:
        """How much rows weigh together."""
        weight = self.samples.weight
        return len(rows) if weight is None else max(float(weight[rows].sum()), 1e-12)

    def _rate(self, step: int) -> float:
        return learning_rate(self.config, step, self.steps)

    def _note_loss(self, step: int, loss: float) -> None:
        if step % self._metric_every == 0:
            self._note({"train/loss": loss, "train/lr": self._rate(step)}, step + 1)

    def _validate(self) -> None:
        """The end of an epoch: score the validation rows, keep the best weights, decide whether to go on, save."""
        self._losses.look()
        state, step = self.state, self.state.step
        epoch = step // self.order.steps_an_epoch
        with nullcontext() if self.average is None else self.average.in_place():
            loss, self.score = self.compute.from_first(self._judged)
            state.judged(self.module, epoch, self.score)
        if epoch == self.config.epochs:
            state.stopped = f"all {epoch} epochs are done"
        elif state.stale == self.config.patience:
            state.stopped = f"no better validation score for {state.stale} epochs"
        self._note({"validation/loss": loss, "validation/score": self.score, "train/epoch": epoch}, step)
        self._note({"train/rows_per_second": self._reporter.rows_per_second(step)}, step)
        if time.monotonic() - self._looked >= _SYSTEM_SECONDS:
            self._looked = time.monotonic()
            self._note(self._system(), step)
        # Before it is saved, for what goes on from there is past it:
        if not state.stopped and state.best is not None:
            check_bar(self.bar, epoch, state.best.score)
        if state.stopped or self._due(max(_EARLIEST_SAVE_SECONDS, self._saving_took / _SAVING_SHARE)):
            self._save()
        self._report(always=True)

    def _judged(self) -> tuple[float, float]:
        return loss_and_score(
            self.workload, self.module, self.validation, self.config.batch_size, self.compute.device
        )

    def _due(self, seconds: float = math.inf) -> bool:
        """Whether it is time to save; several processes ask the first one, and not too often."""
        seconds = min(seconds, self.config.checkpoint_seconds)
        if seconds == 0 or self.compute.count == 1:
            return time.monotonic() - self._saved >= seconds
        at_the_end = self.state.step % self.order.steps_an_epoch == 0
        if not at_the_end and self.state.step % _LOOK_EVERY:
            return False
        return self.compute.from_first(lambda: time.monotonic() - self._saved >= seconds)

    def _save(self) -> None:
        """Metrics first: a checkpoint that is on the disk speaks only of metrics that are there too."""
        self._losses.look()
        began = time.monotonic()
        random = self.compute.from_all(random_state())
        if self.compute.rank == 0:
            saved = {
                "standing": self.state.standing,
                "module": self.module.state_dict(),
                "optimizer": self.optimizer.state_dict(),
                "scaler": self.scaler.state_dict(),
                "average": None if self.average is None else self.average.values,
                "random": random,
                "metrics": self.metrics.sync() if self.metrics else 0,
            }
            self.store.save(saved)
        self._saved = time.monotonic()
        self._saving_took = self._saved - began

    def _resume(self) -> None:
        saved = self.store.load()
        self.compute.from_first(lambda: None)
        if saved is None:
            return
        self.state = TrainingState.of(saved["standing"])
        self.module.load_state_dict(saved["module"])
        self.optimizer.load_state_dict(saved["optimizer"])
        self.scaler.load_state_dict(saved["scaler"])
        if self.average is not None:
            self.average.load(saved["average"])
        set_random_state(saved["random"][self.compute.rank])
        if self.metrics is not None:
            self.metrics.resumed(saved["metrics"])

    def _note(self, values: dict[str, float], step: int) -> None:
        if self.metrics is not None:
            self.metrics.add(values, step)

    def _system(self) -> dict[str, float]:
        return {
            "system/process_cpu_percentage": self.process.cpu_percent(),
            "system/process_memory_megabytes": self.process.memory_info().rss / 1e6,
        }

    def _report(self, always: bool = False) -> None:
        if self._losses.recent:
            self._reporter.report(self.state.step, self._losses.recent[-1], self.score, always)
