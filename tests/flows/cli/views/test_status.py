"""`slipway status` as people read it."""

import json
import shutil
from pathlib import Path

import pytest
import rollouts
import typer

from flows.cli.platform import status
from flows.cli.views.status import show_status
from infra.platform.status import Status
from tasks.promotion import rolling
from tasks.registry.registry import Registry
from tasks.settings import load_settings


def test_a_model_that_is_being_loaded_is_not_said_to_have_no_champion(
    capsys: pytest.CaptureFixture[str],
) -> None:
    show_status(
        Status(up=True, pid=1, serves={"digits": None, "flights": None, "glosses": "3"}, loading=("digits",)),
        as_json=False,
    )
    rows = [line.split(maxsplit=1) for line in capsys.readouterr().out.splitlines()[-3:]]
    assert rows == [["digits", "loading"], ["flights", "no champion yet"], ["glosses", "version 3"]]


def test_a_rollout_that_is_open_stands_beside_what_serves(
    capsys: pytest.CaptureFixture[str],
    home: Path,
    empty_mlflow_database: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """As the command has it: of a ledger, for a platform that is up."""
    home.mkdir(mode=0o700)
    shutil.copyfile(empty_mlflow_database, home / "mlflow.db")
    registry = rollouts.with_rollout(Registry(load_settings()), steps=["10%", "50%"])
    rollouts.begun(registry, "digits")
    up = Status(up=True, pid=1, serves={"digits": "1", "glosses": "3"})
    monkeypatch.setattr("infra.platform.status.platform_status", lambda _: up)
    for where in ("at 10% of the keys", "paused"):
        if where == "paused":
            rolling.say(registry.settings, "digits", "pause", why="a holiday")
        with pytest.raises(typer.Exit) as end:
            status(json=False)
        assert end.value.exit_code == 0
        rows = [line.split(maxsplit=1) for line in capsys.readouterr().out.splitlines()[-2:]]
        assert rows == [
            ["digits", f"version 1, version 2 beside it, {where}"],
            ["glosses", "version 3"],
        ]
    with pytest.raises(typer.Exit):
        status(json=True)
    assert json.loads(capsys.readouterr().out)["rollouts"] == {"digits": "version 2 beside it, paused"}


def test_a_model_that_was_deployed_stands_there_before_it_has_a_champion(
    capsys: pytest.CaptureFixture[str],
) -> None:
    show_status(Status(up=True, pid=1, serves={"digits": "3"}, deployed=("churn", "digits")), as_json=False)
    rows = [line.split(maxsplit=1) for line in capsys.readouterr().out.splitlines()[-2:]]
    assert rows == [["churn", "no champion yet"], ["digits", "version 3"]]
