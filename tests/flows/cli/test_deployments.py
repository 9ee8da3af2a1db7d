"""`slipway deploy` as it is said: what cannot be deployed is not published either."""

import sys
from pathlib import Path
from uuid import uuid4

import deployed
import pytest
from prefect import get_client
from prefect.client.schemas.actions import WorkPoolCreate

from flows.cli import __main__ as cli

MINE = """
from dataclasses import replace
from tasks.workloads.examples.digits import workload as digits
workload = replace(digits, name="mine")
"""


def test_what_cannot_be_deployed_is_said_before_anything_is_published(
    prefect_server: str,
    home: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    file, store, pool = tmp_path / "mine.py", tmp_path / "store", f"pool-{uuid4().hex[:8]}"
    file.write_text(MINE)
    store.mkdir()
    monkeypatch.setenv("SLIPWAY_STORE", f"file://{store}")
    cases = {
        ("--name", "Mine now"): "--name 'Mine now' is no name for a deployment",
        ("--name", "digits"): "is not one of `slipway deploy`",
        ("--cron", "61 2 * * *"): "--cron '61 2 * * *' is no schedule",
        ("--cron", "0 2 * * *", "--timezone", "Europe/Atlantis"): "'Europe/Atlantis' is no time zone",
        ("--params", "train.epoch=3"): "--params train.epoch: there is no such setting; did you mean",
        ("--params", "gates.min_score=null"): "Prefect's form cannot say null",
        ("--pool", "nowhere"): "There is no work pool 'nowhere'",
        ("--image", "team/worker:latest"): "--image team/worker:latest: name it by its digest",
    }
    with deployed.talking_to(prefect_server, home), get_client(sync_client=True) as client:
        client.create_work_pool(WorkPoolCreate(name=pool, type="process"))
        for words, sentence in cases.items():
            monkeypatch.setattr(sys, "argv", ["slipway", "deploy", str(file), "--pool", pool, *words])
            with pytest.raises(SystemExit) as ended:
                cli.main()
            said = capsys.readouterr().err
            assert ended.value.code == 2 and sentence in said and said.count("\n") == 1, said
        client.delete_work_pool(pool)
    assert [*store.iterdir()] == [] and [*home.glob("bundles/*")] == []
