"""The packages that a workload needs besides Slipway's own: pinned with hashes when it is packed, installed by them where it runs."""

import importlib
import json
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from importlib.metadata import Distribution, PackageNotFoundError, distribution
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from tasks.bundles.bundle import REQUIREMENTS
from tasks.bundles.verification import make_read_only
from tasks.errors import StepError, UserError
from tasks.settings import load_settings
from tasks.system.files import sha256_of, sync_folder
from tasks.system.locks import alone
from tasks.system.scratch import scratch

if TYPE_CHECKING:
    from packaging.requirements import Requirement

ENVIRONMENTS = "environments"

_PACKAGES = "site-packages"
"""What lies below a folder of this name is installed, and no user's code."""

_EXTRA = "pipeline"
"""What every worker has: Slipway with this extra."""

_QUIET = ("--disable-pip-version-check", "--no-input", "--quiet")


class Pins(NamedTuple):
    """requirements.txt with pins and hashes, and each pin as name==version."""

    text: str = ""
    names: tuple[str, ...] = ()


def pinned(file: Path) -> Pins:
    """What `file` asks for and Slipway's own requirements do not bring, to the exact file of each release that this machine would install.

    Raises UserError for what the index lacks, what contradicts a package of Slipway's own, and what has no hash.
    """
    asked = _asked(file)
    own = _reach(["slipway"], {"slipway": {_EXTRA}})
    with scratch("requirements") as folder:
        constraints = folder / "constraints.txt"
        constraints.write_text(
            "".join(f"{name}=={version}\n" for name, version in sorted(own.items()) if name != "slipway")
        )
        missing = _resolved(file, folder, "-r", str(file), "-c", str(constraints))
        needs = [needed for item in missing for needed in item["metadata"].get("requires_dist", ())]
        here = _reach(*_roots([*asked, *_parsed(needs)]))
        others = {
            name: version
            for name, version in here.items()
            if name not in own and name not in map(_name, missing)
        }
        if others:  # installed on this machine, which a worker need not have
            exact = [f"{name}=={version}" for name, version in sorted(others.items())]
            missing += _resolved(file, folder, "--ignore-installed", "--no-deps", *exact)
    lines = {_name(item): (item["metadata"]["version"], _sha256(file, item)) for item in missing}
    return Pins(
        "".join(
            f"{name}=={version} --hash=sha256:{sha256}\n" for name, (version, sha256) in sorted(lines.items())
        ),
        tuple(f"{name}=={version}" for name, (version, _) in sorted(lines.items())),
    )


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
                _pip(
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
    return (
        Path(entry).name == _PACKAGES and Path(entry).parents[2].name == ENVIRONMENTS
        if entry.count("/") > 3
        else False
    )


def _asked(file: Path) -> "list[Requirement]":
    """The requirements in a file. Raises UserError when it cannot be read."""
    try:
        lines = file.read_text("utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(
            f"--requirements {file} cannot be read: give a text file with a package in each line."
        ) from error
    return list(
        _parsed(
            line.partition(" #")[0].partition(" --hash")[0].rstrip("\\ ")
            for line in lines
            if not line.lstrip().startswith(("#", "-"))
        )
    )


def _parsed(lines: Iterable[str]) -> "Iterator[Requirement]":
    """Those that a name leads to; what else pip takes has no pin, which `pinned` says."""
    from packaging.requirements import InvalidRequirement, Requirement

    for line in filter(None, map(str.strip, lines)):
        try:
            yield Requirement(line)
        except InvalidRequirement:
            continue


def _roots(requirements: "Iterable[Requirement]") -> tuple[list[str], dict[str, set[str]]]:
    wanted = [item for item in requirements if item.marker is None or item.marker.evaluate({"extra": ""})]
    return [_canonical(item.name) for item in wanted], {
        _canonical(item.name): set(item.extras) for item in wanted
    }


def _reach(names: Iterable[str], extras: Mapping[str, set[str]]) -> dict[str, str]:
    """The versions of these packages and all that they need, of those that are installed."""
    reached: dict[str, str] = {}
    queue = [(name, extras.get(name, set())) for name in names]
    seen: set[tuple[str, frozenset[str]]] = set()
    while queue:
        name, wanted = queue.pop()
        if (name, frozenset(wanted)) in seen or (found := _installed(name)) is None:
            continue
        seen.add((name, frozenset(wanted)))
        reached[name] = found.version
        for item in _parsed(found.requires or ()):
            if item.marker is None or any(item.marker.evaluate({"extra": extra}) for extra in (*wanted, "")):
                queue.append((_canonical(item.name), set(item.extras)))
    return reached


def _installed(name: str) -> Distribution | None:
    try:
        return distribution(name)
    except PackageNotFoundError:
        return None


def _resolved(file: Path, folder: Path, *words: str) -> list[dict[str, Any]]:
    """What pip would install."""
    report = folder / "report.json"
    _pip(file, "install", "--dry-run", "--report", str(report), *words)
    return list(json.loads(report.read_text())["install"])


def _sha256(file: Path, item: Mapping[str, Any]) -> str:
    sha256 = item["download_info"].get("archive_info", {}).get("hashes", {}).get("sha256")
    if not sha256 or item.get("is_direct"):
        raise UserError(
            f"{file}: {_name(item)} is no release of a package index, so that a worker would not find it: name a released version."
        )
    return str(sha256)


def _name(item: Mapping[str, Any]) -> str:
    return _canonical(item["metadata"]["name"])


def _canonical(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def _pip(file: Path, *words: str) -> None:
    """Run pip, with the index that this machine has configured, of which nothing is shown."""
    done = subprocess.run(
        [sys.executable, "-m", "pip", words[0], *_QUIET, *words[1:]],
        capture_output=True,
        text=True,
        stdin=subprocess.DEVNULL,
    )
    if done.returncode == 0:
        return
    said = [
        re.sub(r"\S*://\S+", "…", line.removeprefix("ERROR: "))
        for line in done.stderr.splitlines()
        if line.startswith("ERROR: ")
    ]
    if "No module named pip" in done.stderr:
        raise StepError(
            "pip is not installed here, and a workload's requirements are: `python -m ensurepip`."
        )
    conflict = next((line for line in said if line.startswith("Cannot install ")), None)
    if conflict:
        raise UserError(
            f"{file}: {conflict.rstrip('.')}: it contradicts what Slipway itself is installed with, or another line of the file; ask for another version."
        )
    lacking = next((line for line in said if line.startswith("No matching distribution found for ")), None)
    if lacking:
        what = lacking.removeprefix("No matching distribution found for ")
        raise UserError(
            f"{file}: the package index has no {what} for this Python: ask for another version, or put it there."
        )
    raise StepError(
        f"{file}: pip did not come to an end ({(said or ['it says nothing'])[0].rstrip('.')}): check the package index and the network."
    )
