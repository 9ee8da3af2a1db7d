"""The one way in which a version is turned down."""


class Unservable(Exception):
    """This version will not be served; the text says why."""
