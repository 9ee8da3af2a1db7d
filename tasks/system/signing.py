"""Who vouches for a folder or a text: our key pair, OpenSSF model-signing over every file in it. Light until it signs."""

import json
import os
import re
import secrets
import stat
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tasks.errors import StepError, UserError
from tasks.system import ecdsa, signers
from tasks.system.ecdsa import load_public
from tasks.system.files import sync_folder, write_atomically
from tasks.system.keyring import Keyring, KeyState, read_keyring
from tasks.system.sentences import first_line, some
from tasks.system.signers import Level, PrivateKey, fingerprint, is_path, public_pem

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric import ec
    from model_signing import hashing

SIGNATURE = "evidence.sig"

_PUBLIC = "SLIPWAY_PUBLIC_KEY"

ADDED = "registered_model_meta"
"""What MLflow adds to what it downloads."""

IGNORED = (SIGNATURE, ADDED)
"""Of a signed folder."""


class EvidenceError(StepError):
    """A folder whose proof does not hold. `part` is what fails: missing, signature, key, other, replay, or a file's name."""

    def __init__(self, message: str, part: str) -> None:
        super().__init__(message)
        self.part = part


def private_key() -> Path:
    """The key under SLIPWAY_HOME, or the file that SLIPWAY_PRIVATE_KEY names; made for its owner alone when it is not there.

    Raises UserError as `given_key` does, and for a key of ours that others can read.
    """
    named = os.environ.get(signers.PRIVATE)
    if named and is_path(named):
        return _for_its_owner(_existing(Path(named), signers.PRIVATE))
    path = keys_folder() / "private.pem"
    if not path.exists():
        create_private_key(path)
    return _for_its_owner(path)


def given_key() -> PrivateKey | None:
    """SLIPWAY_SIGNER's or SLIPWAY_PRIVATE_KEY's, looked at before anything rests on it; None when neither is set.

    Raises UserError when it names no key, one that others can read, one that SLIPWAY_PUBLIC_KEY does not lead to, and one that ended.
    """
    key = given()
    return None if key is None else _in_force(key)


def signer() -> PrivateKey:
    """What signs here: as given, else the key under SLIPWAY_HOME. Raises UserError as `given_key` does."""
    return given_key() or _in_force(signers.load(str(private_key())))


def level() -> Level:
    """How far a process that trains here is from the key, in SLSA's levels of a build, and why."""
    service = signers.service()
    if service is None:
        return Level(1, "the process that trains has the key at hand")
    at_hand = [os.environ.get(signers.PRIVATE), *map(str, keys_folder().glob("*.pem"))]
    if any(_is_private_of(given, service) for given in at_hand if given):
        return Level(1, "the process that trains has the key of the signing service at hand")
    return service.level()


def public_key() -> Path:
    """SLIPWAY_PUBLIC_KEY, else the key under SLIPWAY_HOME. Raises UserError when there is none to check against."""
    if named := os.environ.get(_PUBLIC):
        return _existing(Path(named), _PUBLIC)
    if any(os.environ.get(name) for name in (signers.PRIVATE, signers.SERVICE)):
        return _derive_public_key(keys_folder() / "public-of-given.pem", given())
    path = keys_folder() / "public.pem"
    return path if path.exists() else _derive_public_key(path, _own(path.with_name("private.pem")))


def keyring() -> Keyring:
    """The keys that `public_key` leads to, by what this home has learned of registries."""
    return read_keyring(public_key(), keys_folder())


def revoking() -> bool:
    """Whether some key was revoked, so that what was checked before may count no longer."""
    try:
        return keyring().revoking
    except UserError:  # without a key nothing was checked
        return False


def public_keys(files: Sequence[Path] = ()) -> tuple[Path | KeyState, ...]:
    """Every public key in `files` and its successors, or else that this machine was given or has the private half of and all that they lead to; no revoked one, and none on one that has neither."""
    believed: dict[str, Path | KeyState] = {}
    for path in files or _public_files():
        own = fingerprint(public_pem(load_public(path.read_bytes(), str(path))))
        ring = read_keyring(path, keys_folder())
        led_to = ring.successors(own) if files else {*ring.states}
        for name, state in ring.states.items():
            if name in led_to and state.revoked is None and (name == own or name not in believed):
                believed[name] = path if name == own else state
    return tuple(sorted(believed.values(), key=lambda key: isinstance(key, KeyState)))


