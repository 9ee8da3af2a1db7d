"""A rollout by its ledger: step by step, back, killed at any call, looked at by two, by clocks that are wrong. What servers report is written by hand."""

import datetime
import itertools
import shutil
import threading
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import rollouts
from rollouts import BAD, GOOD, MINUTE, PASS

from tasks.errors import RefusedError, StepError, UserError
from tasks.promotion import rolling, rollout_status
from tasks.promotion.champion import repair
from tasks.promotion.entries import LedgerEntry
from tasks.promotion.ledger import read_ledger
from tasks.promotion.manual import let_through, promote_version, roll_back_to
from tasks.promotion.permits import grant, may_serve
from tasks.promotion.replay import replay
from tasks.promotion.rollouts import BY_EVIDENCE
from tasks.records import Version
from tasks.registry.registry import Registry
from tasks.registry.tags import MOVE_TAG, REVERTED_TAG, SCORE_TAG
from tasks.rollout.counts import Counts
from tasks.rollout.reported import RevertNote
from tasks.settings import Settings, load_settings
from tasks.workloads.catalogue import load_workload


@pytest.fixture(params=["sqlite"])
def settings(request: pytest.FixtureRequest, home: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    """Over HTTP is the same ledger: one test asks for that."""
    if request.param == "http":
        monkeypatch.setenv("MLFLOW_TRACKING_URI", request.getfixturevalue("mlflow_server"))
    else:
        home.mkdir(mode=0o700)
        shutil.copyfile(request.getfixturevalue("empty_mlflow_database"), home / "mlflow.db")
    return rollouts.with_rollout(Registry(load_settings())).settings


class Clock:
    """Of whoever decides, ahead of the machine's."""

    ahead = datetime.timedelta()

    @classmethod
    def now(cls, zone: Any = datetime.UTC) -> datetime.datetime:
        return datetime.datetime.now(zone) + cls.ahead


@pytest.fixture
def wait(monkeypatch: pytest.MonkeyPatch) -> Callable[[float], datetime.datetime]:
    """Let minutes pass for whoever decides, also backwards; the moment that it is then."""
    for module in ("ledger", "rollout_status"):
        clock = SimpleNamespace(datetime=Clock, UTC=datetime.UTC, timedelta=datetime.timedelta)
        monkeypatch.setattr(f"tasks.promotion.{module}.datetime", clock)
    monkeypatch.setattr(Clock, "ahead", datetime.timedelta())

    def passes(minutes: float) -> datetime.datetime:
        Clock.ahead += minutes * MINUTE
        return Clock.now()

    return passes


def champion(registry: Registry, model: str) -> int | None:
    return registry.number(model, "champion")


def actions(registry: Registry, model: str) -> list[str]:
    return [entry.action for entry in read_ledger(registry, model).entries]


def look(registry: Registry, model: str) -> LedgerEntry | None:
    standing = rolling.advance(registry.settings, model)
    assert standing is not None
    return standing.made


@pytest.mark.slow
@pytest.mark.parametrize("settings", ["sqlite", "http"], indirect=True)
def test_a_version_that_is_as_good_goes_from_shadow_to_champion_each_step_once(
    registry: Registry, model: str, wait: Callable[[float], datetime.datetime]
) -> None:
    _, new = rollouts.begun(registry, model)
    record = rollouts.obeyed(registry, model)
    assert record is not None and (record.old, record.new, record.weight, record.open) == (1, 2, 0, True)
    assert may_serve(registry, read_ledger(registry, model), new) is None
    counts = GOOD
    for weight in (0.1, 0.5, None):
        rollouts.report(registry, model, counts, wait(9))
        assert look(registry, model) is None and champion(registry, model) == 1  # the hold is 10 minutes
        rollouts.report(registry, model, counts, wait(2))
        made = look(registry, model)
        assert made is not None and made.who == BY_EVIDENCE and made.rollout is not None
        assert made.rollout.counts == counts
        rollouts.check(registry, model)
        record = rollouts.obeyed(registry, model)
        assert record is not None and record.open == (weight is not None)
        assert weight is None or record.weight == weight
        counts += Counts(requests=250, pairs=250, served=250, timed=250, slow=50, agreed=250)
    assert actions(registry, model) == ["promote", "start", "step", "step", "promote"]
    assert champion(registry, model) == 2 and registry.number(model, "previous") == 1
    assert read_ledger(registry, model).entries[-1].verdict == "pass"
    assert look(registry, model) is None  # over: nothing more happens


@pytest.mark.slow
def test_a_version_that_fails_requests_goes_back_and_may_not_serve_any_more(
    registry: Registry, model: str, wait: Callable[[float], datetime.datetime]
) -> None:
    _, new = rollouts.begun(registry, model)
    rollouts.report(registry, model, BAD, wait(1), pod="a")
    rollouts.report(registry, model, BAD, wait(0), pod="b")
    made = look(registry, model)
    assert made is not None and (made.action, made.verdict, made.to_version) == ("abort", "fail", 2)
    assert made.rollout is not None and made.rollout.counts == BAD + BAD
    assert "30 of 600 requests" in made.why
    record = rollouts.obeyed(registry, model)
    assert record is not None and not record.open
    assert may_serve(registry, read_ledger(registry, model), new) is not None
    assert (champion(registry, model), actions(registry, model)) == (1, ["promote", "start", "abort"])
    rollouts.check(registry, model)


WRITES = ("claim", "tag_version", "tag_model", "set_alias", "add_ledger_entry", "begin_rollout")


class Killed(BaseException):
    """Stands for the process's end: nothing after it is done."""


def kill_at(moment: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """End at the moment-th edge of a write: even before one, odd after one."""
    calls = itertools.count()

    def dying(name: str) -> Any:
        original = getattr(Registry, name)

        def call(self: Registry, *args: object) -> object:
            if next(calls) == moment:
                raise Killed
            result = original(self, *args)
            if next(calls) == moment:
                raise Killed
            return result

        return call

    for name in WRITES:
        monkeypatch.setattr(Registry, name, dying(name))


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize("decision", ["start", "promote"])
def test_a_controller_killed_at_any_write_leaves_each_decision_once(
    registry: Registry, model: str, decision: str, wait: Callable[[float], datetime.datetime]
) -> None:
    """Until a pass goes through unharmed; after each kill the next pass finishes it, and what servers obey is the ledger's."""
    for moment in itertools.count():  # tests/bench/bench_rollout_state.py has all decisions, and real kills
        name = f"{model[:40]}-{moment}"
        steps = ["shadow"] if decision == "promote" else ["shadow", "10%"]
        rolled = rollouts.with_rollout(registry, steps=steps)
        if decision == "start":
            old, new = rollouts.promotions.register_bare(rolled, name, 2)
            rollouts.promote(rolled, old, against=None, why="the first")
            act = lambda: rollouts.passed(rolled, new, 1)  # noqa: B023, E731
        else:
            rollouts.begun(rolled, name)
            rollouts.report(rolled, name, BAD if decision == "abort" else GOOD, wait(11))
            act = lambda: look(rolled, name)  # noqa: B023, E731
        with pytest.MonkeyPatch.context() as dying:
            kill_at(moment, dying)
            try:
                act()
                unharmed = True
            except Killed:
                unharmed = False
        act()
        rollouts.check(rolled, name)
        begun = ["promote", "start"]
        assert actions(rolled, name) == (begun if decision == "start" else [*begun, decision])
        if unharmed:
            break
    assert moment >= 8


@pytest.mark.slow
def test_of_two_controllers_that_decide_at_the_same_moment_one_does(
    registry: Registry,
    model: str,
    wait: Callable[[float], datetime.datetime],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    rollouts.begun(registry, model)
    rollouts.report(registry, model, GOOD, wait(11))
    claim = Registry.claim

    def after_the_other(self: Registry, name: str, key: str, value: str) -> str:
        if key.startswith("entry-"):
            monkeypatch.setattr(Registry, "claim", claim)
            assert elsewhere(registry, model) is not None
        return claim(self, name, key, value)

    monkeypatch.setattr(Registry, "claim", after_the_other)
    assert look(registry, model) is None
    assert actions(registry, model) == ["promote", "start", "step"]
    rollouts.check(registry, model)


def elsewhere(registry: Registry, model: str) -> LedgerEntry | None:
    """A pass on another machine, which does not have this one's lock."""
    made: list[LedgerEntry | None] = []
    settings = registry.settings.model_copy(update={"home": registry.settings.home / "elsewhere"})
    there = threading.Thread(target=lambda: made.append(look(Registry(settings), model)))
    there.start()
    there.join()
    return made[0]


@pytest.mark.slow
def test_clocks_that_are_wrong_make_no_step_too_early(
    registry: Registry, model: str, wait: Callable[[float], datetime.datetime]
) -> None:
    """The servers' clocks are right and the controller's is not; then a server's is not."""
    rollouts.begun(registry, model)
    rollouts.report(registry, model, GOOD, datetime.datetime.now(datetime.UTC))
    wait(11)  # ten minutes ahead of the server, which then seems silent
    assert look(registry, model) is None
    wait(-22)
    standing = rolling.advance(registry.settings, model)
    assert standing is not None and standing.made is None
    assert "behind the ledger's last entry: nothing is decided by it" in standing.decision.why
    now = wait(22)
    for at in (now - 10 * MINUTE, now + 10 * MINUTE):
        rollouts.report(registry, model, GOOD, at, pod="wrong")
        rollouts.report(registry, model, GOOD, now, sequence=1)
        assert look(registry, model) is None  # one of them is not at this step yet
    assert actions(registry, model) == ["promote", "start"]


@pytest.mark.slow
def test_what_a_server_went_back_from_ends_the_rollout_whatever_its_clock_says(
    registry: Registry, model: str
) -> None:
    _, new = rollouts.begun(registry, model)
    record = rollouts.obeyed(registry, model)
    assert record is not None
    long_ago = datetime.datetime.now(datetime.UTC) - 60 * MINUTE
    note = RevertNote(at=long_ago, by="host:7", reason="it failed 15 of 300", counts=BAD, rollout=record.run)
    registry.tag_version(new, {REVERTED_TAG: note.model_dump_json()})
    made = look(registry, model)
    assert made is not None and (made.action, made.who) == ("abort", "host:7")
    assert made.rollout is not None and made.rollout.counts == BAD and made.rollout.answers
    rollouts.check(registry, model)


@pytest.mark.slow
@pytest.mark.parametrize("who", ["the rollout", "a person"])
@pytest.mark.parametrize(
    ("settings", "whole"), [("sqlite", False), ("sqlite", True), ("http", False)], indirect=["settings"]
)
def test_a_rollout_whose_run_was_deleted_in_mlflow_goes_back_and_can_be_ended(
    registry: Registry, model: str, who: str, whole: bool
) -> None:
    _, new = rollouts.begun(registry, model)
    rollouts.report(registry, model, BAD)
    run = rollouts.rollout_of(registry, model).stands.run
    registry.client.delete_run(run)
    if whole:
        registry.client._tracking_client.store._hard_delete_run(run)  # as `mlflow gc` does
    if who == "a person":
        assert roll_back_to(registry.settings, model, why="now").action == "abort"
    else:
        seen = rolling.advance(registry.settings, model)
        assert seen is not None and rollout_status.drawn(registry, seen)  # as the flow shows it
        made = seen.made
        assert made is not None and (made.action, made.verdict) == ("abort", "inconclusive")
        assert "was deleted in MLflow" in made.why
    assert may_serve(registry, read_ledger(registry, model), new) is not None
    assert rollout_status.status(registry.settings, model).status == "ended"
    assert replay(registry, model).entries == 1
    rollouts.check(registry, model)


@pytest.mark.slow
def test_labels_that_cannot_be_read_hold_up_no_guard_but_the_score_and_no_person(
    settings: Settings, model: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    registry = rollouts.with_rollout(
        Registry(settings), margin={"score": 0.01}, hold={"minutes": 0, "requests": 0}, steps=["shadow"]
    )
    rollouts.begun(registry, model)
    monkeypatch.setattr(rollout_status, "labelled", no_store)
    rollouts.report(registry, model, GOOD)
    seen = rolling.advance(registry.settings, model)
    assert seen is not None and seen.made is None and seen.decision.action == "stay"
    assert "Labels say nothing: The store is away." in seen.decision.why
    assert rolling.say(registry.settings, model, "pause", why="lunch").action == "pause"
    rolling.say(registry.settings, model, "resume", why="back")
    with pytest.raises(RefusedError, match="nobody knows its score.*The store is away"):
        rolling.say(registry.settings, model, "finish", why="it will do")
    rollouts.report(registry, model, BAD)
    made = look(registry, model)
    assert made is not None and (made.action, made.verdict) == ("abort", "fail")
    assert replay(registry, model).entries == 3


def no_store(*_: Any) -> Any:
    raise StepError("The store is away.")


@pytest.mark.slow
def test_a_person_pauses_resumes_and_finishes_and_cannot_finish_what_is_harmful(
    registry: Registry, settings: Settings, model: str
) -> None:
    rollouts.begun(registry, model)
    rolling.say(settings, model, "pause", why="a holiday", who="ada")
    record = rollouts.obeyed(registry, model)
    assert record is not None and not record.open
    with pytest.raises(UserError, match="paused already"):
        rolling.say(settings, model, "pause", why="again")
    rolling.say(settings, model, "resume", why="back")
    rollouts.report(registry, model, BAD)
    with pytest.raises(RefusedError, match=r"is not finished.*Surely harmful \(errors\): it failed 15"):
        rolling.say(settings, model, "finish", why="please")
    rollouts.report(registry, model, Counts(pairs=5, timed=5))
    entry = rolling.say(settings, model, "finish", why="it has to be today", who="ada")
    assert (entry.action, entry.verdict, champion(registry, model)) == ("finish", "inconclusive", 2)
    rollouts.check(registry, model)
    with pytest.raises(UserError, match="No rollout of .* is open"):
        rolling.say(settings, model, "abort", why="too late")


@pytest.mark.slow
def test_a_jump_over_a_rollout_that_is_paused_ends_it_and_what_waited_has_its_turn(
    registry: Registry, settings: Settings, model: str
) -> None:
    _, second, third = rollouts.begun(registry, model, 3)
    assert rollouts.passed(registry, third, 1) == "registered"
    rolling.say(settings, model, "pause", why="a holiday")
    assert rollout_status.to_look_at(registry) == []
    with pytest.raises(RefusedError, match="version 3 cannot begin yet: version 2 is being rolled out"):
        let_through(registry, read_ledger(registry, model), third, PASS, why="now", who=None, at_once=True)
    let_through(registry, read_ledger(registry, model), second, PASS, why="now", who=None, at_once=True)
    assert champion(registry, model) == 2 and rollout_status.to_look_at(registry) == [model]
    rollouts.check(registry, model)
    standing = rolling.advance(settings, model)  # judged against version 2, of which there is no proof
    assert standing is not None and (standing.status, standing.waits) == ("ended", 3)
    assert actions(registry, model) == ["promote", "start", "pause", "promote"]
    rollouts.check(registry, model)


@pytest.mark.slow
def test_a_second_rollout_waits_a_jump_is_said_and_a_rollback_ends_it(
    registry: Registry, settings: Settings, model: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, _, third, fourth = rollouts.begun(registry, model, 4)
    assert rollouts.passed(registry, third, 1) == "registered"
    ledger = read_ledger(registry, model)
    for version, words in ((third, "version 3 cannot begin yet: version 2 is"), (None, "already")):
        with pytest.raises(RefusedError, match=words):
            asked = version or Version(model=model, version=2, sha256="", run_id="")
            let_through(registry, ledger, asked, PASS, why="please", who=None)
    entry = roll_back_to(settings, model, why="slow on Mondays", who="ada")
    assert (entry.action, entry.verdict, entry.to_version) == ("abort", "inconclusive", 2)
    registry.tag_version(fourth, {SCORE_TAG: "auc"})
    with_score = rollouts.with_rollout(registry, margin={"score": 0.01})
    by_auc = SimpleNamespace(workload=load_workload("flights"))
    monkeypatch.setattr("tasks.promotion.rollout_start.answers_of", lambda *_: by_auc)
    with pytest.raises(RefusedError, match=r"flights .*is scored by auc.*margin\.score to null"):
        let_through(with_score, read_ledger(registry, model), fourth, PASS, why="please", who=None)
    entry = let_through(
        registry, read_ledger(registry, model), fourth, PASS, why="now", who=None, at_once=True
    )
    assert entry.action == "promote" and "without the rollout" in entry.why
    rollouts.check(registry, model)


@pytest.mark.slow
def test_a_move_by_hand_to_what_may_serve_begins_a_rollout_and_the_alias_goes_back(
    registry: Registry, model: str, tmp_path: Path
) -> None:
    """Not one that takes or gives something else, of which no request could be answered by both."""
    outputs = enumerate(("logits", "scores", "logits", "logits"))
    versions = [
        rollouts.promotions.register(registry, model, tmp_path, 1.0 + weight, output=output)
        for weight, output in outputs
    ]
    rollouts.promote(registry, versions[0], against=None, why="the first")
    for version in versions[1:]:
        grant(registry, version, basis="approval", why="looked at", by="ada")
    moved = {
        2: "it cannot answer beside version 1: outputs are scores",
        3: "",
        4: "version 3 is being rolled out",
    }
    for number, words in moved.items():
        registry.set_alias(model, "champion", number)
        ledger = repair(registry, model)
        assert champion(registry, model) == 1
        assert words in registry.tags(versions[number - 1]).get(MOVE_TAG, "")
        assert may_serve(registry, ledger, versions[number - 1]) is None
    assert actions(registry, model) == ["promote", "start"] and ledger.entries[-1].to_version == 3
    assert "moved in MLflow" in ledger.entries[-1].why
    rollouts.check(registry, model)


@pytest.mark.slow
def test_what_waits_begins_once_the_rollout_has_ended_if_the_gate_lets_it_still(
    settings: Settings, model: str, tmp_path: Path
) -> None:
    registry = rollouts.with_rollout(Registry(settings), hold={"minutes": 0, "requests": 0}, steps=["shadow"])
    versions = [
        rollouts.promotions.register(registry, model, tmp_path, 1.0 + number, champion=number and 1)
        for number in range(5)
    ]
    rollouts.promote(registry, versions[0], against=None, why="the first")
    decided = [rollouts.passed(registry, version, 1) for version in versions[1:4]]
    assert decided == ["rolling", "registered", "registered"]
    standing = rolling.advance(registry.settings, model)
    assert standing is not None and standing.waits == 4
    rolling.say(registry.settings, model, "abort", why="not on Fridays")
    assert rollout_status.to_look_at(registry) == [model]
    standing = rolling.advance(registry.settings, model)
    assert standing is not None and (standing.new, standing.status, standing.waits) == (4, "rolling", None)
    assert rollouts.passed(registry, versions[4], 1) == "registered"
    rollouts.report(registry, model, GOOD)
    assert look(registry, model) is not None and champion(registry, model) == 4
    standing = rolling.advance(registry.settings, model)  # judged against version 1, whose rows are not here
    assert standing is not None and (standing.status, standing.waits) == ("ended", 5)
    assert actions(registry, model) == ["promote", "start", "abort", "start", "promote"]
    rollouts.check(registry, model)


@pytest.mark.slow
def test_promote_by_hand_begins_a_rollout_for_a_real_version(
    registry: Registry, settings: Settings, model: str, tmp_path: Any
) -> None:
    first = rollouts.promotions.register(registry, model, tmp_path, 1.0)
    rollouts.promote(registry, first, against=None, why="the first")
    second = rollouts.promotions.register(registry, model, tmp_path, 2.0, champion=1)
    registry.set_alias(model, "champion", second.version)
    repair(registry, model)  # its gate passed, which is enough for a move by hand
    assert actions(registry, model)[1:] == ["start"]
    rolling.say(settings, model, "abort", why="only a try")
    entry = promote_version(settings, model, 2, why="again, on purpose", who="ada")
    assert (entry.action, champion(registry, model)) == ("start", 1)
    record = rollouts.obeyed(registry, model)
    assert record is not None and (record.new_sha256, record.open) == (second.sha256, True)
