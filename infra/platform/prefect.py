"""Prefect's settings that every process of ours shares."""

from pathlib import Path


def client_environment(home: Path) -> dict[str, str]:
    """Prefect's settings for a process that runs flows: results as files of ours, no telemetry, no noise."""
    return {
        "PREFECT_HOME": str(home / "prefect"),
        "PREFECT_LOCAL_STORAGE_PATH": str(home / "results"),
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
        "DO_NOT_TRACK": "1",
        "PREFECT_LOGGING_EXTRA_LOGGERS": "slipway",
        "PREFECT_RESULTS_PERSIST_BY_DEFAULT": "false",
        "PREFECT_FLOWS_HEARTBEAT_FREQUENCY": "30",  # infra/automations/lost-runs.yaml counts on it
    }
