"""Where a private key is: in a file, in a variable, in a token (PKCS #11), or with a service that this process can only ask.

Whatever it is, it has cryptography's `public_key` and `sign`, so that all that is signed goes one way.
"""

import atexit
import base64
import hashlib
import http.client
import json
import os
import re
import socket
import struct
import threading
from functools import cache, cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol
from urllib.parse import urlsplit

from tasks.errors import StepError, UserError
from tasks.system.imports import import_less
from tasks.system.sentences import first_line
from tasks.system.urls import is_here, without_secrets

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric import ec

import_less()  # whoever signs or checks has this module, before model-signing

VARIABLES = PRIVATE, PASSPHRASE, SERVICE, SERVICE_KEY = (
    "SLIPWAY_PRIVATE_KEY",
    "SLIPWAY_KEY_PASSPHRASE",
    "SLIPWAY_SIGNER",
    "SLIPWAY_SIGNER_KEY",
)

LOOPBACK = ("127.0.0.1", "localhost", "::1")

_PEM, _TOKEN = "-----BEGIN", "pkcs11:"

_KEY_LENGTH = 64
"""Characters of the shortest private key, in hex."""

_PIN = re.compile(r"(pin-value=)[^;&?\s'\"]*")

_SECONDS = 10.0

_SESSION = threading.Lock()
"""A token's session does one thing at a time."""


class PrivateKey(Protocol):
    """What signs: cryptography's key of an elliptic curve, or something that does as it does."""

    def public_key(self) -> "ec.EllipticCurvePublicKey": ...

    def sign(self, data: bytes, signature_algorithm: Any, /) -> bytes: ...


class Level(NamedTuple):
    """Of SLSA's build track, as far as the key decides it: 2 where the process that trains cannot reach the key."""

    number: int
    why: str


def load(given: str, name: str = PRIVATE) -> PrivateKey:
    """The key that a path, a PEM text or a `pkcs11:` address names. Raises UserError for what is none, naming `name`."""
    if _TOKEN in given:
        with _SESSION:
            return _token(given)
    if not is_path(given):
        return _elliptic(given.encode(), name)
    path = Path(given)
    try:
        return _elliptic(path.read_bytes(), str(path))
    except OSError as error:
        raise UserError(
            f"{name}={shown(given)} is no file: point it at a PEM key, or unset it to use the one under SLIPWAY_HOME."
        ) from error


def is_path(given: str) -> bool:
    """Also a key in quotes, or with its ends of lines written out, is none: a path is what sentences name."""
    return _TOKEN not in given and _PEM not in given


def shown(given: str) -> str:
    """What a sentence may say of a value: a path or an address, and no key, PIN or password."""
    if _TOKEN in given:
        return _without_pins(given.partition("?")[0])
    # A key without its PEM lines is one long word.
    named = is_path(given) and (len(given) < _KEY_LENGTH or Path(given).is_absolute())
    return without_secrets(given) if named else "the one given"


def service() -> "Service | None":
    """The signing service that SLIPWAY_SIGNER names. Raises UserError for what is no address."""
    address = os.environ.get(SERVICE)
    if not address:
        return None
    if place_of(address) is None:
        raise UserError(
            f"{SERVICE}={without_secrets(address)} is no address of a signing service: write http://host:port or unix:///path/to/socket."
        )
    return Service(without_secrets(address))


def place_of(address: str) -> Path | tuple[str, int] | None:
    """The socket, or host and port, that an address of a signing service names; None of what is none."""
    try:
        parts = urlsplit(address)
        if parts.scheme == "unix" and parts.path:
            return Path(parts.path)
        port = 80 if parts.port is None else parts.port
        return (parts.hostname, port) if parts.scheme == "http" and parts.hostname else None
    except ValueError:  # a port that is no number, or half an IPv6 address
        return None


def public_pem(key: "PrivateKey | ec.EllipticCurvePublicKey") -> str:
    from cryptography.hazmat.primitives import serialization

    public: Any = key.public_key() if hasattr(key, "public_key") else key
    pem = public.public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    return str(pem.decode())


def fingerprint(pem: str) -> str:
    """SHA-256 of a public key's PEM text: what `sha256sum public.pem` says, and a signature's own hint of its key."""
    return hashlib.sha256(pem.encode()).hexdigest()


def _elliptic(pem: bytes, where: str) -> PrivateKey:
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    passphrase = os.environ.get(PASSPHRASE)
    try:
        key = serialization.load_pem_private_key(pem, passphrase.encode() if passphrase else None)
    except (TypeError, ValueError, UnsupportedAlgorithm) as error:
        text = str(error)
        if isinstance(error, TypeError) and passphrase is None:
            raise UserError(
                f"The private key {where} is encrypted: give its passphrase in {PASSPHRASE}."
            ) from error
        if isinstance(error, TypeError):
            raise UserError(
                f"The private key {where} has no passphrase, and {PASSPHRASE} is set: unset it."
            ) from error
        if passphrase is not None and ("decrypt" in text.lower() or "password" in text.lower()):
            raise UserError(
                f"The private key {where} does not open with the passphrase in {PASSPHRASE}."
            ) from error
        raise UserError(
            f"{where} is not a PEM private key: it has its lines as they were written, and no quotes."
        ) from error
    if not isinstance(key, ec.EllipticCurvePrivateKey):
        raise UserError(f"{where} is not a key of an elliptic curve, which signatures here are made with.")
    return key


