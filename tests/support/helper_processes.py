"""Processes that the tested code starts, and that something outside of it ends."""

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import psutil


@contextmanager
def sent_to_helpers(number: int, module: str, times: int = 1) -> Iterator[list[int]]:
    """The signal goes to the first `times` processes of ours that run `module`, as soon as each is there."""
    hit: list[int] = []
    over = threading.Event()

    def hunt() -> None:
        while not over.wait(0.01) and len(hit) < times:
            for child in psutil.Process(os.getpid()).children(recursive=True):
                try:
                    fitting = module in child.cmdline() and child.pid not in hit
                except psutil.Error:
                    continue
                if fitting and len(hit) < times:
                    child.send_signal(number)
                    hit.append(child.pid)

    thread = threading.Thread(target=hunt)
    thread.start()
    try:
        yield hit
    finally:
        over.set()
        thread.join()
