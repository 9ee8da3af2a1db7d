"""Writes the scripts that make the tables of libraries, by what their own migrations make: python tests/house/table_scripts.py"""

import asyncio
import os
import sqlite3
import tempfile
from contextlib import closing
from importlib.metadata import version
from pathlib import Path

from infra.platform import prefect as of_prefect
from tasks.registry import tables as of_mlflow


def mlflows() -> str:
    with tempfile.TemporaryDirectory() as scratch:
        path = Path(scratch, "mlflow.db")
        of_mlflow.migrate(path)
        return script_of(path, "mlflow")


def prefects() -> str:
    with tempfile.TemporaryDirectory() as scratch:
        path = Path(scratch, "prefect.db")
        os.environ["PREFECT_API_DATABASE_CONNECTION_URL"] = f"sqlite+aiosqlite:///{path}"
        from prefect.server.database import provide_database_interface

        asyncio.run(provide_database_interface().create_db())
        return script_of(path, "prefect")


def script_of(path: Path, library: str) -> str:
    """Of a database as it was migrated: its tables, and which migration was the last."""
    with closing(sqlite3.connect(path)) as database:
        lines = "\n".join(database.iterdump())
    return f"-- {library} {version(library)}\n{lines}\n"


def main() -> None:
    of_mlflow.SCRIPT.write_text(mlflows(), "utf-8")
    of_prefect.SCRIPT.write_text(prefects(), "utf-8")


if __name__ == "__main__":
    main()