@cache
def _token(address: str) -> "Token":
    """By model-signing's own reader of RFC 7512; one session a process."""
    name = shown(address)
    try:
        from model_signing._signing.sign_pkcs11 import Signer
    except ImportError as error:
        raise UserError(f"{PRIVATE}={name} takes PyKCS11: pip install 'slipway[pkcs11]'.") from error
    try:
        try:
            return Token(Signer(address), name)
        except Exception as error:
            if "CKR_USER_ALREADY_LOGGED_IN" not in str(error):
                raise
            return Token(Signer(_without_pin(address)), name)  # another key of the same token: it is open
    except Exception as error:  # PyKCS11's, model-signing's and the module's have no common base
        raise UserError(
            f"{PRIVATE}={name} cannot be used ({_without_pins(first_line(error)) or 'no such module'}): it takes token, object, pin and module-path of one that is there."
        ) from error


def _without_pins(text: str) -> str:
    return _PIN.sub(r"\1…", text)


def _without_pin(address: str) -> str:
    which, _, how = address.partition("?")
    return f"{which}?{'&'.join(part for part in how.split('&') if not part.startswith('pin-'))}"


class Token:
    """A key that never leaves its token."""

    def __init__(self, signer: Any, name: str) -> None:
        self._signer = signer
        self.name = name
        atexit.register(self._close)

    def _close(self) -> None:
        """While its library is there still."""
        session, self._signer.session = self._signer.session, None
        session.closeSession()

    def public_key(self) -> "ec.EllipticCurvePublicKey":
        public: ec.EllipticCurvePublicKey = self._signer.public_key()
        return public

    def sign(self, data: bytes, signature_algorithm: Any, /) -> bytes:
        import PyKCS11
        from asn1crypto.algos import DSASignature
        from cryptography.hazmat.primitives import hashes

        digest = hashes.Hash(signature_algorithm.algorithm)
        digest.update(data)
        mechanism = PyKCS11.Mechanism(PyKCS11.CKM_ECDSA, None)
        try:
            with _SESSION:
                plain = self._signer.session.sign(
                    self._signer._private_key, digest.finalize(), mecha=mechanism
                )
        except PyKCS11.PyKCS11Error as error:
            raise StepError(f"{self.name} does not sign ({error}): is the token still there?") from error
        return bytes(DSASignature.from_p1363(bytes(plain)).dump())


class Service:
    """A key that another process has (infra/secrets/signer.py); it signs what it knows, and nothing else."""

    def __init__(self, address: str) -> None:
        self.address = address

    def public_key(self) -> "ec.EllipticCurvePublicKey":
        return self._public

    @cached_property
    def _public(self) -> "ec.EllipticCurvePublicKey":
        from cryptography.hazmat.primitives import serialization
        from cryptography.hazmat.primitives.asymmetric import ec

        try:
            key = serialization.load_pem_public_key(self._ask("GET", "/public-key", None))
        except ValueError as error:
            raise StepError(
                f"{self.address} answers, and not with a public key: is it a signing service?"
            ) from error
        if not isinstance(key, ec.EllipticCurvePublicKey):
            raise UserError(
                f"The signing service {self.address} has a key of another kind than an elliptic curve's."
            )
        return key

    def sign(self, data: bytes, signature_algorithm: Any, /) -> bytes:
        asked = {
            "data": base64.b64encode(data).decode(),
            "hash": type(signature_algorithm.algorithm).__name__,
        }
        return self._ask("POST", "/sign", json.dumps(asked).encode())

    def _ask(self, method: str, path: str, body: bytes | None) -> bytes:
        key, place = os.environ.get(SERVICE_KEY, "").strip(), place_of(self.address)
        if not (key.isascii() and key.isprintable()):
            raise UserError(f"{SERVICE_KEY} is not one line of ASCII, as a password is: set it again.")
        headers = {"Authorization": f"Bearer {key}"} if key else {}
        connection = (
            http.client.HTTPConnection(*place, timeout=_SECONDS)
            if isinstance(place, tuple)
            else _UnixConnection(str(place))
        )
        try:
            connection.request(method, path, body, headers)
            answer = connection.getresponse()
            content = answer.read()
        except (OSError, http.client.HTTPException) as error:
            raise StepError(
                f"The signing service {self.address} does not answer ({first_line(error)}): nothing is signed without it."
            ) from error
        finally:
            connection.close()
        if answer.status == http.client.UNAUTHORIZED:
            raise UserError(
                f"The signing service {self.address} does not take this key: set {SERVICE_KEY} to its."
            )
        if answer.status != http.client.OK:
            raise StepError(
                f"The signing service {self.address} refused: {content.decode(errors='replace')[:300]}"
            )
        return content

    def level(self) -> Level:
        place = place_of(self.address)
        if isinstance(place, tuple):
            if is_here(place[0]):
                return Level(
                    1,
                    f"nothing shows that the signing service {self.address} is on another machine, or another user's",
                )
            return Level(2, f"the signing service {self.address} has the key, on another host")
        if os.getuid() in (0, _owner(str(place))):
            return Level(
                1, f"the signing service at {self.address} runs as a user whose files this process may read"
            )
        return Level(2, f"another user's signing service at {self.address} has the key")


class _UnixConnection(http.client.HTTPConnection):
    def __init__(self, path: str) -> None:
        super().__init__("localhost", timeout=_SECONDS)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(_SECONDS)
        self.sock.connect(self._path)


def _owner(path: str) -> int:
    """Of the process that listens there, as the kernel says; ours where nobody does, for then nothing is known."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as line:
        try:
            line.connect(path)
            credentials = line.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))
        except OSError:
            return os.getuid()
    return int(struct.unpack("3i", credentials)[1])
