"""A registry on SQLite and over HTTP, for every test that asks for one."""

import shutil
from pathlib import Path

import pytest

from tasks.registry.registry import Registry
from tasks.settings import Settings, load_settings


@pytest.fixture(params=["sqlite", pytest.param("http", marks=pytest.mark.slow)])
def settings(request: pytest.FixtureRequest, home: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    if request.param == "http":
        monkeypatch.setenv("MLFLOW_TRACKING_URI", request.getfixturevalue("mlflow_server"))
    else:
        home.mkdir(mode=0o700)
        shutil.copyfile(request.getfixturevalue("empty_mlflow_database"), home / "mlflow.db")
    return load_settings()


@pytest.fixture
def registry(settings: Settings) -> Registry:
    return Registry(settings)


@pytest.fixture
def model(request: pytest.FixtureRequest) -> str:
    """A name of the test's own: the HTTP server is shared."""
    return "".join(c if c.isalnum() else "-" for c in request.node.name.lower())[-60:].strip("-")
