"""`python -m infra.secrets.signer ADDRESS`: a process that has the private key, so that those that train do not.

It signs the kinds of statements that Slipway makes, each parsed first and written down after; changes of keys are none of them. It answers
`POST /sign` to whoever has SLIPWAY_SIGNER_KEY and `GET /public-key` to everybody, and has no other interface.
"""

import base64
import hashlib
import hmac
import json
import logging
import os
import re
import socket
import socketserver
import sys
from collections.abc import Callable
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from infra.secrets.inject import check_secret
from tasks.errors import StepError, UserError, exiting_in_a_sentence
from tasks.promotion.entries import LedgerEntry
from tasks.proof.permit import SUMMARY, PermitError, read_permit
from tasks.registry.status_tags import StatusTag
from tasks.rollout.record import RolloutRecord
from tasks.system import signers, signing
from tasks.system.envelope import PAYLOAD, STATEMENT
from tasks.system.signers import LOOPBACK, PrivateKey, place_of
from tasks.system.urls import without_secrets

MAX_BODY = 16 * 1024 * 1024

_SECONDS = 15

STATEMENTS = {
    "https://model_signing/signature/v1.0": "a folder's files",
    SUMMARY: "a permit",
    "https://slsa.dev/provenance/v1": "a provenance",
    "https://in-toto.io/attestation/test-result/v0.1": "test results",
}
"""What may be said of digests, by in-toto's type of it."""

_LENGTH = r"0|[1-9][0-9]{0,8}"
"""Digits of more than there can be are no number of Python's."""

_HEAD = re.compile(r"slipway ledger head of [^\n]{1,500}: [1-9]\d{0,8} [0-9a-f]{64}")

log = logging.getLogger("slipway.signer")


def kind_of(data: bytes) -> str:
    """In words, what is asked to be signed. Raises UserError for anything that Slipway does not sign, and for what is not well formed."""
    try:
        text = data.decode()
    except UnicodeDecodeError as error:  # what would be signed is not what was looked at
        raise UserError("it is none of the texts that Slipway signs: it is not UTF-8") from error
    if text.startswith("DSSEv1 "):
        return _statement(text)
    if _HEAD.fullmatch(text):
        return "how far a ledger has come"
    for read in (_entry, _record, _status):
        with suppress(ValidationError):
            if kind := read(text):
                return kind
    raise UserError("it is none of the texts that Slipway signs")


def _statement(text: str) -> str:
    match = re.fullmatch(rf"DSSEv1 {len(PAYLOAD)} {re.escape(PAYLOAD)} ({_LENGTH}) (.*)", text, re.DOTALL)
    if match is None or len(match[2].encode()) != int(match[1]):
        raise UserError("it is no in-toto statement in DSSE's encoding")
    try:
        statement = json.loads(match[2])
        kind = STATEMENTS[statement["predicateType"]]
        digests = [str(subject["digest"]["sha256"]) for subject in statement["subject"]]
        whole = statement["_type"] == STATEMENT and isinstance(statement["predicate"], dict)
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise UserError("it is no in-toto statement of a kind that Slipway makes") from error
    if not (whole and digests and all(re.fullmatch("[0-9a-f]{64}", digest) for digest in digests)):
        raise UserError("it is an in-toto statement about nothing that has a digest")
    if statement["predicateType"] == SUMMARY:
        payload = base64.b64encode(match[2].encode()).decode()
        envelope = {"payloadType": PAYLOAD, "payload": payload, "signatures": [{"sig": ""}]}
        try:
            permit = read_permit(json.dumps(envelope), lambda text, signature: True)
        except PermitError as error:
            raise UserError("it is a verification summary, and no permit that a server could read") from error
        return f"{kind} for {permit.model} version {permit.version}, serial {permit.serial}"
    return f"{kind}, of {digests[0][:16]}"


def _printable(text: str) -> str:
    """On one line, whoever wrote it: names of models and people are others' words."""
    return "".join(letter if letter.isprintable() else "�" for letter in text)


def _entry(text: str) -> str | None:
    entry = LedgerEntry.model_validate_json(text)
    return f"{entry} of {entry.model}, by {entry.who}" if entry.canonical == text else None


def _record(text: str) -> str | None:
    record = RolloutRecord.model_validate_json(text)
    return f"the rollout of {record.model} version {record.new}" if record.model_dump_json() == text else None


def _status(text: str) -> str | None:
    status = StatusTag.model_validate_json(text)
    return (
        f"the {status.subject} of {status.model}"
        if status.model_dump_json(exclude_defaults=True) == text
        else None
    )