def create_key_pair(private: Path, public: Path) -> None:
    """A new key, 0600, unless `private` is there; and its public half. For machines whose keys are mounted."""
    create_private_key(private)
    write_atomically(public, public_pem(signers.load(str(private))).encode())


def signing_key() -> PrivateKey | None:
    """`signer`, but None on a machine that was only given the public half: a key of its own would fit nothing."""
    own = keys_folder() / "private.pem"
    named = any(os.environ.get(name) for name in (signers.PRIVATE, signers.SERVICE))
    checks_only = _PUBLIC in os.environ or own.with_name("public.pem").exists()
    return None if not named and not own.exists() and checks_only else signer()


def sign_text(text: str, key: Path | PrivateKey) -> str:
    """ECDSA with SHA-256 over `text`, in base64. Raises UserError for what is no private key of an elliptic curve."""
    return ecdsa.sign(text, signers.load(str(key)) if isinstance(key, Path) else key)


def text_checker(key: Path) -> Callable[[str, str], bool]:
    """What tells whether a signature of `sign_text` over a text is by the owner of the public `key`. Raises UserError as it does."""
    public = load_public(key.read_bytes(), str(key))
    return lambda text, signature: ecdsa.verifies(public, text, signature)


def sign_folder(folder: Path, key: Path | PrivateKey) -> None:
    """Sign every file below `folder` but the signature itself, into `folder`/evidence.sig. Links are refused."""
    from model_signing import signing
    from model_signing._signing import sign_ec_key

    own = sign_ec_key.Signer.__new__(sign_ec_key.Signer)  # whose own beginning takes a file, and nothing else
    own_key: Any = signers.load(str(key)) if isinstance(key, Path) else key
    own._private_key = own_key
    config = signing.Config()
    config._signer = own
    config.set_hashing_config(_every_file())
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=".signing-") as temporary:
        config.sign(folder, Path(temporary) / SIGNATURE)
        write_atomically(folder / SIGNATURE, (Path(temporary) / SIGNATURE).read_bytes())


def check_by(folder: Path, keys: Keyring, digest: str, given: Path) -> None:
    """Return if `folder` holds exactly what one of `keys` signed while it counted. `digest`: what an inventory would list of it.

    Raises EvidenceError naming what fails; `given` is what the keys rest on.
    """
    name = signed_by(folder, keys)
    _check_folder(folder, keys.key(name), str(given))
    if why_not := keys.states[name].refusal(digest):
        raise EvidenceError(f"{folder.name}: it is signed by {why_not}.", "key")


def signed_by(folder: Path, keys: Keyring) -> str:
    """The fingerprint of the one of `keys` that a folder's signature is by, whether or not it names it; of the newest where it is by none."""
    if (named := _named_key(folder)) in keys.states:
        return named
    names = [*reversed(keys.states)]
    return next((name for name in names if _is_by(folder, keys.key(name), name)), names[0])


def _is_by(folder: Path, key: "ec.EllipticCurvePublicKey", name: str) -> bool:
    with suppress(EvidenceError):
        _check_folder(folder, key, name)
        return True
    return False


def _named_key(folder: Path) -> str:
    """The fingerprint that a folder's signature names as its key's; empty where it names none that can be read."""
    try:
        envelope = json.loads((folder / SIGNATURE).read_bytes())
        return str(envelope["verificationMaterial"]["publicKey"].get("hint", ""))
    except (OSError, ValueError, LookupError, TypeError, AttributeError, RecursionError):
        return ""


def check_folder(folder: Path, key: Path | KeyState) -> None:
    """Return if `folder` holds exactly the files that the owner of `key` signed. Raises EvidenceError naming what fails."""
    pem = key.read_bytes() if isinstance(key, Path) else key.pem.encode()
    _check_folder(folder, load_public(pem, str(key)), str(key))


