"""Commands beside a running `slipway up` of the same home ask its servers, without being told where they are."""

import os
from pathlib import Path

from infra.platform.accounts import account_of_commands
from infra.platform.state import read_state

_VARIABLES = {"prefect": ("PREFECT_API_URL", "/api"), "mlflow": ("MLFLOW_TRACKING_URI", "")}


def join(home: Path, *, registry: bool = True) -> None:
    """Name the servers in this process's environment, where that names none; not MLflow's without `registry`."""
    os.environ.update(servers(home, registry=registry))


def servers(home: Path, *, registry: bool = True) -> dict[str, str]:
    """The variables by which clients find the servers of a home that is up, without those that the environment has; none where nothing is up."""
    state = read_state(home)
    if state is None:
        return {}
    named = account_of_commands(os.environ)
    for service in state.services:
        variable, path = _VARIABLES.get(service.name, ("", ""))
        if variable and (registry or service.name != "mlflow"):
            named[variable] = service.url + path
    return {name: value for name, value in named.items() if not os.environ.get(name)}
