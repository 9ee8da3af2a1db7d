"""How far a model's ledger had come when it was last seen from here: a small signed record outside of MLflow, which only grows.

It lies under SLIPWAY_HOME, and in SLIPWAY_STORE where there is one, so that a database that was lost, cut or restored is noticed.
"""

import hashlib
import logging
from pathlib import Path

from pydantic import ValidationError

from tasks.errors import UserError
from tasks.settings import Settings
from tasks.system.files import write_atomically
from tasks.system.frozen import Frozen
from tasks.system.keyring import Keyring
from tasks.system.signing import keyring, sign_text, signing_key
from tasks.system.storage import ObjectStorage
from tasks.system.urls import without_secrets

log = logging.getLogger("slipway")


class Head(Frozen):
    """The last entry that was carried out."""

    sequence: int
    digest: str


class _Signed(Frozen):
    """The head as it is kept. `of` names model and registry: one home may promote in several."""

    of: str
    head: Head
    signature: str

    @property
    def text(self) -> str:
        return _text(self.of, self.head)


def read_head(settings: Settings, model: str, keys: Keyring | None = None) -> Head | None:
    """The furthest of those kept, or None. One that no key signed whose word it counts by (`keys`, default: this home's) counts as none, and is said."""
    path, of = _place(settings, model), _of(settings, model)
    kept = [path.read_bytes() if path.is_file() else None]
    if settings.store is not None:
        kept.append(ObjectStorage(settings.store, settings.home).read(path))
    heads = [_checked(content, of, path, keys) for content in kept if content is not None]
    return max((head for head in heads if head is not None), key=lambda head: head.sequence, default=None)


def write_head(settings: Settings, model: str, head: Head) -> None:
    """Keep it, unless what is kept is further."""
    before, key = read_head(settings, model), signing_key()
    if key is None or (before is not None and before.sequence > head.sequence):
        return
    of = _of(settings, model)
    signed = _Signed(of=of, head=head, signature=sign_text(_text(of, head), key))
    path, content = _place(settings, model), signed.model_dump_json().encode()
    write_atomically(path, content)
    if settings.store is not None:
        ObjectStorage(settings.store, settings.home).write(path, content)


def _checked(content: bytes, of: str, path: Path, keys: Keyring | None) -> Head | None:
    try:
        signed, keys = _Signed.model_validate_json(content), keys or keyring()
        signer = keys.signer(signed.text, signed.signature) if signed.of == of else None
        # Who still has a key that ended could sign how far a ledger of theirs has come: it may name what was found signed, and no more.
        if signer is not None and (signer.holds is None or keys.lists(signed.head.digest)):
            return signed.head
    except (ValidationError, UserError):
        pass
    log.warning("%s is damaged, or signed by another key: how far the ledger had come is not compared", path)
    return None


def _text(of: str, head: Head) -> str:
    return f"slipway ledger head of {of}: {head.sequence} {head.digest}"


def _of(settings: Settings, model: str) -> str:
    """The model and its registry, however the home that has its own is called."""
    own = settings.tracking_uri == f"sqlite:///{settings.home / 'mlflow.db'}"
    return f"{model} in {'its own home' if own else without_secrets(settings.tracking_uri)}"


def _place(settings: Settings, model: str) -> Path:
    registry = hashlib.sha256(_of(settings, model).encode()).hexdigest()[:8]
    return settings.home / "ledgers" / f"{model}-{registry}.json"
