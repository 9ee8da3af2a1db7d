"""Processes of the server started before anything is known of their work: they import while the options are still read.

Nothing heavy here: this runs first.
"""

import contextlib
import os
import socket
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[3]

WORKER, FOLLOWER = "infra.serving.processes.worker", "infra.serving.processes.follower"

INSPECTOR = "infra.serving.lifecycle.inspector"


class Started(NamedTuple):
    """A process that waits for its work on standard input, and our end of the line to it."""

    process: subprocess.Popen[bytes]
    line: socket.socket

    def discard(self) -> None:
        """It is not needed, or not any more."""
        self.line.close()
        self.process.kill()
        self.process.communicate()


def start(module: str, stderr: int | None = None) -> Started:
    """Run a module of the server; the number of its end of the line is its only argument."""
    ours, theirs = socket.socketpair()
    with theirs, contextlib.ExitStack() as failed:
        failed.callback(ours.close)
        process = subprocess.Popen(
            [sys.executable, "-m", module, str(theirs.fileno())],
            pass_fds=[theirs.fileno()],
            stdin=subprocess.PIPE,
            stderr=stderr,
            env=environment(),
            start_new_session=True,
        )
        failed.pop_all()
    return Started(process, ours)


def start_inspector() -> Started:
    """What inspects one model folder; it imports meanwhile what it takes to do so, and says nothing but its answer."""
    return start(INSPECTOR, stderr=subprocess.DEVNULL)


def environment() -> dict[str, str]:
    """Ours, in which the project can be imported from any folder."""
    path = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
    return {**os.environ, "PYTHONPATH": path}
