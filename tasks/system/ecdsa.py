"""Signatures of a text by keys of an elliptic curve, and such public keys as files have them. The server imports this: nothing heavy here."""

import base64
from typing import TYPE_CHECKING

from tasks.errors import UserError
from tasks.system.signers import PrivateKey

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric import ec


def sign(text: str, key: PrivateKey) -> str:
    """ECDSA with SHA-256 over `text`, in base64."""
    from cryptography.hazmat.primitives import hashes
    from cryptography.hazmat.primitives.asymmetric import ec

    return base64.b64encode(key.sign(text.encode(), ec.ECDSA(hashes.SHA256()))).decode()


def verifies(key: "ec.EllipticCurvePublicKey", text: str, signature: str) -> bool:
    from cryptography.exceptions import InvalidSignature
    from cryptography.hazmat.primitives import hashes
    from cryptography.hazmat.primitives.asymmetric import ec

    try:
        key.verify(base64.b64decode(signature, validate=True), text.encode(), ec.ECDSA(hashes.SHA256()))
    except (InvalidSignature, ValueError):
        return False
    return True


def load_public(pem: bytes, name: str) -> "ec.EllipticCurvePublicKey":
    """Raises UserError for what is no key of an elliptic curve."""
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    try:
        key = serialization.load_pem_public_key(pem)
    except (ValueError, UnsupportedAlgorithm) as error:
        raise UserError(f"{name} is not a PEM public key.") from error
    if not isinstance(key, ec.EllipticCurvePublicKey):
        raise UserError(f"{name} is not a key of an elliptic curve, which signatures here are made with.")
    return key
