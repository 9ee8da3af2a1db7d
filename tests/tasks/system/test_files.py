"""What is the machine's doing, and therefore neither a recipe's nor a file's."""

import errno

import pytest
from filelock import Timeout

from tasks.errors import LostError, UserError
from tasks.system.files import is_the_machines

ONNX_RUNTIME = "[ONNXRuntimeError] : 6 : RUNTIME_EXCEPTION : Exception during initialization: std::bad_alloc"
ARENA = "Non-zero status code while running MatMul: BFCArena::AllocateRawInternal Failed to allocate memory for requested buffer"
TORCH = "[enforce fail at alloc_cpu.cpp:118] err == 0. DefaultCPUAllocator: can't allocate memory: you tried to allocate 8 bytes"


def raised_from(cause: Exception) -> Exception:
    try:
        raise UserError("what a library says of it") from cause
    except UserError as error:
        return error


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        LostError("the process was ended by SIGKILL"),
        OSError(errno.ENOSPC, "No space left on device"),
        OSError(errno.ENOMEM, "Cannot allocate memory"),
        Timeout("lock"),
        RuntimeError(ONNX_RUNTIME),
        RuntimeError(ARENA),
        RuntimeError(TORCH),
    ],
)
def test_what_the_machine_lacks_is_its_own_doing_however_deep_it_lies(error: Exception) -> None:
    assert is_the_machines(error)
    assert is_the_machines(raised_from(raised_from(error)))


@pytest.mark.parametrize(
    "error",
    [None, ValueError("shapes do not fit"), FileNotFoundError(errno.ENOENT, "No such file"), UserError("no")],
)
def test_what_the_work_lacks_is_not(error: Exception | None) -> None:
    assert not is_the_machines(error)
