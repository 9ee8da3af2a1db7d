"""API keys: compared in constant time, kept as digests, read again when their file changes."""

import base64
import hashlib
import hmac
import logging
import os
from collections.abc import Mapping
from pathlib import Path

from infra.serving.options import KEYS_VARIABLE
from tasks.errors import UserError

logger = logging.getLogger("slipway.serving")


def keys_given() -> list[bytes]:
    """Those that the environment names. Raises UserError where it is set and names none: nobody who sets it wants an open server."""
    given = os.environ.get(KEYS_VARIABLE, "")
    keys = [text.strip().encode() for text in given.split(",") if text.strip()]
    if given and not keys:
        raise UserError(f"{KEYS_VARIABLE} is set to {given!r} and has no key in it: name one, or unset it.")
    return keys


class Keys:
    """Which keys open the server. None at all: it is open."""

    def __init__(self, path: Path | None) -> None:
        self.path = path
        self.fixed = keys_given()
        self.stamp: tuple[int, int] | None = None
        self.fault: int | None = None  # why the file could not be read the last time
        self.digests: tuple[bytes, ...] = tuple(map(_digest, self.fixed))
        if path is not None and not path.is_file():
            raise UserError(f"keys file {path} does not exist")
        self.refresh()

    @property
    def required(self) -> bool:
        return bool(self.digests) or self.path is not None

    def refresh(self) -> None:
        """Read the file again if it changed; one that cannot be read keeps the keys there were."""
        if self.path is None:
            return
        try:
            status = self.path.stat()
            stamp = (status.st_mtime_ns, status.st_size)
            if stamp != self.stamp:
                lines = [line.strip() for line in self.path.read_bytes().splitlines()]
                keys = [line for line in lines if line and not line.startswith(b"#")]
                self.digests = tuple(map(_digest, [*self.fixed, *keys]))
                self.stamp = stamp
            self.fault = None
        except OSError as error:
            if self.fault != error.errno:
                self.fault = error.errno
                logger.warning("keys file %s cannot be read, the keys stay: %s", self.path, error.strerror)

    def allow(self, headers: Mapping[bytes, bytes]) -> bool:
        """Whether `Authorization: Bearer KEY` or `X-API-Key: KEY` is one of the keys; every key is looked at, whichever matches."""
        if not self.required:
            return True
        api_key, authorization = headers.get(b"x-api-key"), headers.get(b"authorization", b"")
        if api_key is None and authorization[:7].lower() == b"bearer ":
            api_key = authorization[7:].strip()
        presented = _digest(api_key or b"")
        allowed = False
        for digest in self.digests:
            allowed |= hmac.compare_digest(presented, digest)
        return allowed and api_key is not None

    def allow_password(self, headers: Mapping[bytes, bytes]) -> bool:
        """The same of a browser, which asks a person for a name, whatever it is, and a password."""
        kind, _, given = headers.get(b"authorization", b"").partition(b" ")
        if kind.lower() != b"basic":
            return False
        try:
            key = base64.b64decode(given, validate=True).partition(b":")[2]
        except ValueError:
            return False
        return self.allow({b"x-api-key": key})


def _digest(key: bytes) -> bytes:
    return hashlib.sha256(key).digest()
