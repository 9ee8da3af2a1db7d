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

import psutil

MARK = "SLIPWAY_MARK"

_PATIENCE_SECONDS = 5.0


def start_tied(command: tuple[str, ...], **settings: object) -> "subprocess.Popen[bytes]":
    """Start `python -m command…` on a leash; Ctrl-C in the terminal is for the holder, which ends it in order."""
    words = [sys.executable, "-m", "tasks.system.processes", *command]
    return subprocess.Popen(words, stdin=subprocess.PIPE, start_new_session=True, **settings)  # type: ignore[call-overload, no-any-return]


def end_all(processes: list[psutil.Process], patience: float = _PATIENCE_SECONDS) -> None:
    """SIGTERM, then SIGKILL for what is still there after `patience` seconds."""
    for process in processes:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.terminate()
    for process in psutil.wait_procs(processes, patience)[1]:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.kill()


def family(pid: int) -> list[psutil.Process]:
    """The process and all that descend from it, the youngest generation last; none when it is gone."""
    with contextlib.suppress(psutil.NoSuchProcess):
        process = psutil.Process(pid)
        return [process, *process.children(recursive=True)]
    return []


def marked(mark: str) -> list[psutil.Process]:
    """All that was started with this mark in its environment, also what lost its parent since; but not this process."""
    found = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            if process.pid != os.getpid() and process.environ().get(MARK) == mark:
                found.append(process)
    return found


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
