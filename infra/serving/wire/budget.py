"""What a worker holds in bytes for all its clients at once: bodies that arrive, rows that wait or run, answers not taken yet.

A body comes in whichever way and is counted once; what has no room is refused, so that memory does not grow with clients.
"""

from infra.serving.wire.problems import Problem

SMALL = 64 * 1024

SPARE = 4
"""A part of the budget that large bodies may not fill: small requests are still answered while those are turned away."""

NO_ROOM = "no_room"


def no_room() -> Problem:
    """A new one each time: an exception that is raised again keeps every frame that it has been through, and their bodies."""
    return Problem(503, NO_ROOM, "as many bytes are being read and answered as this server holds at once", 1)


class Budget:
    """One for a worker; `used` may be added to and taken from directly where a batch does it for many."""

    __slots__ = ("large", "limit", "used")

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.large = limit - limit // SPARE
        self.used = 0

    def has_room(self, more: int, whole: int) -> bool:
        """Whether `more` bytes can be held of something that comes to `whole` so far."""
        return self.used + more <= (self.limit if whole <= SMALL else self.large)


class Hold:
    """The part of a budget that one request or one connection takes."""

    __slots__ = ("budget", "size")

    def __init__(self, budget: Budget) -> None:
        self.budget = budget
        self.size = 0

    def grow(self, more: int) -> bool:
        """Take more; false, with nothing taken, when there is no room."""
        if not self.budget.has_room(more, self.size + more):
            return False
        self.size += more
        self.budget.used += more
        return True

    def shrink(self, size: int) -> None:
        """It is no more than `size` now."""
        self.budget.used -= self.size - size
        self.size = size

    def release(self) -> None:
        self.budget.used -= self.size
        self.size = 0
