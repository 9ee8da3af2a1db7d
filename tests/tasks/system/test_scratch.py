"""Folders for a while: a killed process's go when the next is made, and nobody else's."""

import os
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from tasks.system.scratch import scratch

HOLDS = """
import signal
from tasks.system.scratch import scratch
with scratch("held") as folder:
    (folder / "file").write_text("left")
    print(folder, flush=True)
    signal.pause()
"""


def test_what_a_killed_process_left_goes_and_a_living_ones_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    others = [tmp_path / name for name in ("slipway-elsewhere-1-trial-x", "slipway-abc", "else")]
    for other in others:
        other.mkdir()
    holders = [
        subprocess.Popen(
            [sys.executable, "-c", HOLDS], stdout=subprocess.PIPE, env=os.environ | {"TMPDIR": str(tmp_path)}
        )
        for _ in range(2)
    ]
    killed, living = (Path(holder.stdout.readline().decode().strip()) for holder in holders if holder.stdout)
    holders[0].kill()
    holders[0].wait()
    with scratch("own") as own:
        assert own.stat().st_mode & 0o777 == 0o700
        assert not killed.exists() and (living / "file").read_text() == "left"
        assert all(other.is_dir() for other in others)
    assert not own.exists()
    holders[1].terminate()
    holders[1].wait()
    for holder in holders:
        if holder.stdout is not None:
            holder.stdout.close()
