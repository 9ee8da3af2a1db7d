"""The packages that a workload needs besides Slipway's own, pinned with hashes when it is packed."""

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from importlib.metadata import Distribution, PackageNotFoundError, distribution
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from tasks.bundles.pip import pip
from tasks.errors import UserError
from tasks.system.scratch import scratch

if TYPE_CHECKING:
    from packaging.requirements import Requirement

_EXTRA = "pipeline"
"""What every worker has: Slipway with this extra."""


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
    pip(file, "install", "--dry-run", "--report", str(report), *words)
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
