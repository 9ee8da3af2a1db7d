"""Which failures of a step are tried again."""

import errno

import pytest
from failed_state import FailedState

from flows.pipeline.binding import worth_a_retry
from tasks.errors import LostError, StepError, UserError


@pytest.mark.parametrize(
    ("error", "again"),
    [
        (LostError("a helper was killed"), True),
        (ConnectionResetError("by the peer"), True),
        # which may have been the only one
        (OSError(errno.EIO, "Input/output error"), True),
        # or a person waits half a minute for a sentence
        (OSError(errno.ENOSPC, "No space left on device"), False),
        (RuntimeError("(sqlite3.OperationalError) database or disk is full"), False),
        (StepError("No space for metrics"), False),
        (UserError("no such file"), False),
    ],
)
def test_what_may_pass_is_tried_again_and_what_stays_is_not(error: Exception, again: bool) -> None:
    assert worth_a_retry(None, None, FailedState(error)) is again
