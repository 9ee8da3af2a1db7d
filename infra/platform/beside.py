"""Commands beside a running `slipway up` of the same home ask its servers, without being told where they are."""

import os
from pathlib import Path

from infra.platform.accounts import account_of_commands
from infra.platform.state import read_state

_VARIABLES = {"prefect": ("PREFECT_API_URL", "/api"), "mlflow": ("MLFLOW_TRACKING_URI", "")}


def join(home: Path, *, registry: bool = True) -> None:
    """Name the servers in this process's environment, where that names none; not MLflow's without `registry`."""
    state = read_state(home)
    if state is None:
        return
    for service in state.services:
        variable, path = _VARIABLES.get(service.name, ("", ""))
        if variable and not os.environ.get(variable) and (registry or service.name != "mlflow"):
            os.environ[variable] = service.url + path
    for name, value in account_of_commands(os.environ).items():
        os.environ.setdefault(name, value)
