"""Homes that are copied and moved: each works by itself, and nothing that is done in a copy reaches the original."""

import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

import promotions
import pytest

from tasks.errors import StepError
from tasks.registry import moved
from tasks.registry.moved import lead_home
from tasks.registry.registry import Registry
from tasks.settings import load_settings
from tasks.system.files import sha256_of


@pytest.fixture(params=["home", "a home, with ünusual %20 words"])
def original(
    request: pytest.FixtureRequest,
    tmp_path: Path,
    empty_mlflow_database: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Registry:
    """A home with a version."""
    home = tmp_path / request.param
    home.mkdir()
    shutil.copyfile(empty_mlflow_database, home / "mlflow.db")
    registry = registry_of(home, monkeypatch)
    promotions.register(registry, "toy", tmp_path, 2.0)
    return registry


def registry_of(home: Path, monkeypatch: pytest.MonkeyPatch) -> Registry:
    monkeypatch.setenv("SLIPWAY_HOME", str(home))
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)  # where MLflow's client leaves the last one's
    return Registry(load_settings())


def content(home: Path) -> dict[str, str]:
    """What is in a folder, but for what MLflow leaves beside an open database."""
    files = (path for path in sorted(home.rglob("*")) if path.is_file())
    return {str(path.relative_to(home)): sha256_of(path) for path in files if "mlflow.db-" not in path.name}


def test_a_copied_home_works_by_itself_and_leaves_the_original_alone(
    original: Registry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = original.settings.home
    shutil.copytree(home, tmp_path / "copy")
    before = content(home)
    copy = registry_of(tmp_path / "copy", monkeypatch)
    second = promotions.register(copy, "toy", tmp_path, 3.0)
    (tmp_path / "page.html").write_text("a page")
    copy.log_file(second.run_id, tmp_path / "page.html")
    first = copy.version("toy", 1)
    assert first is not None and second.version == 2
    copy.log_file(first.run_id, tmp_path / "page.html")  # a run of before the copy
    assert content(home) == before and original.version("toy", 2) is None
    shutil.rmtree(home)
    for number, version in enumerate((first, second)):
        folder = copy.download(version, tmp_path / str(number))
        assert sha256_of(folder / "model.onnx") == version.sha256


def test_a_home_that_was_moved_twice_has_all_its_files(
    original: Registry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = original.settings.home.rename(tmp_path / "second")
    promotions.register(registry_of(home, monkeypatch), "toy", tmp_path, 3.0)
    registry = registry_of(home.rename(tmp_path / "third"), monkeypatch)
    for number in (1, 2):
        version = registry.version("toy", number)
        assert version is not None
        assert (registry.download(version, tmp_path / str(number)) / "model.onnx").is_file()


def test_a_home_that_is_reached_by_a_link_stays_as_it_is(original: Registry, tmp_path: Path) -> None:
    home = original.settings.home
    before = content(home)
    (tmp_path / "link").symlink_to(home)
    lead_home(f"sqlite:///{tmp_path / 'link' / 'mlflow.db'}")
    assert content(home) == before


def test_a_database_whose_files_are_elsewhere_stays_as_it_is(original: Registry, tmp_path: Path) -> None:
    (tmp_path / "shared").mkdir()
    database = shutil.copy(original.settings.home / "mlflow.db", tmp_path / "shared")
    before = content(tmp_path / "shared")
    lead_home(f"sqlite:///{database}")
    assert content(tmp_path / "shared") == before


def test_a_database_that_is_no_database_is_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "mlflow.db").write_bytes(b"not a database, and long enough to be looked at: " * 10)
    with pytest.raises(StepError, match=r"mlflow.db is damaged .*put a backup in its place"):
        lead_home(f"sqlite:///{tmp_path / 'mlflow.db'}")


def test_a_database_that_another_process_holds_is_a_sentence(
    original: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = original.settings.home / "mlflow.db"
    monkeypatch.setattr(moved, "_BUSY_SECONDS", 0.1)
    with closing(sqlite3.connect(path, isolation_level=None)) as database:
        database.execute("BEGIN EXCLUSIVE")
        with pytest.raises(StepError, match=r"mlflow.db is held by another process: wait for it"):
            lead_home(f"sqlite:///{path}")


def test_a_home_without_tables_is_left_to_mlflow(tmp_path: Path) -> None:
    sqlite3.connect(tmp_path / "mlflow.db").close()
    lead_home(f"sqlite:///{tmp_path / 'mlflow.db'}")
    lead_home(f"sqlite:///{tmp_path / 'absent.db'}")
    assert not (tmp_path / "absent.db").exists()
