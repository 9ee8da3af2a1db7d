"""The `slipway` command as a user types it, and the server that it starts."""

import json
import shlex
import signal
import subprocess
import sys
import urllib.request
from collections.abc import Sequence
from pathlib import Path

from checkout import ROOT

COLD = (sys.executable, "-m", "flows.cli")


def slipway(
    command: str, environment: dict[str, str], folder: Path = ROOT, program: Sequence[str | Path] = COLD
) -> "subprocess.CompletedProcess[str]":
    words = [*program, *shlex.split(command)[1:]]
    return subprocess.run(words, env=environment, capture_output=True, text=True, cwd=folder)


class served:
    """The README's server on a free port, ended by a signal."""

    def __init__(self, environment: dict[str, str], command: str) -> None:
        words = shlex.split(command.replace("8080", "0"))[1:]
        self.process = subprocess.Popen(
            [sys.executable, "-m", "flows.cli", *words],
            env=environment,
            stdout=subprocess.PIPE,
            text=True,
        )

    def __enter__(self) -> str:
        assert self.process.stdout is not None
        return str(json.loads(self.process.stdout.readline())["url"])

    def __exit__(self, *_: object) -> None:
        self.process.send_signal(signal.SIGTERM)
        self.process.communicate(timeout=60)
        assert self.process.returncode == 0


def answer(url: str, body: str) -> "dict[str, dict[str, list[list[float]]]]":
    request = urllib.request.Request(
        f"{url}/invocations", body.encode(), {"Content-Type": "application/json"}
    )
    with urllib.request.urlopen(request) as reply:
        predictions: dict[str, dict[str, list[list[float]]]] = json.load(reply)
        return predictions
