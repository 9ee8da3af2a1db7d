"""`slipway status` as people read it."""

import datetime
import json
import re
import shutil
from pathlib import Path

import pytest
import rollouts
import typer

from flows.cli.platform import status
from flows.cli.views.status import first_step, show_status
from infra.platform.status import Status
from tasks.promotion import rolling
from tasks.registry.registry import Registry
from tasks.registry.status_tags import StatusTag
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


@pytest.mark.slow
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
        rows = [line.split(maxsplit=1) for line in capsys.readouterr().out.splitlines()]
        assert [row for row in rows if row and row[0] in up.serves] == [
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


ADDRESSES = {"prefect": "http://127.0.0.1:4200", "server": "http://127.0.0.1:8080"}
TOMORROW = datetime.datetime.now(datetime.UTC) + datetime.timedelta(1)
FORM = "http://127.0.0.1:4200/runs/flow-run/1#answer"
QUESTION = StatusTag(
    model="digits",
    subject="question",
    said="Promote digits version 2?",
    until=TOMORROW,
    pages={"prefect": FORM},
)


def test_what_flows_said_stands_below_a_model_and_a_question_leads_to_its_form(
    capsys: pytest.CaptureFixture[str],
) -> None:
    run = StatusTag(model="digits", subject="run", said="registered v2 [0.98]")
    said = {"digits": {"run": run, "question": QUESTION}}
    show_status(Status(up=True, pid=1, serves={"digits": "1"}, statuses=said), as_json=False)  # type: ignore[arg-type]
    lines = [re.sub(r"\d+ min", "# min", line.strip()) for line in capsys.readouterr().out.splitlines()[-2:]]
    assert lines == [
        "last run: registered v2 [0.98] (# min ago)",
        f"asked # min ago: Promote digits version 2? {FORM}",
    ]


def test_what_was_answered_last_stands_there_as_on_the_page(capsys: pytest.CaptureFixture[str]) -> None:
    answered = StatusTag(model="digits", subject="question", said="eve refused version 2: too big")
    statuses = {"digits": {"question": answered}}
    show_status(Status(up=True, pid=1, serves={"digits": "1"}, statuses=statuses), as_json=False)  # type: ignore[arg-type]
    assert "last question: eve refused version 2: too big (0 min ago)" in capsys.readouterr().out


def test_a_first_run_that_failed_stands_there_with_where_to_look_also_before_the_server_knows_the_model(
    capsys: pytest.CaptureFixture[str],
) -> None:
    page = "http://127.0.0.1:4200/runs/flow-run/1"
    failed = StatusTag(
        model="mine", subject="run", said="failed: no rows.", tone="bad", pages={"prefect": page}
    )
    show_status(Status(up=True, pid=1, serves={}, statuses={"mine": {"run": failed}}), as_json=False)
    lines = [line.strip() for line in capsys.readouterr().out.splitlines()[-2:]]
    assert lines == ["mine  no champion yet", f"last run: failed: no rows. (0 min ago) {page}"]


def test_up_begins_with_a_question_else_with_what_there_is_else_with_a_first_training() -> None:
    answered = QUESTION.model_copy(update={"until": None})
    assert first_step(ADDRESSES, {"digits": {"question": QUESTION}}).endswith(FORM)
    assert "8080: what serves" in first_step(ADDRESSES, {"digits": {"question": answered}})
    assert "4200/deployments" in first_step(ADDRESSES, {}) and "slipway run digits" in first_step(
        ADDRESSES, {}
    )