class Handler(BaseHTTPRequestHandler):
    """One connection. `key` and `password` are the service's."""

    key: PrivateKey
    password: str = ""
    timeout = _SECONDS
    server_version, sys_version = "slipway-signer", ""

    def do_GET(self) -> None:
        if self.path == "/public-key":
            self._answer(200, signers.public_pem(self.key).encode())
        else:
            self._answer(404, b"there is /sign and /public-key")

    def do_POST(self) -> None:
        given = self.headers.get("Authorization", "")
        if self.password and not hmac.compare_digest(given.encode(), f"Bearer {self.password}".encode()):
            return self._answer(401, b"this is not its key")
        if self.path != "/sign":
            return self._answer(404, b"there is /sign and /public-key")
        length = self.headers.get("Content-Length", "")
        if not re.fullmatch(_LENGTH, length) or int(length) > MAX_BODY:
            return self._answer(413, b"a body has a length, of 16 MiB at most")
        try:
            self._answer(200, self._signed(self.rfile.read(int(length))))
        except UserError as error:
            log.warning("refused: %s", _printable(str(error)))
            self._answer(503 if isinstance(error, StepError) else 422, str(error).encode())

    def _signed(self, body: bytes) -> bytes:
        from cryptography.hazmat.primitives import hashes
        from cryptography.hazmat.primitives.asymmetric import ec

        known: dict[str, Any] = {
            each.__name__: each for each in (hashes.SHA256, hashes.SHA384, hashes.SHA512)
        }
        try:
            asked = json.loads(body)
            data, algorithm = base64.b64decode(asked["data"], validate=True), known[asked["hash"]]
        except (ValueError, KeyError, TypeError, RecursionError) as error:
            raise UserError('a request is {"data": base64, "hash": "SHA256"}') from error
        kind = kind_of(data)
        signature = self.key.sign(data, ec.ECDSA(algorithm()))
        log.info("signed %s (sha256 %s)", _printable(kind), hashlib.sha256(data).hexdigest())
        return signature

    def _answer(self, status: int, content: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(content)))
        self.send_header("Connection", "close")
        self.end_headers()
        self.wfile.write(content)
        self.close_connection = True

    def log_message(self, format: str, *args: Any) -> None:
        """Each request would be said twice."""

    def address_string(self) -> str:
        return "a socket"


class _Tcp(ThreadingHTTPServer):
    daemon_threads = True


class _Unix(socketserver.ThreadingMixIn, socketserver.UnixStreamServer):
    daemon_threads = True


def serve(address: str, key: PrivateKey, password: str) -> "_Tcp | _Unix":
    """The service, listening at http://host:port or unix:///path. Raises UserError for what is no address, or open to others without a password."""
    place, named = place_of(address), without_secrets(address)
    handler = type("Handler", (Handler,), {"key": key, "password": password})
    if place is None:
        raise UserError(f"{named} is no address: write http://host:port or unix:///path/to/socket.")
    try:
        if isinstance(place, Path):
            return _listening_at(place, handler)
        if not password and place[0] not in LOOPBACK:
            raise UserError(
                f"{named} would sign for whoever reaches it: give a password in {signers.SERVICE_KEY} to it and to those who ask."
            )
        return _Tcp(place, handler)
    except OSError as error:
        raise UserError(f"{named} cannot be listened at ({error.strerror}): choose another.") from error


def _listening_at(path: Path, handler: Callable[..., BaseHTTPRequestHandler]) -> _Unix:
    """For its owner and its group. A socket that nobody listens at any more is replaced."""
    if path.is_socket():
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as line:
            if line.connect_ex(str(path)) == 0:
                raise UserError(f"unix://{path} is another signing service's already: choose another.")
        path.unlink()
    before = os.umask(0o117)
    try:
        return _Unix(str(path), handler)
    finally:
        os.umask(before)


@exiting_in_a_sentence()
def main(words: list[str]) -> None:
    """Sign until ended. The key is SLIPWAY_PRIVATE_KEY's, or the home's."""
    if len(words) != 1 or os.environ.get(signers.SERVICE):
        raise UserError(
            f"python -m infra.secrets.signer takes one address, such as http://127.0.0.1:8090, and has the key itself ({signers.SERVICE} unset)."
        )
    password = os.environ.get(signers.SERVICE_KEY, "")
    check_secret(signers.SERVICE_KEY, password)
    logging.basicConfig(level=logging.INFO, stream=sys.stderr, format="%(asctime)s %(name)s %(message)s")
    with serve(words[0], signing.signer(), password.strip()) as service:
        name = signers.fingerprint(signers.public_pem(signing.signer()))[:12]
        log.info("signs with %s at %s", name, without_secrets(words[0]))
        with suppress(KeyboardInterrupt):
            service.serve_forever()


if __name__ == "__main__":
    main(sys.argv[1:])
