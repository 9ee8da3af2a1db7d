"""Prefect's settings that every process of ours shares, and its database on this machine."""

from pathlib import Path

from tasks.system.tables import make_tables

SCRIPT = Path(__file__).with_name("prefect.sql")


def client_environment(home: Path) -> dict[str, str]:
    """Prefect's settings for a process that runs flows: results as files of ours, no telemetry, no noise."""
    return {
        "PREFECT_HOME": str(home / "prefect"),
        "PREFECT_LOCAL_STORAGE_PATH": str(home / "results"),
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
        "DO_NOT_TRACK": "1",
        "PREFECT_LOGGING_EXTRA_LOGGERS": "slipway",
        "PREFECT_LOGGING_TO_API_WHEN_MISSING_FLOW": "ignore",  # what is logged before a run has begun is no warning
        "PREFECT_RESULTS_PERSIST_BY_DEFAULT": "false",
        "PREFECT_FLOWS_HEARTBEAT_FREQUENCY": "30",  # infra/automations/lost-runs.yaml counts on it
    }


def database_url(home: Path) -> str:
    """Of this home's database, with its tables, which Prefect would make by a hundred migrations."""
    path = home / "prefect.db"
    make_tables(path, SCRIPT)
    return f"sqlite+aiosqlite:///{path}"
