"""How a command ends on an error."""

import pytest

from tasks.errors import RefusedError, StepError, UserError, exiting_in_a_sentence


@pytest.mark.parametrize(("error", "code"), [(UserError, 2), (StepError, 1), (RefusedError, 3)])
def test_a_users_error_is_one_sentence_and_its_exit_code(
    error: type[UserError], code: int, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as end, exiting_in_a_sentence():
        raise error("There is no model 'fish': train it first.")
    assert end.value.code == code
    assert capsys.readouterr() == ("", "slipway: There is no model 'fish': train it first.\n")


def test_a_bug_keeps_its_traceback() -> None:
    with pytest.raises(KeyError), exiting_in_a_sentence():
        raise KeyError("fish")
