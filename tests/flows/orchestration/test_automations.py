"""`python -m flows.orchestration.automations` as somebody meets it whose server is not ready for it."""

import re
from collections.abc import Callable, Iterator

import pytest
from prefect.settings import PREFECT_API_URL, temporary_settings

from flows.orchestration import automations, deployment
from tasks.errors import StepError


@pytest.fixture(autouse=True)
def nowhere() -> Iterator[None]:
    with temporary_settings({PREFECT_API_URL: "http://127.0.0.1:9/api"}):
        yield


@pytest.mark.slow
@pytest.mark.parametrize("command", [automations.main, deployment.main], ids=["automations", "deployment"])
def test_a_server_that_does_not_answer_is_one_sentence(
    command: Callable[[], None], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as end:
        command()
    assert end.value.code == 1
    sentence = r"slipway: Prefect does not answer at http://127\.0\.0\.1:9/api \(.*\): start it there.*\n"
    assert re.fullmatch(sentence, capsys.readouterr().err)


def test_a_deployment_that_is_not_there_is_one_sentence(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def apply() -> list[str]:
        raise StepError("The automation a starts the deployment b, which is not there: deploy it first.")

    monkeypatch.setattr(automations, "apply", apply)
    with pytest.raises(SystemExit) as end:
        automations.main()
    assert end.value.code == 1
    assert capsys.readouterr().err.startswith("slipway: The automation a starts the deployment b,")
