"""Ending processes: asked first, killed when they do not listen."""

import signal
import subprocess
import sys
import time

import psutil
import pytest

from tasks.system.processes import end_all, family

DEAF = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('up', flush=True); time.sleep(600)"
POLITE = "import signal, sys, time; signal.signal(signal.SIGTERM, lambda *_: sys.exit(7)); print('up', flush=True); time.sleep(600)"
PARENT = f"import subprocess, sys; subprocess.Popen([sys.executable, '-c', {DEAF!r}]).wait()"


def start(code: str) -> "subprocess.Popen[bytes]":
    process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE)
    assert process.stdout is not None and process.stdout.readline() == b"up\n"
    process.stdout.close()
    return process


@pytest.mark.slow
def test_who_listens_ends_by_itself_and_who_does_not_is_killed_after_one_patience_for_all() -> None:
    polite, deaf, other = start(POLITE), start(DEAF), start(DEAF)
    started = time.monotonic()
    end_all([deaf, polite, other], patience=1)
    assert [process.returncode for process in (polite, deaf, other)] == [7, -signal.SIGKILL, -signal.SIGKILL]
    assert 1 <= time.monotonic() - started < 30


@pytest.mark.slow
def test_a_process_that_is_not_ours_to_wait_for_is_ended_too_and_one_that_is_gone_is_no_error() -> None:
    parent = start(PARENT)
    _, grandchild = family(parent.pid)
    parent.kill()
    parent.wait()
    end_all([grandchild, parent], patience=0)
    assert not grandchild.is_running() or grandchild.status() == psutil.STATUS_ZOMBIE
    end_all([grandchild])
    assert family(parent.pid) == []
