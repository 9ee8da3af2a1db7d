"""A home whose registry has two versions of the digits, and no traffic but a test's own."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import digit_versions
import pytest

from tasks.promotion.champion import promote
from tasks.records import Candidate, Dataset, Version
from tasks.registry.registry import Registry
from tasks.settings import Settings, load_settings


@pytest.fixture(scope="session")
def versions(
    linear_digits: tuple[Dataset, Candidate],
    empty_mlflow_database: Path,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[tuple[Settings, Version, Version]]:
    """Where the registry is, the champion, and the next version."""
    folder = tmp_path_factory.mktemp("labelled")
    shutil.copyfile(empty_mlflow_database, folder / "mlflow.db")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SLIPWAY_HOME", str(folder))
        registry = Registry(load_settings())
        first = digit_versions.register(registry, *linear_digits)
        promote(registry, first, against=None, why="the first")
        yield registry.settings, first, digit_versions.register(registry, *linear_digits, noise=0.1)


@pytest.fixture
def settings(
    versions: tuple[Settings, Version, Version], monkeypatch: pytest.MonkeyPatch
) -> Iterator[Settings]:
    """The home, without what other tests recorded."""
    monkeypatch.setenv("SLIPWAY_HOME", str(versions[0].home))
    yield versions[0]
    for name in ("traffic", "labels"):
        shutil.rmtree(versions[0].home / name, ignore_errors=True)


@pytest.fixture
def old(versions: tuple[Settings, Version, Version]) -> Version:
    return versions[1]


@pytest.fixture
def new(versions: tuple[Settings, Version, Version]) -> Version:
    return versions[2]
