"""A database of MLflow's on this machine: whole, or not there. MLflow makes its tables in thousands of writes, and cannot go on amid them."""

from pathlib import Path

from tasks.system import tables

SCRIPT = Path(__file__).with_name("mlflow.sql")


def make_tables(uri: str) -> None:
    """Make MLflow's SQLite database where there is none. Nothing for one that is there, or is a server's.

    Raises what MLflow and SQLAlchemy raise.
    """
    path = database_of(uri)
    if path is not None:
        tables.make_tables(path, SCRIPT, migrate)


def database_of(uri: str) -> Path | None:
    """The file of a SQLite database on this machine; None for any other."""
    path = Path(uri.removeprefix("sqlite:///"))
    return path if uri.startswith("sqlite:///") and "?" not in uri and path.name != ":memory:" else None


def migrate(path: Path) -> None:
    """The tables as MLflow makes them."""
    from mlflow.store.db.utils import _initialize_tables, create_sqlalchemy_engine_with_retry

    engine = create_sqlalchemy_engine_with_retry(f"sqlite:///{path}")  # type: ignore[no-untyped-call]
    _initialize_tables(engine)  # type: ignore[no-untyped-call]
    engine.dispose()
