"""Where and how to compute: device, precision, threads, and how many processes share the work."""

import atexit
import gc
import os
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any, TypeVar

import torch
from torch import distributed, nn
from torch.nn.parallel import DistributedDataParallel

from tasks.config import Train
from tasks.errors import StepError, UserError
from tasks.training.unfinished import NoRoomError

T = TypeVar("T")


class Compute:
    """This process's device and precision, and its share of the work where `torchrun` or Ray Train started several."""

    def __init__(self, config: Train) -> None:
        self.device = pick_device(config.device)
        self._dtype = pick_precision(config.precision, self.device)
        self.rank, self.count = 0, 1
        if launched():
            self._join()

    def _join(self) -> None:
        if self.device.type == "cuda":  # a GPU for each process of a machine
            self.device = torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0")))
            torch.cuda.set_device(self.device)
        if not distributed.is_initialized():  # Ray Train makes its group, and ends it, itself
            # DDP imports it, and it keeps for good the group that there is by then; not every torch has it
            from torch.distributed.nn import functional  # noqa: F401

            distributed.init_process_group("cpu:gloo,cuda:nccl" if self.device.type == "cuda" else "gloo")
            atexit.register(_leave)
        self.rank, self.count = distributed.get_rank(), distributed.get_world_size()

    @contextmanager
    def exact(self) -> Iterator[None]:
        """The same bits from the same training, on a GPU too; torch is left as it was.

        An operation that has no such form on a GPU stays as it is, and torch warns of it by name. Raises NoRoomError, in a
        sentence, where the GPU's memory does not hold a batch; StepError where others have much of it at the moment.
        """
        if self.device.type != "cuda":
            yield
            return
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # else cuBLAS adds up in any order
        before = (
            torch.are_deterministic_algorithms_enabled(),
            torch.is_deterministic_algorithms_warn_only_enabled(),
        )
        torch.use_deterministic_algorithms(True, warn_only=True)
        try:
            yield
        except torch.OutOfMemoryError as error:
            raise self._no_room() from error
        finally:
            torch.use_deterministic_algorithms(before[0], warn_only=before[1])

    def _no_room(self) -> StepError:
        free, total = torch.cuda.mem_get_info(self.device)
        others = total - free - torch.cuda.memory_reserved(self.device)
        if others > total / 4:
            return StepError(
                f"Others have {others / 1e9:.0f} of the {total / 1e9:.0f} GB of {torch.cuda.get_device_name(self.device)}, and what is left does not "
                "hold a batch: wait until they have ended, or set a smaller train.batch_size."
            )
        return NoRoomError(
            f"The memory of {torch.cuda.get_device_name(self.device)} ({total / 1e9:.0f} GB, of which {(total - free) / 1e9:.0f} were taken) does not "
            "hold a batch: set a smaller train.batch_size, or train.precision=bf16."
        )

    def autocast(self) -> AbstractContextManager[object]:
        """The context a forward pass runs in."""
        if self._dtype is None:
            return nullcontext()
        return torch.autocast(self.device.type, self._dtype)

    def scaler(self) -> torch.amp.GradScaler:
        """Scales the loss so that fp16 gradients do not vanish; does nothing for other precisions."""
        return torch.amp.GradScaler(self.device.type, enabled=self._dtype is torch.float16)

    def parallel(self, module: nn.Module) -> nn.Module:
        """The module as the forward pass calls it."""
        if self.count == 1 or not any(parameter.requires_grad for parameter in module.parameters()):
            return module
        return DistributedDataParallel(module, [self.device.index] if self.device.type == "cuda" else None)

    def gathering(self, module: nn.Module, now: bool) -> AbstractContextManager[object]:
        """The context of a backward pass whose gradients the processes add up, or keep until a later one's."""
        return module.no_sync() if isinstance(module, DistributedDataParallel) and not now else nullcontext()

    def from_first(self, make: Callable[[], T]) -> T:
        """What the first process makes, which alone makes it; the others wait for it."""
        values: list[Any] = [make() if self.rank == 0 else None]
        if self.count > 1:
            distributed.broadcast_object_list(values)
        return values[0]  # type: ignore[no-any-return]

    def from_all(self, value: T) -> list[T]:
        """What each process has."""
        values = [value] * self.count
        if self.count > 1:
            distributed.all_gather_object(values, value)
        return values


def _leave() -> None:
    """End the group that this process joined.

    Or else its threads outlive Python and then free tensors that belong to it, which aborts the process now and then, after all
    is done (github.com/pytorch/pytorch/pull/179291).
    """
    if distributed.is_initialized():
        gc.collect()  # a module in parallel has the group, too, and a loop that has ended is in a circle
        distributed.destroy_process_group()


def launched() -> bool:
    """Whether this is one of several processes that a launcher started."""
    return int(os.environ.get("WORLD_SIZE", "1")) > 1


def pick_device(name: str) -> torch.device:
    """The device asked for; auto: a GPU if there is one. Raises UserError when it is not there."""
    there = {"cpu": True, "cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    if name == "auto":
        name = "cuda" if there["cuda"] else "mps" if there["mps"] else "cpu"
    if not there[name]:
        raise UserError(f"train.device={name}, but torch sees no such device here: use auto or cpu.")
    return torch.device(name)


def pick_precision(name: str, device: torch.device) -> torch.dtype | None:
    """The dtype to autocast to, or None for plain float32."""
    if name == "auto":
        name = "bf16" if device.type == "cuda" and torch.cuda.is_bf16_supported() else "fp32"
    return {"bf16": torch.bfloat16, "fp16": torch.float16}.get(name)


@contextmanager
def threads(count: int | None) -> Iterator[None]:
    """Run with this many CPU threads, and leave torch as it was."""
    before = torch.get_num_threads()
    torch.set_num_threads(count or before)
    try:
        yield
    finally:
        torch.set_num_threads(before)
