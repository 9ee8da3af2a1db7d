"""A database of MLflow's on this machine: whole, or not there. MLflow makes its tables in thousands of writes, and cannot go on amid them."""

from pathlib import Path

from tasks.system.files import sync_folder


def make_tables(uri: str) -> None:
    """Make MLflow's SQLite database where there is none: under another name, and then with its own. Of two that begin at once one does.

    Nothing for a database that is there, or is a server's. Raises what MLflow and SQLAlchemy raise.
    """
    path = Path(uri.removeprefix("sqlite:///"))
    if not uri.startswith("sqlite:///") or "?" in uri or path.name == ":memory:" or _is_there(path):
        return
    from filelock import FileLock
    from mlflow.store.db.utils import _initialize_tables, create_sqlalchemy_engine_with_retry

    path.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(path.with_name(f".{path.name}.lock")):
        if _is_there(path):
            return
        new = path.with_name(f".{path.name}.new")
        for left in (new, new.with_name(f"{new.name}-journal")):
            left.unlink(missing_ok=True)
        engine = create_sqlalchemy_engine_with_retry(f"sqlite:///{new}")  # type: ignore[no-untyped-call]
        _initialize_tables(engine)  # type: ignore[no-untyped-call]
        engine.dispose()
        new.rename(path)
        sync_folder(path.parent)


def _is_there(path: Path) -> bool:
    return path.exists() and path.stat().st_size > 0
