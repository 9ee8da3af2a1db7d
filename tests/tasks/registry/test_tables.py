"""MLflow's database is made whole, though whoever makes it is killed amid its tables."""

import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from tasks.errors import StepError
from tasks.registry.registry import Registry
from tasks.registry.tables import make_tables
from tasks.settings import Settings
from tasks.system import tables


class Killed(BaseException):
    """Stands for the process's end."""


@pytest.mark.slow
def test_a_database_whose_making_was_cut_short_is_made_anew_and_a_half_one_is_said_to_be(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """MLflow cannot go on amid its tables: the home was lost before it had held anything."""
    from mlflow.store.db import utils

    def die(engine: object) -> None:
        raise Killed

    path = tmp_path / "home" / "mlflow.db"
    uri = f"sqlite:///{path}"
    with monkeypatch.context() as dying, pytest.raises(Killed):
        dying.setattr(tables, "version", lambda library: "0")  # no script of ours for such a release
        dying.setattr(utils, "_upgrade_db", die)
        make_tables(uri)
    assert not path.exists()
    assert Registry(Settings(home=path.parent, tracking_uri=uri)).model_tags("digits") is None
    assert not path.with_name(".mlflow.db.new").exists()
    half = tmp_path / "half.db"
    shutil.copyfile(path, half)
    with closing(sqlite3.connect(half)) as database:  # as one is amid an upgrade
        database.executescript("DELETE FROM alembic_version; DROP TABLE datasets;")
    with pytest.raises(StepError, match="is half made or half upgraded, .*move it away to begin anew"):
        Registry(Settings(home=tmp_path, tracking_uri=f"sqlite:///{half}")).model_tags("digits")
