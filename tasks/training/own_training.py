"""A training whose loop is the workload's own: batches, checkpoints, and a judge of what it offers."""

import math
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset, Sampler

from tasks.config import Train
from tasks.data.arrays import Samples
from tasks.errors import StepError, UserError
from tasks.system.sentences import first_line, some
from tasks.training.batches import Batch, order_of, resident, take
from tasks.training.checkpoint import CheckpointStore
from tasks.training.divergence import LossWatch
from tasks.training.files_in_state import packed, unpacked
from tasks.training.loop import TrainingState, loss_and_score
from tasks.training.loss import batch_loss
from tasks.training.metrics import MetricsLog
from tasks.training.progress import Reporter, ShowProgress
from tasks.training.randomness import random_state, seed_everything, set_random_state
from tasks.training.unfinished import Bar, DivergedError, check_bar
from tasks.workloads.workload import Workload

_POINTS = 5000


class OwnTraining:
    """What `Workload.fit` is given (tasks.workloads.Training); `run` takes it from wherever it stands to its end."""

    def __init__(
        self,
        module: nn.Module,
        samples: Samples,
        validation: Samples,
        config: Train,
        workload: Workload,
        device: torch.device,
        store: CheckpointStore,
        metrics: MetricsLog | None,
        show: ShowProgress | None,
        bar: Bar = (),
    ) -> None:
        self._bar = bar
        self.config, self.device, self.folder = config, device, store.folder / "own"
        self._module, self._workload = module.to(device), workload
        self._samples, self._validation = samples, validation
        self._resident = resident(samples, device)
        self._store, self._metrics = store, metrics
        self._order = order_of(workload, samples, config.batch_size, config.seed)
        self._steps = self._order.steps_an_epoch * config.epochs
        self._batch_loss = batch_loss(workload, device)
        self._state, self._score, self._next_epoch = TrainingState(), math.nan, 0
        self._weights = {name: value.shape for name, value in module.state_dict().items()}
        self._losses = LossWatch(samples, self._order, self._steps, lambda _: config.lr, self._note_loss)
        self._readable = False
        self._reporter = Reporter(show, config.epochs, self._steps, len(samples), first=0)

    def run(self) -> TrainingState:
        """Give the module to the workload's fit. Raises UserError when that ends and has offered nothing."""
        assert self._workload.fit is not None
        self.folder.mkdir(parents=True, exist_ok=True)
        seed_everything(self.config.seed)
        with _ended_as_ours(self._workload.name):
            self._workload.fit(self._module, self)
        self._losses.look()
        if self._state.best is None:
            raise UserError(
                f"Workload {self._workload.name}: its fit ended and has offered nothing: call training.offer(module, epoch=epoch); the best offer ships."
            )
        self._state.stopped = "its own fit ended"
        return self._state

    def batches(self, epoch: int, start: int = 0) -> Iterator[Batch]:
        for rows in self._rows(epoch, start):
            yield take(self._workload, self._resident, rows, self.device)

    def loader(self, **options: Any) -> "DataLoader[Any]":
        generator = torch.Generator().manual_seed(self.config.seed)
        given = {"generator": generator, **options}
        return DataLoader(_Rows(self), sampler=_Epochs(self), batch_size=None, **given)

    def loss(self, outputs: Any, batch: Any) -> Tensor:
        loss = self._batch_loss(outputs, batch)
        if torch.is_grad_enabled():  # else it is of rows that are not learned
            self._losses.add(max(0, self._state.step - 1), loss, self._module)
            self._report()
        return loss

    def resume(self) -> Any | None:
        saved = self._store.load()
        if saved is None:
            return None
        self._state = TrainingState.of(saved["standing"])
        self._next_epoch, self._readable = saved["epoch"] + 1, True
        if self._metrics is not None:
            self._metrics.resumed(saved["metrics"])
        state = unpacked(saved["state"], self.folder / "resumed")
        set_random_state(saved["random"])
        return state

    def save(self, state: Any, *, epoch: int) -> None:
        self._losses.look()
        saved = {
            "state": packed(state),
            "epoch": epoch,
            "standing": self._state.standing,
            "random": random_state(),
            "metrics": self._metrics.sync() if self._metrics else 0,
        }
        self._store.save(saved)
        if not self._readable:
            self._read_back()

    def offer(self, module: nn.Module, *, epoch: int) -> float:
        self._losses.look()
        self._check_offer(module)
        loss, self._score = loss_and_score(
            self._workload, module, self._validation, self.config.batch_size, self.device
        )
        self._state.step = max(self._state.step, (epoch + 1) * self._order.steps_an_epoch)
        self._state.judged(module, epoch + 1, self._score)
        values = {"validation/loss": loss, "validation/score": self._score, "train/epoch": epoch + 1}
        self._note(values, self._state.step)
        self._report(always=True)
        assert self._state.best is not None
        check_bar(self._bar, epoch + 1, self._state.best.score)
        return self._score

    def log(self, step: int, **numbers: float) -> None:
        self._note({name: float(value) for name, value in numbers.items()}, step)

    def _rows(self, epoch: int, start: int = 0) -> Iterator[np.ndarray[Any, Any]]:
        """The row numbers of each batch; what is drawn in an epoch starts from its own seed, however it was come to."""
        if start == 0:
            seed_everything(int(np.random.SeedSequence((self.config.seed, epoch)).generate_state(1)[0]))
        first = epoch * self._order.steps_an_epoch
        for step in range(first + start, first + self._order.steps_an_epoch):
            self._state.step = step + 1
            yield self._order.rows(step)

    def _read_back(self) -> None:
        """Look once whether what is saved can be read, or a resume would find out."""
        try:
            self._store.load()
        except Exception as error:
            self._store.clear()
            raise UserError(
                f"Workload {self._workload.name}: its fit saves what cannot be read again ({first_line(error)}): save tensors, numbers and "
                "strings, such as state_dict(), or a file by its Path."
            ) from error
        self._readable = True

    def _check_offer(self, module: nn.Module) -> None:
        """What ships is loaded into the workload's module, so it has to have just its weights, and numbers in them."""
        given = {name: value.shape for name, value in module.state_dict().items()}
        if given != self._weights:
            lost = [name for name in self._weights if given.get(name) != self._weights[name]]
            new = [name for name in given if name not in self._weights]
            has = f" and has {some(new, 2)}" if new else ""
            raise UserError(
                f"Workload {self._workload.name}: its fit offers a {type(module).__name__} that lacks {some(lost or ['nothing'], 2)}{has}: "
                "offer the module itself, such as average.module of an AveragedModel."
            )
        for name, value in module.named_parameters():
            if not bool(value.isfinite().all()):
                raise DivergedError(
                    f"Workload {self._workload.name}: its fit offers weights that are not finite ({name}): lower train.lr={self.config.lr:g}, "
                    "or look for a division or a log of 0 in its loss."
                )

    def _note_loss(self, step: int, loss: float) -> None:
        if step % math.ceil(self._steps / _POINTS) == 0:
            self._note({"train/loss": loss}, step + 1)

    def _note(self, values: dict[str, float], step: int) -> None:
        if self._metrics is not None:
            self._metrics.add(values, step)

    def _report(self, always: bool = False) -> None:
        loss = self._losses.recent[-1] if self._losses.recent else math.nan
        known = None if math.isnan(self._score) else self._score
        self._reporter.report(self._state.step, loss, known, always)


