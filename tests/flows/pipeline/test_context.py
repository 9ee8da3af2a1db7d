"""What a run's context leaves in what it makes."""

from pathlib import Path

import pytest

from flows.pipeline.context import RunContext
from tasks.records import Dataset
from tasks.settings import load_settings


@pytest.mark.slow
def test_what_is_written_inside_a_file_is_the_same_for_every_run_and_checkout(
    home: Path, linear_digits: tuple[Dataset, object]
) -> None:
    """Who made it, when and by which code is in the signed evidence: the same training gives the same bytes."""
    dataset = linear_digits[0]
    settings = load_settings()
    first = RunContext(workload="digits", model="digits", settings=settings, run_id="1" * 32)
    second = RunContext(workload="/elsewhere/digits.py", model="digits", settings=settings, run_id="2" * 32)
    assert first.metadata(dataset) == second.metadata(dataset)
    assert first.metadata(dataset) == {"slipway.model": "digits", "slipway.data": dataset.fingerprint}
