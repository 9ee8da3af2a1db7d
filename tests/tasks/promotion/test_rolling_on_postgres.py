"""The controller's state on PostgreSQL, where several machines write: killed at its calls, and two that never pause. Reports are written by hand."""

import bench_rollout_state
import pytest


@pytest.mark.platform
@pytest.mark.timeout(1800)
def test_what_is_killed_or_raced_leaves_each_decision_once_on_postgresql() -> None:
    """tests/bench/bench_rollout_state.py --postgres does the same two hundred times each."""
    with bench_rollout_state.database(on_postgres=True) as (home, uri):
        assert sum(bench_rollout_state.kills(home, uri, 24).values()) == 24
        entries, _ = bench_rollout_state.two_controllers(home, uri, 8, models=2)
        assert entries >= 2 + 3 * 8 - 4
