"""Changes of keys as the registry has them: claims of one run, made once and never again, that every machine learns of before it checks or signs."""

import os
from typing import TYPE_CHECKING

from tasks.errors import StepError, UserError
from tasks.registry.claims import KEYS
from tasks.system import signers
from tasks.system.files import sync_folder, write_atomically
from tasks.system.key_chain import current, read_chain
from tasks.system.keyring import KeyringError, keep
from tasks.system.signing import keyring, keys_folder, public_key

if TYPE_CHECKING:
    from tasks.registry.registry import Registry

NEXT, RETIRED = "next.pem", "retired"
"""A key that was made and may not be handed over to yet; where the private halves of those before it are."""


def refresh_keys(registry: "Registry") -> tuple[str, ...]:
    """Learn what the registry says of keys, and end a hand-over that was interrupted; in words, why it is not believed."""
    claims = registry.claims(KEYS) or {}
    try:
        root, uri = public_key(), registry.settings.tracking_uri
        try:
            keep(keys_folder(), uri, claims, root)
        except KeyringError:  # perhaps for what another process here has learned since they were read
            claims = registry.claims(KEYS) or {}
            keep(keys_folder(), uri, claims, root)
    except StepError as error:  # also of a signing service that is away
        return (str(error).rstrip("."),)
    except UserError:  # without a key nothing is checked
        return ()
    if (keys_folder() / NEXT).exists():
        take_over(current(read_chain(claims, keyring().pems)))
    return ()


def take_over(pem: str | None) -> None:
    """Make `next.pem` this home's key, if that is what the registry handed over to; again changes nothing, at any moment."""
    folder = keys_folder()
    upcoming, own = folder / NEXT, folder / "private.pem"
    if pem is None or signers.public_pem(signers.load(str(upcoming))) != pem:
        return
    if own.exists():
        retired = folder / RETIRED / f"{signers.fingerprint(signers.public_pem(signers.load(str(own))))}.pem"
        retired.parent.mkdir(mode=0o700, exist_ok=True)
        if not retired.exists():
            write_atomically(retired, own.read_bytes())
    os.replace(upcoming, own)
    sync_folder(folder)
    write_atomically(folder / "public.pem", pem.encode())
