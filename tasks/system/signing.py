"""Who vouches for a folder or a text: our key pair, OpenSSF model-signing over every file in it. Light until it signs."""

import base64
import os
import re
import secrets
import stat
import tempfile
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from tasks.errors import StepError, UserError
from tasks.system.files import sync_folder, write_atomically
from tasks.system.sentences import as_user_error, first_line, some

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes, PublicKeyTypes
    from model_signing import hashing

SIGNATURE = "evidence.sig"

_IGNORED = (SIGNATURE, "registered_model_meta")  # MLflow adds the second to what it downloads


class EvidenceError(StepError):
    """A folder whose proof does not hold. `part` is what fails: missing, signature, key, other, replay, or a file's name."""

    def __init__(self, message: str, part: str) -> None:
        super().__init__(message)
        self.part = part


def private_key() -> Path:
    """SLIPWAY_PRIVATE_KEY, else the key under SLIPWAY_HOME, which is made for its owner alone when it is not there.

    Raises UserError as `given_key` does, and for a key of ours that others can read.
    """
    if given := given_key():
        return given
    path = _keys_folder() / "private.pem"
    if not path.exists():
        _create_private_key(path)
    return _for_its_owner(path)


def given_key() -> Path | None:
    """SLIPWAY_PRIVATE_KEY, looked at before anything rests on it; None when it is not set.

    Raises UserError when it names no key, one that others can read, and one that is not the other half of SLIPWAY_PUBLIC_KEY.
    """
    given = os.environ.get("SLIPWAY_PRIVATE_KEY")
    if not given:
        return None
    path = _for_its_owner(_existing(Path(given), "SLIPWAY_PRIVATE_KEY"))
    if os.environ.get("SLIPWAY_PUBLIC_KEY"):
        half, public = _load_private(path).public_key(), public_key()
        if half != _load_public(public):
            raise UserError(
                f"SLIPWAY_PUBLIC_KEY={public} is not the public half of SLIPWAY_PRIVATE_KEY={given}, so that nothing signed here would verify "
                "here: name both halves of one pair, or leave SLIPWAY_PUBLIC_KEY out."
            )
    return path


def public_key() -> Path:
    """SLIPWAY_PUBLIC_KEY, else the key under SLIPWAY_HOME. Raises UserError when there is none to check against."""
    if given := os.environ.get("SLIPWAY_PUBLIC_KEY"):
        return _existing(Path(given), "SLIPWAY_PUBLIC_KEY")
    if given := os.environ.get("SLIPWAY_PRIVATE_KEY"):
        return _derive_public_key(_keys_folder() / "public-of-given.pem", Path(given))
    path = _keys_folder() / "public.pem"
    return path if path.exists() else _derive_public_key(path, path.with_name("private.pem"))


def public_keys() -> tuple[Path, ...]:
    """Every public key that this machine was given, or has the private half of; none on one that has neither."""
    folder = _keys_folder()
    given = any(os.environ.get(name) for name in ("SLIPWAY_PUBLIC_KEY", "SLIPWAY_PRIVATE_KEY"))
    keys = [public_key()] if given else []
    if (folder / "public.pem").exists() or (folder / "private.pem").exists():
        own = folder / "public.pem"
        keys.append(own if own.exists() else _derive_public_key(own, folder / "private.pem"))
    return tuple(dict.fromkeys(keys))


def create_key_pair(private: Path, public: Path) -> None:
    """A new key, 0600, unless `private` is there; and its public half. For machines whose keys are mounted."""
    _create_private_key(private)
    write_atomically(public, _public_pem(private))


def signing_key() -> Path | None:
    """`private_key`, but None on a machine that was only given the public half: a key of its own would fit nothing."""
    own = _keys_folder() / "private.pem"
    given = os.environ.get("SLIPWAY_PRIVATE_KEY")
    checks_only = "SLIPWAY_PUBLIC_KEY" in os.environ or own.with_name("public.pem").exists()
    return None if not given and not own.exists() and checks_only else private_key()


def sign_text(text: str, key: Path) -> str:
    """ECDSA with SHA-256 over `text`, in base64. Raises UserError for what is no private key of an elliptic curve."""
    from cryptography.hazmat.primitives import hashes
    from cryptography.hazmat.primitives.asymmetric import ec

    private = _load_private(key)
    if not isinstance(private, ec.EllipticCurvePrivateKey):
        raise _not_elliptic(key)
    return base64.b64encode(private.sign(text.encode(), ec.ECDSA(hashes.SHA256()))).decode()


def text_checker(key: Path) -> Callable[[str, str], bool]:
    """What tells whether a signature of `sign_text` over a text is by the owner of the public `key`. Raises UserError as it does."""
    from cryptography.exceptions import InvalidSignature
    from cryptography.hazmat.primitives import hashes
    from cryptography.hazmat.primitives.asymmetric import ec

    public = _load_public(key)
    if not isinstance(public, ec.EllipticCurvePublicKey):
        raise _not_elliptic(key)

    def fits(text: str, signature: str) -> bool:
        try:
            public.verify(
                base64.b64decode(signature, validate=True), text.encode(), ec.ECDSA(hashes.SHA256())
            )
        except (InvalidSignature, ValueError):
            return False
        return True

    return fits