def signed_digest(folder: Path, name: str, keys: Keyring) -> str | None:
    """Of the file `name`, by the signature of a folder whose files may be elsewhere; None where that is by none of `keys`, or counts no longer."""
    from cryptography.exceptions import InvalidSignature
    from model_signing._signing.sign_sigstore_pb import Signature

    named = _named_key(folder)
    for state in [keys.states[named]] if named in keys.states else reversed(keys.states.values()):
        try:
            listed = _verifier(keys.key(state.fingerprint)).verify(Signature.read(folder / SIGNATURE))
        except (InvalidSignature, ValueError, LookupError, TypeError, AttributeError, RecursionError):
            continue
        digests = {each.identifier: str(each.digest.digest_hex) for each in listed.resource_descriptors()}
        return digests[name] if name in digests and state.refusal(digests[name]) is None else None
    return None


def _verifier(key: "ec.EllipticCurvePublicKey") -> Any:
    from model_signing._signing import sign_ec_key

    own = sign_ec_key.Verifier.__new__(sign_ec_key.Verifier)  # as in sign_folder
    own._public_key = key
    # its remark about a signature that names no key would stand on stdout, amid a command's JSON
    sign_ec_key.print = lambda *_: None  # type: ignore[attr-defined]
    return own


def _check_folder(folder: Path, key: "ec.EllipticCurvePublicKey", name: str) -> None:
    from cryptography.exceptions import InvalidSignature
    from model_signing import verifying

    config = verifying.Config()
    config._verifier = _verifier(key)
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
        reason, part = _explain(error, name)
        raise EvidenceError(f"{folder.name}: {reason}.", part) from error


def _every_file() -> "hashing.Config":
    from model_signing import hashing

    return hashing.Config().set_ignored_paths(paths=IGNORED, ignore_git_paths=False)


def _explain(error: ValueError, key: str) -> tuple[str, str]:
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


def given() -> PrivateKey | None:
    """As `given_key`, unchecked: also one that ended."""
    named = os.environ.get(signers.PRIVATE)
    if (service := signers.service()) is not None or not named:
        return service
    return signers.load(str(private_key()) if is_path(named) else named)


def _in_force(key: PrivateKey) -> PrivateKey:
    """The same, unless what is signed with it would not count here."""
    name, keys = fingerprint(public_pem(key)), keyring()
    if name not in keys.states:
        variable = next((name for name in (signers.SERVICE, signers.PRIVATE) if os.environ.get(name)), None)
        named = os.environ.get(variable, "") if variable else str(private_key())
        raise UserError(
            f"{_PUBLIC}={public_key()} is not the public half of {variable or 'the key'}={signers.shown(named)}, so that "
            f"nothing signed here would verify here: name both halves of one pair, or leave {_PUBLIC} out."
        )
    if (state := keys.ended(name)) is not None:
        how = "is revoked" if state.revoked else f"was handed over on {state.until:%Y-%m-%d %H:%M} UTC"
        raise UserError(
            f"The key that signs here, {name[:12]}, {how}: set {signers.PRIVATE} to the one that `slipway keys` shows as in force."
        )
    return key


def keys_folder() -> Path:
    """Where this home keeps its key, and what it knows of others."""
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
    if not os.path.isfile(path):  # a Path of what is too long for one raises
        raise UserError(
            f"{variable}={signers.shown(str(path))} is no file: point it at a PEM key, or unset it to use the one under SLIPWAY_HOME."
        )
    return path


def create_private_key(path: Path) -> None:
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


def _derive_public_key(path: Path, private: PrivateKey | None) -> Path:
    if private is None:
        raise UserError(
            f"There is no public key at {path} to check signatures with: copy it there, or set {_PUBLIC}."
        )
    pem = public_pem(private).encode()
    if not path.is_file() or path.read_bytes() != pem:
        write_atomically(path, pem)
    return path


def _public_files() -> Iterator[Path]:
    own = keys_folder() / "public.pem"
    if any(os.environ.get(name) for name in (_PUBLIC, signers.PRIVATE, signers.SERVICE)):
        yield public_key()
    if own.exists() or own.with_name("private.pem").exists():
        yield own if own.exists() else _derive_public_key(own, _own(own.with_name("private.pem")))


def _own(path: Path) -> PrivateKey | None:
    return signers.load(str(path)) if path.is_file() else None


def _is_private_of(given: str, service: PrivateKey) -> bool:
    try:
        return public_pem(signers.load(given)) == public_pem(service)
    except UserError:  # a public half, or somebody else's
        return False
