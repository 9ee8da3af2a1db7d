"""Promote a version as a worker does, and say what came of it: for tests that race, stop and wake such a process.

    promote_in_a_process.py MODEL VERSION AGAINST [STOP]

It says "ready", waits for a line, and with STOP (a method of the registry) stops itself with SIGSTOP right before that call.
"""

import os
import signal
import sys

from flows.orchestration.events import announced
from tasks.errors import RefusedError
from tasks.promotion.champion import model_lock, promote
from tasks.registry.registry import Registry
from tasks.settings import load_settings

_stopped: list[bool] = []


def stop() -> None:
    _stopped.append(True)
    os.kill(os.getpid(), signal.SIGSTOP)


class Stopping(Registry):
    """Stops before an alias is moved, as a machine that is suspended would."""

    def set_alias(self, model: str, alias: str, version: int) -> None:
        if alias == "champion" and not _stopped:
            stop()
        super().set_alias(model, alias, version)


class StoppingEarlier(Registry):
    """Stops between its last look and its decision."""

    def claim(self, model: str, name: str, value: str) -> str:
        if name.startswith("entry-") and not _stopped:
            stop()
        return super().claim(model, name, value)


def main(model: str, version: str, against: str, where: str = "") -> None:
    settings = load_settings()
    kind = {"": Registry, "set_alias": Stopping, "claim": StoppingEarlier}[where]
    registry = kind(settings)
    found = registry.version(model, int(version))
    assert found is not None
    print("ready", flush=True)
    sys.stdin.readline()
    try:
        with announced(registry, model), model_lock(settings, model):
            promote(registry, found, against=int(against), why="it was asked", who=f"process {os.getpid()}")
        print("promoted", flush=True)
    except RefusedError as error:
        print(error, flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
