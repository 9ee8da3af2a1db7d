"""`slipway status` as people read it."""

import pytest

from flows.cli.views.status import show_status
from infra.platform.status import Status


def test_a_model_that_is_being_loaded_is_not_said_to_have_no_champion(
    capsys: pytest.CaptureFixture[str],
) -> None:
    show_status(
        Status(up=True, pid=1, serves={"digits": None, "flights": None, "glosses": "3"}, loading=("digits",)),
        as_json=False,
    )
    rows = [line.split(maxsplit=1) for line in capsys.readouterr().out.splitlines()[-3:]]
    assert rows == [["digits", "loading"], ["flights", "no champion yet"], ["glosses", "version 3"]]


def test_a_model_that_was_deployed_stands_there_before_it_has_a_champion(
    capsys: pytest.CaptureFixture[str],
) -> None:
    show_status(Status(up=True, pid=1, serves={"digits": "3"}, deployed=("churn", "digits")), as_json=False)
    rows = [line.split(maxsplit=1) for line in capsys.readouterr().out.splitlines()[-2:]]
    assert rows == [["churn", "no champion yet"], ["digits", "version 3"]]
