"""A workload made a bundle: what its functions reach is packed, signed, kept, and tried as a worker would find it."""

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from tasks.bundles.bundle import REQUIREMENTS, Bundle, is_bundle
from tasks.bundles.checkout import cloned, is_git
from tasks.bundles.environments import environment, put_on_path
from tasks.bundles.kept import building, bundle_of, discard, keep, share
from tasks.bundles.packing import pack
from tasks.bundles.requirements import Pins, pinned
from tasks.errors import UserError
from tasks.settings import load_settings
from tasks.system.files import write_atomically
from tasks.system.scratch import scratch
from tasks.system.signers import is_path
from tasks.workloads.catalogue import load_workload
from tasks.workloads.dependencies import ROOT, packed_files
from tasks.workloads.places import Place, place_of
from tasks.workloads.workload import Workload

_TRY = "import sys; from tasks.errors import exiting_in_a_sentence\nwith exiting_in_a_sentence():\n    from tasks.workloads.catalogue import load_workload; load_workload(sys.argv[1]).all_materials()"


def publish(
    reference: str,
    requirements: Path | None = None,
    check: Callable[[Workload], object] = lambda workload: None,
) -> Bundle:
    """Pack, check, sign and keep a workload, here and in the store if there is one; it was loaded from there by another process.

    `reference`: a file, a module, or GIT-URL@COMMIT[:path/to/file.py]; a bundle is what it is. `requirements`: a file as pip
    reads them, of the packages that Slipway does not bring. `check` sees the workload before anything is packed. Raises UserError for what cannot be
    one, StepError when storage or git fails.
    """
    if is_bundle(reference):
        return bundle_of(reference)
    with _source(reference) as source, building() as folder:
        pins = _pinned(requirements, folder)
        place = place_of(source)
        workload = load_workload(source)
        _refuse_slipways_own(reference, place)
        check(workload)
        inside = f"{place.module or place.file.name}{f':{place.attribute}' if place.attribute else ''}"
        bundle = pack(
            folder, workload.name, inside, {**packed_files(source), **_weights(workload, place)}, pins
        )
        new = keep(folder, bundle.digest)
    try:
        _try(bundle, reference)
    except UserError:
        if new:
            discard(bundle.digest)
        raise
    share(bundle.digest)
    return bundle


@contextmanager
def _source(reference: str) -> Iterator[str]:
    """The file or module as it is on this machine now."""
    if is_git(reference):
        with cloned(reference) as file:
            yield file
    else:
        yield reference


def _pinned(requirements: Path | None, folder: Path) -> Pins:
    """What it needs besides Slipway, which is put on the path: it is imported soon."""
    if requirements is None or not (pins := pinned(requirements)).text:
        return Pins()
    write_atomically(folder / REQUIREMENTS, pins.text.encode())
    put_on_path(environment(folder / REQUIREMENTS))
    return pins


def _refuse_slipways_own(reference: str, place: Place) -> None:
    if place.file.is_relative_to(ROOT / "tasks"):
        raise UserError(
            f"{reference} comes with Slipway, which every worker has: it needs no bundle. Deploy a file of your own."
        )
    if not {"site-packages", "dist-packages"}.isdisjoint(place.file.parts):
        raise UserError(
            f"{reference} is installed, and a bundle takes what is not: deploy a file that imports it, and name its package with --requirements."
        )


def _weights(workload: Workload, place: Place) -> dict[str, Path]:
    """The files that its models begin with, of those that are in no package."""
    home = place.file.parent if place.module is None else place.file.parents[place.module.count(".")]
    files: dict[str, Path] = {}
    for name, given in workload.all_files():
        if given.package is None:
            top = given.locate(name)
            for path in sorted(top.rglob("*")) if top.is_dir() else [top]:
                if path.is_file():
                    if not path.is_relative_to(home):
                        raise UserError(
                            f"{path}, of which {workload.name} is made, is not below {home}: put it beside the workload, or into a package."
                        )
                    files[path.relative_to(home).as_posix()] = path
    return files


def _try(bundle: Bundle, reference: str) -> None:
    """Raise UserError when the bundle does not load in a process that has nothing else of its author's, from another folder."""
    with scratch("bundle") as elsewhere:
        words = [sys.executable, "-c", _TRY, bundle.workload]
        places = {"SLIPWAY_HOME": str(load_settings().home), "PYTHONPATH": str(ROOT)}
        keys = {
            name: os.path.abspath(os.environ[name])
            for name in ("SLIPWAY_PRIVATE_KEY", "SLIPWAY_PUBLIC_KEY")
            if os.environ.get(name) and is_path(os.environ[name])
        }
        done = subprocess.run(
            words, cwd=elsewhere, capture_output=True, text=True, env={**os.environ, **places, **keys}
        )
    if done.returncode:
        said = (done.stderr.strip().splitlines() or ["it ended without a word"])[-1].removeprefix("slipway: ")
        raise UserError(f"{reference} does not load from its bundle, where only what it imports is: {said}")
