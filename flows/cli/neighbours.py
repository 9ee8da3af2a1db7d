"""Where `slipway up` runs on the home of a command, its servers are the ones to ask."""

import os
from pathlib import Path


def join_platform() -> None:
    """Name them in this process's environment. Nothing is imported where nothing is up."""
    home = Path(os.environ.get("SLIPWAY_HOME") or ".slipway").absolute()
    if not (home / "up.json").is_file():
        return
    from infra.platform.beside import join
    from tasks.settings import load_settings

    join(home, registry=load_settings().has_own_registry)
