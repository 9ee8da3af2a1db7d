"""The packages of a bundle's requirements, installed by their hashes where it runs, and on this process's path while it does."""

import importlib
import shutil
import sys
import tempfile
from pathlib import Path

from tasks.bundles.bundle import REQUIREMENTS
from tasks.bundles.pip import pip
from tasks.bundles.verification import make_read_only
from tasks.settings import load_settings
from tasks.system.files import sha256_of, sync_folder
from tasks.system.locks import alone

ENVIRONMENTS = "environments"

_PACKAGES = "site-packages"
"""What lies below a folder of this name is installed, and no user's code."""


def use(code: Path) -> None:
    """Put what a bundle needs behind all else on this process's path, instead of what another bundle needed; installed at first."""
    if (file := code.parent / REQUIREMENTS).is_file():
        put_on_path(environment(file))
    else:
        _leave({entry for entry in sys.path if _is_environment(entry)})


def environment(requirements: Path) -> Path:
    """The folder with these packages, installed once a home and Python and read-only. Raises UserError or StepError when it cannot be."""
    home = load_settings().home
    digest = sha256_of(requirements)
    folder = home / ENVIRONMENTS / digest / str(sys.implementation.cache_tag)
    packages = folder / _PACKAGES
    if packages.is_dir():
        return packages
    with alone(
        home,
        f"environment-{digest[:16]}",
        f"waits: another process installs {requirements.parent.name[:12]}'s requirements",
    ):
        if not packages.is_dir():
            folder.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            arriving = Path(tempfile.mkdtemp(dir=folder.parent, prefix=".tmp-"))
            try:
                pip(
                    requirements,
                    "install",
                    "--no-deps",
                    "--require-hashes",
                    "--no-compile",
                    "--target",
                    str(arriving / _PACKAGES),
                    "-r",
                    str(requirements),
                )
                arriving.rename(folder)
            finally:
                shutil.rmtree(arriving, ignore_errors=True)
            make_read_only(packages)
            sync_folder(folder.parent)
    return packages


def put_on_path(packages: Path) -> None:
    """Behind what is installed, so that nothing of Slipway's is replaced."""
    _leave({entry for entry in sys.path if _is_environment(entry)} - {str(packages)})
    if str(packages) not in sys.path:
        sys.path.append(str(packages))
        importlib.invalidate_caches()


def _leave(entries: set[str]) -> None:
    """Another bundle's packages, and what was imported from them."""
    if entries:
        sys.path[:] = [entry for entry in sys.path if entry not in entries]
        for name, module in [*sys.modules.items()]:
            if any((getattr(module, "__file__", None) or "").startswith(f"{entry}/") for entry in entries):
                del sys.modules[name]


def _is_environment(entry: str) -> bool:
    path = Path(entry)
    return path.name == _PACKAGES and len(path.parents) > 3 and path.parents[2].name == ENVIRONMENTS