@contextmanager
def _ended_as_ours(name: str) -> Iterator[None]:
    """Signals mean here what they mean elsewhere: Lightning takes Ctrl-C for its own, keeps it, and exits."""
    main = threading.current_thread() is threading.main_thread()
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    except SystemExit as end:
        if isinstance(end.__context__, KeyboardInterrupt):
            raise KeyboardInterrupt from end
        raise StepError(
            f"Workload {name}: its fit ended the process (exit code {end.code}): let it raise an error."
        ) from end
    finally:
        for number, handler in before.items():
            if main and handler is not None:  # None: none of Python's
                signal.signal(number, handler)


class _Rows(Dataset[Batch]):
    """Batches on the CPU, by their rows' numbers; it has as many as there are rows."""

    def __init__(self, training: OwnTraining) -> None:
        self._workload, self._samples = training._workload, training._samples

    def __len__(self) -> int:
        return len(self._samples)

    def __getitem__(self, rows: Any) -> Batch:
        return take(self._workload, self._samples, rows, torch.device("cpu"))


class _Epochs(Sampler[Any]):
    """The row numbers of each batch of an epoch, then of the next."""

    def __init__(self, training: OwnTraining) -> None:
        self._training = training
        self._epoch = training._next_epoch

    def set_epoch(self, epoch: int) -> None:
        self._epoch = epoch

    def __len__(self) -> int:
        return self._training._order.steps_an_epoch

    def __iter__(self) -> Iterator[Any]:
        epoch, self._epoch = self._epoch, self._epoch + 1
        yield from self._training._rows(epoch)
