"""Whether a folder is the bundle that its name says, signed by somebody whose code runs here: asked before any of it is imported."""

import stat
import sys
from pathlib import Path

from pydantic import ValidationError

from tasks.bundles.bundle import RECORD, Bundle, digest_of, files_in, slipway_version
from tasks.bundles.trust import believed, check_signature
from tasks.errors import StepError, UserError
from tasks.settings import runs
from tasks.system.files import sha256_of
from tasks.system.signing import SIGNATURE

_CHECKED: set[tuple[str, ...]] = set()
"""Signatures that hold, by the digests of bundle and signature and by whom this machine believes: looked at once a process."""


def check(folder: Path, digest: str) -> Bundle:
    """The bundle in `folder`: every byte against `digest`, the signature against who may run, and whether it runs on this machine.

    Raises StepError for what was altered, EvidenceError for a damaged signature, UserError for a stranger's and for what is too new.
    """
    files = files_in(folder)
    if digest_of(files) != digest:
        raise _altered(digest, _how(folder, files))
    _check_signer(folder, digest)
    bundle = read(folder, digest)
    if bundle.files != {name: sha256 for name, sha256 in files.items() if name != RECORD}:
        raise _altered(digest, f"its {RECORD} lists other files")
    _check_fit(bundle)
    return bundle


def read(folder: Path, digest: str) -> Bundle:
    """Its record. Raises StepError when there is none that can be read."""
    try:
        record = Bundle.model_validate_json((folder / RECORD).read_bytes(), extra="ignore")
    except (OSError, ValidationError) as error:
        raise StepError(
            f"Bundle {digest[:12]}: its {RECORD} cannot be read: deploy it again, by this Slipway."
        ) from error
    return record.model_copy(update={"digest": digest})


def _how(folder: Path, files: dict[str, str]) -> str:
    """In what way these are not the files that the record lists, as far as it can be read."""
    try:
        listed = read(folder, "").files
    except StepError:
        return f"its {RECORD} is damaged"
    if name := next(
        (name for name in sorted(files) if name != RECORD and files[name] != listed.get(name)), None
    ):
        return f"{name} {'was altered' if name in listed else 'was added'}"
    missing = sorted({*listed} - {*files})
    return f"{missing[0]} is missing" if missing else f"its {RECORD} was altered"


def _check_signer(folder: Path, digest: str) -> None:
    if not (folder / SIGNATURE).is_file():
        raise StepError(f"Bundle {digest[:12]} has no {SIGNATURE}: nobody signed it; deploy it again.")
    mark = (digest, sha256_of(folder / SIGNATURE), str(runs()), *map(str, believed()))
    if mark not in _CHECKED:
        check_signature(folder, digest)
        _CHECKED.add(mark)


def _check_fit(bundle: Bundle) -> None:
    here = f"{sys.version_info.major}.{sys.version_info.minor}"
    if _numbers(bundle.python) > _numbers(here):
        raise UserError(
            f"Bundle {bundle.digest[:12]} ({bundle.name}) was made with Python {bundle.python} and here is {here}: run it on a worker with that Python."
        )
    if _numbers(bundle.slipway) > _numbers(own := slipway_version()):
        raise UserError(
            f"Bundle {bundle.digest[:12]} ({bundle.name}) was made with Slipway {bundle.slipway} and here is {own}: update the worker."
        )


def _numbers(version: str) -> tuple[int, ...]:
    """3.11 of 3.11rc1: enough to tell older from newer."""
    parts = [part for part in version.split(".") if part[:1].isdigit()]
    return tuple(int("".join(digit for digit in part if digit.isdigit())) for part in parts[:3])


def _altered(digest: str, how: str) -> StepError:
    return StepError(
        f"Bundle {digest[:12]} is not what its digest says: {how}. None of it was run; remove it and deploy again."
    )


def make_read_only(folder: Path) -> None:
    """Files 0444, folders 0555: what was checked stays so, for all but whoever means it."""
    for path in sorted(folder.rglob("*"), reverse=True):
        path.chmod(0o555 if path.is_dir() else 0o444)
    folder.chmod(0o555)


def make_writable(folder: Path) -> None:
    """So that it can be removed."""
    for path in (folder, *(path for path in folder.rglob("*") if path.is_dir())):
        path.chmod(stat.S_IRWXU)
