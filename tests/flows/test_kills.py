"""A retraining that is killed while it writes, or whose disk fails: the next one ends as if nothing had been.

The real pipeline on the real parts; faults come from below Python, at any call that changes a file. `make bench-long` has a thousand.
"""

import errno
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from campaign_kills import Drill, drilled
from faulty_disk import Fault

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(900),
    pytest.mark.skipif(
        sys.platform != "linux" or shutil.which("cc") is None, reason="no C compiler, or no Linux"
    ),
]


@pytest.fixture(scope="module")
def drill(
    prefect_server: str, empty_mlflow_database: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Drill]:
    with drilled(tmp_path_factory.mktemp("drill"), prefect_server, empty_mlflow_database) as drill:
        yield drill


def test_a_retraining_killed_in_every_step_ends_the_same(drill: Drill) -> None:
    """Same bits, one MLflow run with one set of candidates, one version, the champion moved once, the ledger whole."""
    drill.begin()
    for fault in (
        Fault("kill", 1, like="rename /work/dots/pending/"),  # the MLflow run is there, its id is not kept
        Fault("tear", 5, like="write /work/dots/training/"),
        Fault("kill", 0, like="rename /work/dots/reports/"),
        Fault(
            "kill", 0, like="create /mlartifacts/dots/models/"
        ),  # a candidate is logged, and not registered
        Fault("tear", 60, like="write /mlflow.db"),
        Fault("kill", 0, like="fsync /ledgers/"),  # it is decided, and how far the ledger came is not kept
        Fault("kill", 0, like="rename /work/dots/costs/promote"),  # all is decided, and the run not ended
    ):
        assert drill.run(fault).killed, fault
        drill.check_aliases(str(fault))
    drill.check_next("seven kills")


def test_a_disk_that_is_full_is_said_in_a_sentence_and_the_next_run_ends_the_same(drill: Drill) -> None:
    drill.fail(Fault("full", 0, errno.ENOSPC, "rename /work/dots/reports/"))
