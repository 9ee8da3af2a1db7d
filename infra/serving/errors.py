"""The two ways in which a version is turned down: for good, and for now."""


class Unservable(Exception):
    """This version will not be served; the text says why."""


class NotNow(Unservable):
    """It could not be had or looked at this time, which says nothing of the version: it is tried again, at most `longest` seconds later."""

    def __init__(self, reason: str, longest: float = 600.0) -> None:
        super().__init__(reason)
        self.longest = longest
