"""Addresses as they may be shown."""

from urllib.parse import urlsplit


def without_secrets(uri: str) -> str:
    """The address without the user and the password in it."""
    parts = urlsplit(uri)
    if "@" not in parts.netloc:
        return uri  # put together again, sqlite:////path would lose two of its slashes
    return parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl()
