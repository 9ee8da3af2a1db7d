"""Addresses: as they are shown, whose they are, and whether anybody answers at one."""

import socket
from contextlib import suppress
from urllib.parse import urlsplit


def without_secrets(uri: str) -> str:
    """The address without the user and the password in it."""
    try:
        parts = urlsplit(uri)
    except ValueError:  # half an IPv6 address
        return uri.rpartition("@")[2]
    if "@" not in parts.netloc:
        return uri  # put together again, sqlite:////path would lose two of its slashes
    return parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl()


def answers(url: str) -> bool:
    """Whether the address answers, with success, within two seconds."""
    from http.client import HTTPException
    from urllib.request import urlopen

    try:
        with urlopen(url, timeout=2) as answer:
            return bool(answer.status == 200)
    except (OSError, HTTPException):
        return False


def is_here(host: str) -> bool:
    """Whether it is one of this machine's own addresses, at which one can listen; also where nothing says whose it is."""
    try:
        found = socket.getaddrinfo(host, 0, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError):
        return True
    for family, kind, _, _, address in found:
        with suppress(OSError), socket.socket(family, kind) as line:
            line.bind(address)
            return True
    return False
