"""Prefect's settings in every process of ours."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from infra.platform.prefect import client_environment

SAYS = """
import logging
import prefect.context
from prefect.logging.configuration import setup_logging
setup_logging()
logging.getLogger("slipway.serving").warning("the registry is away")
"""


@pytest.mark.slow
def test_what_is_logged_outside_of_a_run_is_one_line_and_no_warning_of_prefects(tmp_path: Path) -> None:
    without = {name: value for name, value in os.environ.items() if not name.startswith("PREFECT_")}
    done = subprocess.run(
        [sys.executable, "-c", SAYS],
        env={**without, **client_environment(tmp_path)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stderr.count("\n") == 1 and "the registry is away" in done.stderr, done.stderr
