"""Whether a run has anything new to do, and whether what is new is not older than what serves."""

import json
from pathlib import Path

import pytest
from promotions import register_bare

from flows.pipeline import reuse
from flows.pipeline.context import RunContext
from flows.pipeline.keys import Key
from flows.pipeline.reuse import _earlier, check_not_older, unchanged_outcome
from tasks.errors import UserError
from tasks.promotion.champion import promote
from tasks.records import Dataset, TensorSpec
from tasks.registry.registry import Registry
from tasks.registry.tags import DECISION_TAG, KEY_TAG, NEWEST_TAG
from tasks.settings import Settings


@pytest.fixture
def registry(tmp_path: Path, empty_mlflow_database: Path) -> Registry:
    (tmp_path / "mlflow.db").write_bytes(empty_mlflow_database.read_bytes())
    return Registry(Settings(home=tmp_path, tracking_uri=f"sqlite:///{tmp_path / 'mlflow.db'}"))


def rows_until(newest: str | None) -> Dataset:
    target = TensorSpec(name="target", dtype="int64", shape=("batch",))
    return Dataset(
        workload="flights",
        folder=Path(),
        fingerprint="",
        rows={},
        inputs=(),
        target=target,
        classes=None,
        newest=newest,
    )


@pytest.mark.slow
def test_rows_that_end_before_the_champions_are_refused_in_a_sentence(registry: Registry) -> None:
    check_not_older(registry, "flights", rows_until("2013-01-31 23:59:00"))
    champion = register_bare(registry, "flights", 1)[0]
    registry.tag_version(champion, {NEWEST_TAG: "2013-03-31 23:59:00"})
    promote(registry, champion, against=None, why="the first")
    with pytest.raises(
        UserError, match="end at 2013-01-31 .*, before those of champion v1 .2013-03-31 .*or --force"
    ) as caught:
        check_not_older(registry, "flights", rows_until("2013-01-31 23:59:00"))
    assert caught.value.exit_code == 2
    check_not_older(registry, "flights", rows_until("2013-03-31 23:59:00"))
    check_not_older(registry, "flights", rows_until(None))


@pytest.mark.slow
def test_rows_whose_time_is_a_number_are_older_by_its_value(registry: Registry) -> None:
    champion = register_bare(registry, "flights", 1)[0]
    registry.tag_version(champion, {NEWEST_TAG: "9"})
    promote(registry, champion, against=None, why="the first")
    check_not_older(registry, "flights", rows_until("10"))
    with pytest.raises(UserError, match="end at 8, before those of champion v1"):
        check_not_older(registry, "flights", rows_until("8"))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("left", "right", "earlier"),
    [
        ("2025-10-26 02:30:00+02:00", "2025-10-26 02:10:00+01:00", True),  # the hour that comes twice
        ("2025-01-01 23:30:00+01:00", "2025-01-02 01:00:00+09:00", False),
        ("2025-01-01", "2025-01-01 10:00:00", True),
        ("2025-01-01 10:00:00", "2025-01-01", False),
        ("9", "10", True),
        ("Q1", "Q2", True),
    ],
)
def test_moments_are_compared_as_moments(left: str, right: str, earlier: bool) -> None:
    assert _earlier(left, right) == earlier


def test_a_champion_without_rows_in_time_is_older_than_nothing(registry: Registry) -> None:
    champion = register_bare(registry, "flights", 1)[0]
    promote(registry, champion, against=None, why="the first")
    check_not_older(registry, "flights", rows_until("2013-01-31 23:59:00"))


@pytest.mark.slow
def test_a_report_of_another_run_is_not_shown_as_that_of_this_version(registry: Registry) -> None:
    version = register_bare(registry, "flights", 1)[0]
    registry.tag_version(version, {DECISION_TAG: "refused"})
    folder = registry.settings.home / "work" / "flights"
    (folder / "package").mkdir(parents=True)
    (folder / "report.html").touch()
    for run_id, report in (("of-another", None), (version.run_id, str(folder / "report.html"))):
        (folder / "package" / "evidence.json").write_text(json.dumps({"run_id": run_id}))
        assert unchanged_outcome(registry, "flights", version).report == report


KEY = Key(code="the same in both homes")


@pytest.mark.slow
@pytest.mark.parametrize("decides", [True, False])
def test_of_two_homes_that_register_the_same_the_later_takes_its_version_back_once_the_other_has_decided(
    registry: Registry, monkeypatch: pytest.MonkeyPatch, decides: bool
) -> None:
    monkeypatch.setattr(reuse, "PATIENCE_SECONDS", 60.0 if decides else 0.3)
    other, own = (register_bare(registry, "flights", number)[0] for number in (1, 2))
    for version in (other, own):
        registry.tag_version(version, {KEY_TAG: KEY.digest})
    context = RunContext(workload="flights", model="flights", settings=registry.settings, key=KEY)
    assert reuse.yielded(context, other) is None
    if decides:
        registry.tag_version(other, {DECISION_TAG: "promoted"})
    outcome = reuse.yielded(context, own)
    assert (outcome and (outcome.decision, outcome.version)) == (("unchanged", 1) if decides else None)
    assert (registry.version("flights", 2) is None) == decides