def sign_folder(folder: Path, key: Path) -> None:
    """Sign every file below `folder` but the signature itself, into `folder`/evidence.sig. Links are refused."""
    from model_signing import signing

    with as_user_error(f"{key} is not an unencrypted PEM private key"):
        config = signing.Config().use_elliptic_key_signer(private_key=key)
    config.set_hashing_config(_every_file())
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=".signing-") as temporary:
        config.sign(folder, Path(temporary) / SIGNATURE)
        write_atomically(folder / SIGNATURE, (Path(temporary) / SIGNATURE).read_bytes())


def check_folder(folder: Path, key: Path) -> None:
    """Return if `folder` holds exactly the files that the owner of `key` signed. Raises EvidenceError naming what fails."""
    from cryptography.exceptions import InvalidSignature
    from model_signing import verifying

    with as_user_error(f"{key} is not a PEM public key"):
        config = verifying.Config().use_elliptic_key_verifier(public_key=key)
    config.set_hashing_config(_every_file())  # left to guess, it overlooks an added .gitignore
    try:
        config.verify(folder, folder / SIGNATURE)
    except FileNotFoundError as error:
        raise EvidenceError(
            f"{folder.name}: it has no {SIGNATURE}: it was never signed.", "signature"
        ) from error
    except (InvalidSignature, KeyError, TypeError, AttributeError, IndexError, RecursionError) as error:
        raise EvidenceError(
            f"{folder.name}: its {SIGNATURE} is damaged: the signature does not fit what it signs.",
            "signature",
        ) from error
    except ValueError as error:
        reason, part = _explain(error, key)
        raise EvidenceError(f"{folder.name}: {reason}.", part) from error


def _every_file() -> "hashing.Config":
    from model_signing import hashing

    return hashing.Config().set_ignored_paths(paths=_IGNORED, ignore_git_paths=False)


def _explain(error: ValueError, key: Path) -> tuple[str, str]:
    """model-signing's message as a reason, and the part that fails."""
    text = str(error)
    if "Key mismatch" in text:
        return f"it is signed by another key than {key}", "key"
    if "Signature mismatch" not in text:
        return f"its {SIGNATURE} cannot be read: {first_line(error, 120)}", "signature"
    text = text.replace("\\'", "'")
    if changed := re.findall(r"Hash mismatch for '([^']+)'", text):
        return f"{some(changed, 1)} was altered after it was signed", changed[0]
    for kind, what in (("Extra", "was added after it was signed"), ("Missing", "is missing")):
        if listed := re.search(rf"{kind} files (?:found )?in model '[^']*': ([^'\"\]]+)", text):
            names = listed[1].split(", ")
            return f"{some(names, 1)} {what}", names[0]
    return "its files are not those that were signed", "signature"


def _keys_folder() -> Path:
    return Path(os.environ.get("SLIPWAY_HOME") or ".slipway").absolute() / "keys"


def _for_its_owner(path: Path) -> Path:
    """As ssh has it: a key of this user's own may be read by nobody else; one that is mounted is up to whoever mounts it."""
    status, folder = path.stat(), path.parent.stat()
    open_folder = folder.st_mode & (stat.S_IXGRP | stat.S_IXOTH)
    if open_folder and status.st_uid == os.getuid() and status.st_mode & (stat.S_IRWXG | stat.S_IRWXO):
        raise UserError(
            f"The private key {path} can be read by others (mode {stat.S_IMODE(status.st_mode):04o}), so that anybody here could sign: `chmod 600 {path}`."
        )
    return path


def _existing(path: Path, variable: str) -> Path:
    if not path.is_file():
        raise UserError(
            f"{variable}={path} is no file: point it at a PEM key, or unset it to use the one under SLIPWAY_HOME."
        )
    return path


def _create_private_key(path: Path) -> None:
    """A P-256 key, 0600 in a 0700 folder; of two processes that make one at once, one wins and both use it."""
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    pem = ec.generate_private_key(ec.SECP256R1()).private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    path.parent.mkdir(mode=stat.S_IRWXU, parents=True, exist_ok=True)
    own = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    write_atomically(own, pem)  # made 0600
    try:
        with suppress(FileExistsError):
            path.hardlink_to(own)
    finally:
        own.unlink()
    sync_folder(path.parent)


def _derive_public_key(path: Path, private: Path) -> Path:
    try:
        write_atomically(path, _public_pem(private))
    except FileNotFoundError as error:
        raise UserError(
            f"There is no public key at {path} to check signatures with: copy it there, or set SLIPWAY_PUBLIC_KEY."
        ) from error
    return path


def _load_private(path: Path) -> "PrivateKeyTypes":
    """Raises UserError for what is no key."""
    from cryptography.hazmat.primitives import serialization

    content = path.read_bytes()
    with as_user_error(f"{path} is not an unencrypted PEM private key"):
        return serialization.load_pem_private_key(content, None)


def _load_public(path: Path) -> "PublicKeyTypes":
    """Raises UserError for what is no key."""
    from cryptography.hazmat.primitives import serialization

    with as_user_error(f"{path} is not a PEM public key"):
        return serialization.load_pem_public_key(path.read_bytes())


def _not_elliptic(key: Path) -> UserError:
    return UserError(f"{key} is not a key of an elliptic curve, which signatures here are made with.")


def _public_pem(private: Path) -> bytes:
    from cryptography.hazmat.primitives import serialization

    public = _load_private(private).public_key()
    return public.public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
