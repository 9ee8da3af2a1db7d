"""What a client can be told has gone wrong: a status, a code and one sentence, and nothing of the inside."""

from collections.abc import Callable, Collection

import orjson

from tasks.system.sentences import shortened


class Problem(Exception):
    """An answer that is not a prediction. `code` is for programs, `message` for people."""

    def __init__(
        self,
        status: int,
        code: str,
        message: str,
        retry_after: int | None = None,
        allow: str | None = None,
        challenge: str = "Bearer",
    ) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.message = message
        self.retry_after = retry_after
        self.allow = allow
        self.challenge = challenge

    @property
    def body(self) -> bytes:
        return orjson.dumps({"error": self.message, "code": self.code})


class Unfit(Problem):
    """Some rows of a batch hold values that turn out, while they are read, to be no such thing: nothing is said of the others."""

    def __init__(self, rows: Collection[int], say: Callable[[int, int], str]) -> None:
        super().__init__(422, "invalid_input", say(min(rows), 0))
        self.rows = sorted(rows)
        self.say = say

    def within(self, start: int, stop: int) -> Problem | None:
        """What whoever sent the rows from `start` to `stop` is told; None when they are none of these."""
        row = next((row for row in self.rows if start <= row < stop), None)
        return None if row is None else unacceptable(self.say(row, start))


def malformed(message: str) -> Problem:
    """The body cannot be read at all."""
    return Problem(400, "malformed", message)


def unacceptable(message: str) -> Problem:
    """The body can be read but is not what this model takes."""
    return Problem(422, "invalid_input", message)


def shown(value: object) -> str:
    """A client's own value, shortened and made printable, to be quoted back at it."""
    return shortened(repr(value), 60)
