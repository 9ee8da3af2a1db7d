"""Errors that a user can cause: one sentence naming the thing, the value and the fix; never shown with a traceback."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager


class UserError(Exception):
    """Bad usage or bad input (exit code 2)."""

    exit_code = 2


class StepError(UserError):
    """Something outside the code broke while running: a full disk, a lost server, a loss that became NaN (exit code 1)."""

    exit_code = 1


class LostError(StepError):
    """A process of ours ended, or found no memory, before its work was done: nothing is known of what it looked at; worth another try."""


class RefusedError(UserError):
    """A gate said no; nothing was moved (exit code 3)."""

    exit_code = 3


@contextmanager
def exiting_in_a_sentence() -> Iterator[None]:
    """For a command: a user's error is one sentence on stderr and its exit code, a bug keeps its traceback."""
    try:
        yield
    except UserError as error:
        print(f"slipway: {error}", file=sys.stderr)
        sys.exit(error.exit_code)
