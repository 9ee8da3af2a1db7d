"""What is the machine's doing, and therefore neither a recipe's nor a file's."""

import errno
import subprocess
import sys
from pathlib import Path

import pytest
from filelock import Timeout

from tasks.errors import LostError, UserError
from tasks.system.files import is_the_machines, why_it_broke, write_atomically

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


def test_what_a_library_makes_of_an_interruption_is_nobodys_and_no_sentence() -> None:
    """torch, interrupted amid its imports, goes on to look for what was not imported; then it tells of a failed export."""
    with pytest.raises(UserError) as met:
        try:
            try:
                raise KeyboardInterrupt
            finally:
                sys.not_imported  # type: ignore[attr-defined]  # noqa: B018
        except AttributeError as lacking:
            raise UserError("failed to export") from lacking
    assert is_the_machines(met.value) and why_it_broke(met.value) is None


@pytest.mark.parametrize(
    "error",
    [None, ValueError("shapes do not fit"), FileNotFoundError(errno.ENOENT, "No such file"), UserError("no")],
)
def test_what_the_work_lacks_is_not(error: Exception | None) -> None:
    assert not is_the_machines(error)


@pytest.mark.parametrize(
    ("error", "sentence"),
    [
        (MemoryError(), "There is not enough memory: end what else runs"),
        (raised_from(RuntimeError(ONNX_RUNTIME)), "There is not enough memory ("),
        (
            ImportError("libtorch.so: failed to map segment from shared object"),
            "There is not enough memory (",
        ),
        (RuntimeError("can't start new thread"), "There is not enough memory ("),
        (
            raised_from(OSError(errno.ENOSPC, "No space left on device", "/home/a")),
            "No space is left on the disk (",
        ),
        (
            RuntimeError("(sqlite3.OperationalError) database or disk is full"),
            "No space is left on the disk (",
        ),
        (OSError(errno.EMFILE, "Too many open files", "/home/a"), "Too many files are open ("),
        (OSError(errno.EIO, "Input/output error"), "The disk fails ("),
        (Timeout("/home/a.lock"), "Another process holds what this one needs ("),
    ],
)
def test_what_the_machine_lacks_is_one_sentence_with_the_fix(error: Exception, sentence: str) -> None:
    said = str(why_it_broke(error))
    assert said.startswith(sentence) and "\n" not in said and said.endswith(".")


def test_a_bug_is_not_the_machines() -> None:
    assert why_it_broke(KeyError("label")) is None


WRITES = """
import signal, sys
from pathlib import Path
from tasks.system.files import write_atomically

def content(file):
    file.write(b"half")
    file.flush()
    print("half", flush=True)
    signal.pause()

write_atomically(Path(sys.argv[1]), content)
"""


@pytest.mark.slow
def test_what_a_writer_that_was_killed_left_goes_with_the_next_write_and_a_living_ones_stays(
    tmp_path: Path,
) -> None:
    target = tmp_path / "a [file].json"
    writers = [
        subprocess.Popen([sys.executable, "-c", WRITES, str(target)], stdout=subprocess.PIPE)
        for _ in range(2)
    ]
    for writer in writers:
        assert writer.stdout is not None and writer.stdout.readline() == b"half\n"
    writers[0].kill()
    writers[0].wait()
    (tmp_path / f".{target.name}.other-1.x.tmp").touch()  # another machine's
    assert len([*tmp_path.iterdir()]) == 3
    write_atomically(target, b"whole")
    left = sorted(path.name for path in tmp_path.iterdir())
    assert len(left) == 3 and left[-1] == target.name and f"-{writers[1].pid}-" in left[0]
    writers[1].kill()
    for writer in writers:
        writer.communicate()
    write_atomically(target, b"whole")
    assert target.read_bytes() == b"whole" and len([*tmp_path.iterdir()]) == 2
