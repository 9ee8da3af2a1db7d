"""Processes of the server started before anything is known of their work: they import while the options are still read.

Nothing heavy here: this runs first.
"""

import os
import socket
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[3]

WORKER, FOLLOWER = "infra.serving.processes.worker", "infra.serving.processes.follower"


class Started(NamedTuple):
    """A process that waits for its job on standard input, and our end of the line to it."""

    process: subprocess.Popen[bytes]
    line: socket.socket

    def discard(self) -> None:
        """It is not needed after all."""
        self.line.close()
        self.process.kill()
        self.process.communicate()


def start(module: str) -> Started:
    """Run a module of the server; the number of its end of the line is its only argument."""
    ours, theirs = socket.socketpair()
    with theirs:
        process = subprocess.Popen(
            [sys.executable, "-m", module, str(theirs.fileno())],
            pass_fds=[theirs.fileno()],
            stdin=subprocess.PIPE,
            env=environment(),
            start_new_session=True,
        )
    return Started(process, ours)


def environment() -> dict[str, str]:
    """Ours, in which the project can be imported from any folder."""
    path = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
    return {**os.environ, "PYTHONPATH": path}
