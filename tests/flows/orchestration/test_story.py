"""What is in the logs of a deployed run's page."""

import logging
from types import SimpleNamespace

import pytest
from prefect.exceptions import FailedRun

from flows.orchestration import story


def test_a_sentence_that_ended_a_run_is_not_followed_by_a_traceback_and_a_bug_is(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(story, "deployment", SimpleNamespace(id="of a worker"))
    logger = logging.getLogger("prefect.flow_runs")
    before = [*logger.filters]

    def logged(error: Exception) -> bool:
        raised = (type(error), error, None)
        return bool(logger.filter(logger.makeRecord(logger.name, logging.ERROR, "", 0, "exited", (), raised)))

    try:
        story.begin_story()
        assert not logged(FailedRun("load() gave no rows.")) and logged(ZeroDivisionError())
    finally:
        logger.filters[:] = before


def test_a_name_that_is_cut_says_so() -> None:
    assert story.ended_name("monitor-digits", "v1 drifted") == "monitor-digits: v1 drifted"
    cut = story.ended_name("monitor-digits", "v1 drifted: " + "image[0] (PSI 14.50), " * 20)
    assert len(cut) == 150 and cut.endswith("…")
