"""`python -m tasks.system.processes MODULE ARG…`: run a module that ends, with all it started, when the process that holds it is gone.

The holder keeps the other end of standard input and never writes. However it ends, the kernel closes that end: this works
after `kill -9`, on Linux and on macOS, and needs no word from the module.
"""

import contextlib
import os
import runpy
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import psutil

MARK = "SLIPWAY_MARK"

_PATIENCE_SECONDS = 5.0

_CRASHES = {
    -number for number in (signal.SIGSEGV, signal.SIGABRT, signal.SIGBUS, signal.SIGFPE, signal.SIGILL)
}


def is_running(process: int) -> bool:
    """Whether there is a process of this number on this machine."""
    with contextlib.suppress(PermissionError):  # it is somebody else's, and there
        try:
            os.kill(process, 0)
        except (ProcessLookupError, OverflowError):
            return False
    return True


def cpu_seconds() -> float:
    """Of this process since it began, and of its children that ended."""
    return sum(os.times()[:4])


def started(process: int) -> int:
    """When it was, in the kernel's ticks since it booted; 0 where that cannot be read."""
    with contextlib.suppress(OSError, IndexError):
        return int(Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[19])
    return 0


def start_tied(command: tuple[str, ...], **settings: object) -> "subprocess.Popen[bytes]":
    """Start `python -m command…` on a leash; Ctrl-C in the terminal is for the holder, which ends it in order."""
    words = [sys.executable, "-m", "tasks.system.processes", *command]
    return subprocess.Popen(words, stdin=subprocess.PIPE, start_new_session=True, **settings)  # type: ignore[call-overload, no-any-return]


def end_all(
    processes: "Sequence[psutil.Process | subprocess.Popen[bytes]]", patience: float = _PATIENCE_SECONDS
) -> None:
    """SIGTERM, then SIGKILL for what is still there after `patience` seconds; returns when all are gone.

    A child that is ours is given as its Popen, which then knows its exit code.
    """
    import psutil

    gone = (psutil.NoSuchProcess, ProcessLookupError)
    end = time.monotonic() + patience
    for process in processes:
        with contextlib.suppress(*gone):
            process.terminate()
    for process in processes:
        try:
            process.wait(max(0.0, end - time.monotonic()))
        except (psutil.TimeoutExpired, subprocess.TimeoutExpired):
            with contextlib.suppress(*gone):
                process.kill()
                process.wait()


def how_it_ended(code: int) -> str:
    """A child's exit code in words: "was ended by SIGKILL", "ended with code 1"."""
    if code >= 0:
        return f"ended with code {code}"
    with contextlib.suppress(ValueError):
        return f"was ended by {signal.Signals(-code).name}"
    return f"was ended by signal {-code}"


def crashed(code: int) -> bool:
    """Whether a child ended by what its own code did, as far as its exit code can tell: nobody stops a process that way."""
    return code in _CRASHES


def family(pid: int) -> "list[psutil.Process]":
    """The process and all that descend from it, the youngest generation last; none when it is gone."""
    import psutil

    with contextlib.suppress(psutil.NoSuchProcess):
        process = psutil.Process(pid)
        return [process, *process.children(recursive=True)]
    return []


def marked(mark: str) -> "list[psutil.Process]":
    """All that was started with this mark in its environment, also what lost its parent since; but not this process."""
    import psutil

    def has_mark(process: psutil.Process) -> bool:
        with contextlib.suppress(psutil.Error):
            return bool(process.environ().get(MARK) == mark)
        return False

    return [process for process in psutil.process_iter() if process.pid != os.getpid() and has_mark(process)]


def _watch() -> None:
    while os.read(0, 1):  # not sys.stdin: its lock would be in the way when the module ends
        pass
    mark = os.environ.get(MARK)
    end_all(marked(mark) if mark else family(os.getpid())[1:])
    os.kill(os.getpid(), signal.SIGKILL)


def main() -> None:
    """Run the named module as if it had been called by name."""
    threading.Thread(target=_watch, daemon=True, name="leash").start()
    del sys.argv[0]
    runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main()
