"""Whose code runs here: naming a workload imports it, so that mlflow.yaml's `runs` says whom this machine believes."""

from contextlib import suppress
from pathlib import Path

from tasks.errors import UserError
from tasks.settings import ANYONE, runs
from tasks.system.keyring import KeyState
from tasks.system.signing import EvidenceError, check_folder, public_keys


def refuse_unsigned(reference: str) -> None:
    """Raise UserError where only bundles run, and a file or a module is named that does not come with Slipway."""
    if runs() != ANYONE:
        raise UserError(
            f"{reference} is in no signed bundle, and mlflow.yaml's `runs` lets only those run that its keys signed: `slipway deploy {reference}` makes one."
        )


def check_signature(folder: Path, digest: str) -> Path | KeyState:
    """The key that a bundle is signed by. Raises UserError when it is nobody's who may run code here, EvidenceError for a damaged one."""
    keys = believed()
    for key in keys:
        with suppress(_OtherKey):
            _check(folder, key)
            return key
    listed = runs()
    whose = (
        "this home's own, SLIPWAY_PUBLIC_KEY's"
        if listed == ANYONE
        else f"in mlflow.yaml's `runs` ({', '.join(map(str, keys))})"
    )
    raise UserError(
        f"Bundle {digest[:12]} is signed by a key that is not {whose}, so that its code does not run here: add the public key of whoever signed it to `runs`."
    )


class _OtherKey(Exception):
    """Signed, and by another."""


def _check(folder: Path, key: Path | KeyState) -> None:
    try:
        check_folder(folder, key)
    except EvidenceError as error:
        if error.part == "key":
            raise _OtherKey from error
        raise


def believed() -> tuple[Path | KeyState, ...]:
    """The public keys of whoever may run code here, and those that they were handed over to; none that is revoked."""
    listed = runs()
    if listed == ANYONE:
        return public_keys()
    for key in listed:
        if not key.is_file():
            raise UserError(
                f"mlflow.yaml's `runs` names {key}, and there is no such file: put the PEM public key there."
            )
    return public_keys(listed)
