"""The Prefect server of one command: it says why it does not start, asks nobody for an account, and goes with its command."""

import shutil
import subprocess
import sys
import urllib.request
from pathlib import Path

import psutil
import pytest
from filelock import FileLock, Timeout

from flows.orchestration.embedded import EmbeddedServer
from tasks.errors import StepError


def test_a_prefect_server_that_does_not_start_says_why(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = EmbeddedServer(tmp_path)
    (tmp_path / "logs").mkdir()
    (tmp_path / "logs" / "prefect-server.log").write_text("starting\nValueError: no such database\n")
    with pytest.raises(StepError, match="did not start .ValueError: no such database.; its log is"):
        server.wait()
    monkeypatch.setattr("flows.orchestration.embedded.LEAST_BYTES", 10**18)
    with pytest.raises(
        StepError, match="did not start: only .* MB are free in .*, make room or set SLIPWAY_HOME"
    ):
        server.wait()


@pytest.mark.slow
def test_a_command_with_a_server_of_its_own_needs_no_account(
    tmp_path: Path, empty_prefect_database: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copyfile(empty_prefect_database, tmp_path / "prefect.db")
    monkeypatch.setenv("PREFECT_SERVER_API_AUTH_STRING", "ada:a-long-prefect-secret")
    monkeypatch.setenv("PREFECT_API_URL", "")  # put back afterwards: the server's start sets it
    server = EmbeddedServer(tmp_path)
    lock = FileLock(tmp_path / "logs" / "prefect-server.lock")
    server.start()
    try:
        with pytest.raises(Timeout):
            lock.acquire(timeout=0)  # a second run in this home waits until the tables are made
        server.wait()
        lock.acquire(timeout=0)
        lock.release()
        urllib.request.urlopen(f"{server.api_url}/admin/version", timeout=60).close()
    finally:
        server.stop()


@pytest.mark.slow
def test_the_embedded_server_goes_when_its_command_is_killed(home: Path) -> None:

    code = (
        "from pathlib import Path; import sys, time\nfrom flows.orchestration.embedded import EmbeddedServer\n"
        f"server = EmbeddedServer(Path({str(home)!r})); server.start(); print(server.pid, flush=True); time.sleep(600)"
    )
    process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    server = psutil.Process(int(process.stdout.readline()))
    process.kill()
    process.communicate()
    server.wait(timeout=30)
    assert not server.is_running()
