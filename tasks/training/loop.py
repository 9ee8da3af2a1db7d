"""The training loop: plain torch, and everything needed to stop at any step and go on as if nothing had happened."""

import logging
import math
import time
from collections import deque
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from tasks.config import Train
from tasks.data.arrays import Samples
from tasks.errors import StepError
from tasks.training.batches import Order, take
from tasks.training.checkpoint import CheckpointStore
from tasks.training.device import Compute
from tasks.training.divergence import why_not_finite
from tasks.training.loss import DistillationLoss, loss_of
from tasks.training.metrics import MetricsLog
from tasks.training.module import goal_outputs, predict_goals
from tasks.training.optimizer import learning_rate, make_optimizer
from tasks.training.progress import Reporter, ShowProgress
from tasks.training.randomness import random_state, seed_everything, set_random_state
from tasks.workloads.scoring import score
from tasks.workloads.workload import Workload

log = logging.getLogger(__name__)

_POINTS = 5000

_LOOK_EVERY = 50

_SAVING_SHARE = 0.01

_EARLIEST_SAVE_SECONDS = 2.0  # less than that is sooner trained again than saved


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
    state: TrainingState = field(default_factory=TrainingState)

    def __post_init__(self) -> None:
        import psutil

        self.module.to(self.compute.device)
        if self.distillation is not None:
            self.distillation.teacher.to(self.compute.device).eval()
        self.order = Order(len(self.samples), self.config.batch_size, self.config.seed)
        self.steps = self.order.steps_an_epoch * self.config.epochs
        self.optimizer = make_optimizer(self.module, self.config)
        self.scaler = self.compute.scaler()
        self.loss = loss_of(self.workload, self.compute.device)
        self.forward = self.compute.parallel(self.module)
        self.process = psutil.Process()
        self.score: float | None = None
        self._metric_every = math.ceil(self.steps / _POINTS)
        self._unseen: list[tuple[int, Tensor]] = []
        self._losses: deque[float] = deque(maxlen=200)
        self._saved = time.monotonic()
        self._saving_took = 0.0
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
        self.module.train()
        first = self.state.step
        end = first - first % self.order.steps_an_epoch + self.order.steps_an_epoch
        for step in range(first, end):
            inputs, targets, share = self._batch(step)
            for group in self.optimizer.param_groups:
                group["lr"] = learning_rate(self.config, step, self.steps)
            with self.compute.autocast():
                raw = goal_outputs(self.workload, self.forward(**inputs))
                outputs = {name: output.float() for name, output in raw.items()}
                loss = self.loss(outputs, targets)
                if self.distillation is not None:
                    loss = self.distillation.mix(inputs, outputs, loss)
            self._watch(step, loss)
            self.optimizer.zero_grad()
            self.scaler.scale(loss * share if share != 1 else loss).backward()  # type: ignore[no-untyped-call]
            if self.config.clip_norm is not None:
                self.scaler.unscale_(self.optimizer)
                torch.nn.utils.clip_grad_norm_(self.module.parameters(), self.config.clip_norm)
            self.scaler.step(self.optimizer)
            self.scaler.update()
            self.state.step = step + 1
            if step + 1 < end and self._due():
                self._save()
            self._report()

    def _batch(self, step: int) -> tuple[dict[str, Tensor], tuple[Tensor, ...], float]:
        """This process's rows of the step, and what their mean loss weighs in the mean over all processes."""
        index = self.order.rows(step)
        mine = index[self.compute.rank :: self.compute.count]
        share = len(mine) * self.compute.count / len(index)
        return *take(self.samples, mine if len(mine) else index[:1], self.compute.device), share

    def _watch(self, step: int, loss: Tensor) -> None:
        """Keep the loss; look at it at once where that is free, and every now and then where it would stop the GPU."""
        self._unseen.append((step, loss.detach()))
        if self.compute.device.type == "cpu" or len(self._unseen) == _LOOK_EVERY:
            self._look()

    def _look(self) -> None:
        losses = torch.stack([loss for _, loss in self._unseen]).tolist() if self._unseen else []
        for (step, _), loss in zip(self._unseen, losses, strict=True):
            rate = learning_rate(self.config, step, self.steps)
            if not math.isfinite(loss):
                weights = self.module if step == self.state.step else None
                why = why_not_finite(self.samples, self.order.rows(step), self._losses, weights, rate)
                raise StepError(f"The loss is {loss} at step {step + 1} of {self.steps}: {why}.")
            self._losses.append(loss)
            if step % self._metric_every == 0:
                self._note({"train/loss": loss, "train/lr": rate}, step + 1)
        self._unseen.clear()

    def _validate(self) -> None:
        """The end of an epoch: score the validation rows, keep the best weights, decide whether to go on, save."""
        self._look()
        loss, self.score = self.compute.from_first(self._loss_and_score)
        state, step = self.state, self.state.step
        epoch = step // self.order.steps_an_epoch
        if state.best is None or self.score > state.best.score or math.isnan(state.best.score):
            weights = {name: value.detach().cpu().clone() for name, value in self.module.state_dict().items()}
            state.best, state.stale = Best(weights, epoch, step, self.score), 0
        else:
            state.stale += 1
        if epoch == self.config.epochs:
            state.stopped = f"all {epoch} epochs are done"
        elif state.stale == self.config.patience:
            state.stopped = f"no better validation score for {state.stale} epochs"
        self._note({"validation/loss": loss, "validation/score": self.score, "train/epoch": epoch}, step)
        self._note({"train/rows_per_second": self._reporter.rows_per_second(step), **self._system()}, step)
        if state.stopped or self._due(max(_EARLIEST_SAVE_SECONDS, self._saving_took / _SAVING_SHARE)):
            self._save()
        self._report(always=True)

    def _loss_and_score(self) -> tuple[float, float]:
        outputs = predict_goals(self.workload, self.module, self.validation.inputs, self.config.batch_size)
        device = self.compute.device
        targets = tuple(torch.tensor(target, device=device) for target in self.validation.targets)
        loss = self.loss({n: torch.from_numpy(array).to(device) for n, array in outputs.items()}, targets)
        return float(loss), score(self.workload, self.validation.targets, outputs)

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
        self._look()
        began = time.monotonic()
        random = self.compute.from_all(random_state())
        if self.compute.rank == 0:
            best = self.state.best
            saved = {
                "standing": vars(self.state) | {"best": best and vars(best)},
                "module": self.module.state_dict(),
                "optimizer": self.optimizer.state_dict(),
                "scaler": self.scaler.state_dict(),
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
        best = saved["standing"]["best"]
        self.state = TrainingState(**{**saved["standing"], "best": Best(**best) if best else None})
        self.module.load_state_dict(saved["module"])
        self.optimizer.load_state_dict(saved["optimizer"])
        self.scaler.load_state_dict(saved["scaler"])
        set_random_state(saved["random"][self.compute.rank])
        if self.metrics is not None and self.metrics.sync() < saved["metrics"]:
            log.warning("Some metrics before step %d are lost from %s.", self.state.step, self.metrics.path)

    def _note(self, values: dict[str, float], step: int) -> None:
        if self.metrics is not None:
            self.metrics.add(values, step)

    def _system(self) -> dict[str, float]:
        return {
            "system/process_cpu_percentage": self.process.cpu_percent(),
            "system/process_memory_megabytes": self.process.memory_info().rss / 1e6,
        }

    def _report(self, always: bool = False) -> None:
        if self._losses:
            self._reporter.report(self.state.step, self._losses[-1], self.score, always)
