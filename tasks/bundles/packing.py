"""A workload's files laid out as a bundle: checked for what has no place in one, described and signed."""

import sys
from collections.abc import Mapping
from pathlib import Path

from tasks.bundles.bundle import (
    CHANGES,
    CODE,
    RECORD,
    REQUIREMENTS,
    Bundle,
    digest_of,
    files_in,
    slipway_version,
)
from tasks.bundles.checkout import state_of
from tasks.bundles.requirements import Pins
from tasks.bundles.secrets import secret_in
from tasks.errors import UserError
from tasks.system.files import sha256_of, write_atomically
from tasks.system.signing import sign_folder, signer

MOST_BYTES = 50 * 1000**2


def pack(folder: Path, name: str, reference: str, files: Mapping[str, Path], pins: Pins = Pins()) -> Bundle:  # noqa: B008 - it cannot be changed
    """Build the bundle of these files, by the path that each has inside code/, in `folder`, which holds nothing else; sign it.

    `reference` names the workload as seen from code/. Raises UserError, naming the file, for a link, a secret, and more than 50 MB.
    """
    _check(files)
    state = state_of([*files.values()])
    for path, source in files.items():
        write_atomically(folder / CODE / path, source.read_bytes())
    for path, content in ((REQUIREMENTS, pins.text.encode()), (CHANGES, state.changes)):
        if content:
            write_atomically(folder / path, content)
    _check(
        {path.relative_to(folder).as_posix(): path for path in sorted(folder.rglob("*")) if path.is_file()}
    )
    bundle = Bundle(
        name=name,
        reference=reference,
        files=files_in(folder),
        requirements=pins.names,
        python=f"{sys.version_info.major}.{sys.version_info.minor}",
        slipway=slipway_version(),
        commit=state.commit,
        clean=state.clean,
        author=state.author,
        origin=state.origin,
    )
    write_atomically(folder / RECORD, bundle.to_json())
    sign_folder(folder, signer())
    return bundle.model_copy(
        update={"digest": digest_of({**bundle.files, RECORD: sha256_of(folder / RECORD)})}
    )


def _check(files: Mapping[str, Path]) -> None:
    """Raise UserError for what has no place in a bundle."""
    size = 0
    for name, path in files.items():
        parts = Path(name).parts
        if Path(name).is_absolute() or ".." in parts or "\n" in name:
            raise UserError(
                f"{path} lies outside of the workload's own folder, where a bundle cannot have it: put it beside the workload, or install it as a package."
            )
        if link := next(
            (place for place in (path, *list(path.parents)[: len(parts) - 1]) if place.is_symlink()), None
        ):
            raise UserError(
                f"{link} is a link, and elsewhere it would lead to nothing: put the file itself there."
            )
        size += path.stat().st_size
        if size > MOST_BYTES:
            largest = max(files, key=lambda other: files[other].stat().st_size)
            raise UserError(
                f"The bundle has more than {MOST_BYTES // 1000**2} MB, and {largest} {files[largest].stat().st_size / 1e6:,.0f} MB of them: keep data and large weights in object storage or in a package, and name them there."
            )
        if kind := secret_in(name, path.read_bytes()):
            raise UserError(
                f"{name} seems to hold {kind}, which has no place in a bundle: read it from the environment or from a Prefect block."
            )
