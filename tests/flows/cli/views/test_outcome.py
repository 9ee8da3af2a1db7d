"""What `slipway run` says when it is done."""

import datetime
import os
from pathlib import Path

import psutil
import pytest

from flows.cli.views.outcome import show_outcome
from infra.platform.state import Running, State, write_state
from tasks.outcome import Outcome

DONE = Outcome(
    workload="churn.py", model="churn", run_id=None, version=1, decision="promoted", reasons=(), seconds=1
)


def test_beside_a_platform_that_is_up_no_second_server_is_asked_for(
    home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    home.mkdir(mode=0o700)
    show_outcome(DONE, as_json=False)
    assert "slipway serve churn@champion" in capsys.readouterr().out
    server = Running(
        name="server", pid=1, since=datetime.datetime.now(datetime.UTC), restarts=0,
        url="http://127.0.0.1:8081", health="http://127.0.0.1:8081/health",
    )  # fmt: skip
    me = psutil.Process()
    write_state(home, State(home=home, pid=os.getpid(), created=me.create_time(), services=(server,)))
    show_outcome(DONE, as_json=False)
    said = capsys.readouterr().out
    assert "http://127.0.0.1:8081/#churn" in said and "slipway serve" not in said
