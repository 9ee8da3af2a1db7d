"""A Prefect state for tests of what is tried again."""


class FailedState:
    """A task's state after `error`, as Prefect gives it."""

    def __init__(self, error: Exception) -> None:
        self._error = error

    def result(self) -> None:
        raise self._error
