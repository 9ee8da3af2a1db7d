"""Moving the champion: at the last moment, one at a time, killed at any instant; on SQLite and over HTTP."""

import threading
from collections import Counter
from pathlib import Path

import promotions
import pytest

from tasks.errors import RefusedError, StepError, UserError
from tasks.measured import Verdict
from tasks.promotion.automatic import apply_verdict
from tasks.promotion.champion import model_lock, promote, refuse, repair
from tasks.promotion.ledger import StaleError, read_ledger
from tasks.promotion.manual import promote_version, roll_back_to
from tasks.promotion.permits import grant
from tasks.records import Version
from tasks.registry.registry import Registry
from tasks.registry.status_tags import all_statuses
from tasks.registry.tags import MOVED_BY_TAG
from tasks.settings import Settings
from tasks.system.signing import EvidenceError


def champion(registry: Registry, model: str) -> int | None:
    found = registry.by_alias(model, "champion")
    return found.version if found else None


def aliases(registry: Registry, model: str) -> dict[str, int]:
    named = registry.client.get_registered_model(model).aliases
    return {alias: int(version) for alias, version in named.items()}


@pytest.mark.slow
def test_the_first_version_is_promoted_like_any_other(registry: Registry, model: str) -> None:
    first, second = promotions.register_bare(registry, model, 2)
    promote(registry, first, against=None, why="the first", who="ada")
    entry = promote(registry, second, against=1, why="better", who="bob")
    assert (entry.action, entry.from_version, entry.to_version, entry.who, entry.why) == (
        "promote",
        1,
        2,
        "bob",
        "better",
    )
    promotions.check(registry, read_ledger(registry, model))
    assert champion(registry, model) == 2
    said = all_statuses(registry)[model]["champion"]
    assert (said.version, said.at, said.said) == (2, entry.at, "by bob (claimed): better"), "for the pages"


@pytest.mark.slow
def test_a_verdict_against_another_champion_promotes_nothing(registry: Registry, model: str) -> None:
    first, second, third = promotions.register_bare(registry, model, 3)
    promote(registry, first, against=None, why="the first")
    promote(registry, second, against=1, why="better")
    with pytest.raises(StaleError, match="judged against champion v1, but champion v2 serves now"):
        promote(registry, third, against=1, why="judged long ago")
    assert champion(registry, model) == 2 and len(read_ledger(registry, model).entries) == 2


@pytest.mark.slow
def test_promoting_the_champion_again_is_refused(registry: Registry, model: str) -> None:
    (first,) = promotions.register_bare(registry, model, 1)
    promote(registry, first, against=None, why="the first")
    with pytest.raises(RefusedError, match="already is the champion"):
        promote(registry, first, against=1, why="again")


@pytest.mark.slow
def test_an_owner_that_stood_still_finds_another_in_its_place(
    registry: Registry, model: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its lock was lost while it stood between judging and deciding: the other's entry has the place that it wants."""
    first, second, third = promotions.register_bare(registry, model, 3)
    promote(registry, first, against=None, why="the first")
    claim = Registry.claim

    def stand_still_before(self: Registry, name: str, key: str, value: str) -> str:
        monkeypatch.setattr(Registry, "claim", claim)
        promote(Registry(registry.settings), third, against=1, why="its lock was lost meanwhile")
        return claim(self, name, key, value)

    monkeypatch.setattr(Registry, "claim", stand_still_before)
    with pytest.raises(StaleError, match="judged against champion v1, but champion v3 serves now"):
        promote(registry, second, against=1, why="slow")
    assert champion(registry, model) == 3
    promotions.check(registry, read_ledger(registry, model))


def test_a_second_promotion_waits_and_then_is_told(settings: Settings) -> None:
    with (
        model_lock(settings, "digits"),
        pytest.raises(RefusedError, match="Another promotion of digits has been under way"),
        model_lock(settings, "digits", 0.2),
    ):
        pass


@pytest.mark.slow
def test_of_many_that_race_one_wins_and_the_others_are_told(
    settings: Settings, registry: Registry, model: str
) -> None:
    first, *others = promotions.register_bare(registry, model, 9)
    promote(registry, first, against=None, why="the first")
    told = promotions.race(settings, others, against=1)
    assert told.count("promoted") == 1
    assert sum("judged against champion v1" in answer for answer in told) == 7
    ledger = read_ledger(registry, model)
    assert len(ledger.entries) == 2 and ledger.entries[-1].who == f"racer {ledger.serving}"
    promotions.check(registry, ledger)


@pytest.mark.slow
def test_a_kill_at_a_random_moment_leaves_a_champion_and_a_true_ledger(
    settings: Settings, registry: Registry, model: str
) -> None:
    first, *others = promotions.register_bare(registry, model, 9)
    promote(registry, first, against=None, why="the first")
    outcomes = Counter(promotions.kill_drill(settings, model, others, longest=0.4))
    assert sum(outcomes.values()) == 8
    promotions.check(registry, read_ledger(registry, model))


@pytest.mark.slow
@pytest.mark.parametrize(
    "step",
    ["claim entry-", "tag_version", "set_alias", "set_alias previous", "add_ledger_entry", "claim done-"],
)
@pytest.mark.parametrize("when", ["before", "after"])
def test_a_crash_around_every_write_is_repaired(
    registry: Registry, model: str, step: str, when: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = promotions.register_bare(registry, model, 2)
    promote(registry, first, against=None, why="the first")
    with monkeypatch.context() as dying, pytest.raises(Crash):
        crash_at(step, when, dying)
        promote(registry, second, against=1, why="better", who="bob")
    decided = (step, when) != ("claim entry-", "before")
    ledger = repair(registry, model)
    promotions.check(registry, ledger)
    assert ledger.serving == champion(registry, model) == (2 if decided else 1)
    assert [entry.who for entry in ledger.entries][1:] == (["bob"] if decided else [])
    assert len({tags["slipway.entry"] for _, tags in registry.ledger_entries(model)}) == len(ledger.entries)
    assert read_ledger(registry, model, whole=True).problems == ()


class Crash(Exception):
    """Stands for the process's end: nothing after it is done."""


def crash_at(step: str, when: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Make one write of a promotion raise, before or after it is done."""
    name, _, which = step.partition(" ")
    original = getattr(Registry, name)

    def hit(*args: object) -> bool:
        aliases = name == "set_alias" and (which or "champion") in args
        return aliases or (name != "set_alias" and str(args[1]).startswith(which)) or not which

    def crashing(self: Registry, *args: object) -> object:
        if hit(*args) and when == "before":
            raise Crash
        result = original(self, *args)
        if hit(*args):
            raise Crash
        return result

    monkeypatch.setattr(Registry, name, crashing)


@pytest.mark.slow
@pytest.mark.parametrize("way", ["promote", "rollback", "by hand", "the gate, again"])
def test_what_serves_is_no_challenger(
    settings: Settings, registry: Registry, model: str, versions: list[Version], way: str
) -> None:
    first, second, third = versions
    assert aliases(registry, model) == {"champion": 2, "previous": 1}
    registry.set_alias(model, "challenger", 3)
    if way == "promote":
        promote(registry, third, against=2, why="better")
    elif way == "by hand":
        grant(registry, third, basis="approval", why="ada says so", by="ada")
        registry.set_alias(model, "champion", 3)
        refuse(registry, first, why="the next decision", verdict="fail")
    elif way == "rollback":  # of one that came back, as by an older release
        registry.set_alias(model, "challenger", 1)
        roll_back_to(settings, model, why="slow on Mondays")
    else:  # a try that was cut off after the move
        registry.delete_alias(model, "challenger")
        proof = promotions.make_evidence("a" * 64, model).proof
        assert apply_verdict(registry, second, proof, may_promote=True).decision == "promoted"
    serves, before = {"rollback": (1, None), "the gate, again": (2, 1)}.get(way, (3, 2))
    assert aliases(registry, model) == {"champion": serves} | ({"previous": before} if before else {})


@pytest.mark.slow
def test_an_alias_moved_by_hand_is_written_down_by_the_next_decision(registry: Registry, model: str) -> None:
    first, second, third = promotions.register_bare(registry, model, 3)
    promote(registry, first, against=None, why="the first")
    grant(registry, second, basis="gate", why="it passed", by="the gate")
    registry.set_alias(model, "champion", 2)
    promote(registry, third, against=2, why="better")
    entries = read_ledger(registry, model).entries
    assert [(e.action, e.from_version, e.to_version, e.who) for e in entries[1:]] == [
        ("repair", 1, 2, "unknown"),
        ("promote", 2, 3, entries[2].who),
    ]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("noted", "who"),
    [
        ('{"who": "ada", "version": "2"}', ("ada", True)),
        ('{"who": "ada", "version": "1"}', ("unknown", False)),
        ("[", ("unknown", False)),
    ],
)
def test_a_move_by_hand_is_whose_account_mlflow_saw_make_it(
    registry: Registry, model: str, noted: str, who: tuple[str, bool]
) -> None:
    first, second = promotions.register_bare(registry, model, 2)
    promote(registry, first, against=None, why="the first")
    grant(registry, second, basis="gate", why="it passed", by="the gate")
    registry.tag_model(model, {MOVED_BY_TAG: noted})
    registry.set_alias(model, "champion", 2)
    entry = repair(registry, model).entries[-1]
    assert (entry.action, entry.to_version) == ("repair", 2) and (entry.who, entry.claimed) == who


def test_a_refusal_is_kept_and_moves_nothing(registry: Registry, model: str) -> None:
    first, second = promotions.register_bare(registry, model, 2)
    promote(registry, first, against=None, why="the first")
    refuse(registry, second, why="worse by 5 points", verdict="fail", who="gate")
    ledger = read_ledger(registry, model)
    assert (ledger.entries[-1].action, ledger.entries[-1].to_version, ledger.serving) == ("refuse", 2, 1)
    promotions.check(registry, ledger)


@pytest.mark.parametrize("why", ["", "  ", "x" * 3000])
def test_a_reason_is_needed_and_has_a_limit(registry: Registry, model: str, why: str) -> None:
    (first,) = promotions.register_bare(registry, model, 1)
    with pytest.raises(UserError, match="[Rr]eason"):
        promote(registry, first, against=None, why=why)
    assert champion(registry, model) is None


@pytest.fixture
def versions(registry: Registry, model: str, tmp_path: Path) -> list[Version]:
    """Three real versions, the first two promoted."""
    first = promotions.register(registry, model, tmp_path, 1.0)
    promote(registry, first, against=None, why="the first")
    second = promotions.register(registry, model, tmp_path, 2.0, champion=1)
    promote(registry, second, against=1, why="better")
    return [first, second, promotions.register(registry, model, tmp_path, 3.0, decision="fail", champion=2)]


@pytest.mark.slow
def test_rollback_goes_to_the_version_before(
    settings: Settings, registry: Registry, model: str, versions: list[Version]
) -> None:
    entry = roll_back_to(settings, model, why="slow on Mondays", who="ada")
    assert (entry.action, entry.from_version, entry.to_version) == ("rollback", 2, 1)
    assert champion(registry, model) == 1
    promotions.check(registry, read_ledger(registry, model))
    with pytest.raises(UserError, match="no previous version: v1 is the first that served"):
        roll_back_to(settings, model, why="further")


@pytest.mark.slow
def test_rollback_to_what_is_not_there_or_never_passed_moves_nothing(
    settings: Settings, registry: Registry, model: str, versions: list[Version]
) -> None:
    with pytest.raises(UserError, match="has no version 17") as missing:
        roll_back_to(settings, model, 17, why="x")
    with pytest.raises(RefusedError, match="version 3 never passed its gate") as never:
        roll_back_to(settings, model, 3, why="x")
    with pytest.raises(UserError, match="version 2 already is the champion"):
        roll_back_to(settings, model, 2, why="x")
    with pytest.raises(UserError, match="no model 'nothing'|has no champion"):
        roll_back_to(settings, "nothing", why="x")
    assert (missing.value.exit_code, never.value.exit_code) == (2, 3)
    assert champion(registry, model) == 2 and len(read_ledger(registry, model).entries) == 2


@pytest.mark.slow
def test_rollback_proves_first_that_the_old_version_still_holds(
    settings: Settings, registry: Registry, model: str, versions: list[Version], tmp_path: Path
) -> None:
    stored = stored_folder(registry, versions[0], tmp_path)
    content = (stored / "model.onnx").read_bytes()
    (stored / "model.onnx").write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    with pytest.raises(EvidenceError, match="model.onnx was altered"):
        roll_back_to(settings, model, why="x")
    (stored / "model.onnx").unlink()
    with pytest.raises((EvidenceError, StepError)):
        roll_back_to(settings, model, why="x")
    assert champion(registry, model) == 2


def stored_folder(registry: Registry, version: Version, scratch: Path) -> Path:
    """Where the registry keeps a version's files, on this machine."""
    uri = registry.client.get_model_version(version.model, str(version.version)).source
    location = registry.client.get_logged_model(uri.removeprefix("models:/")).artifact_location
    if location.startswith("mlflow-artifacts:"):
        pytest.skip("a server keeps its artifacts to itself; the embedded store shows the same code")
    return Path(location.removeprefix("file://"))


@pytest.mark.slow
def test_promote_by_hand_lets_doubt_pass_but_not_failure(
    settings: Settings, registry: Registry, model: str, versions: list[Version], tmp_path: Path
) -> None:
    with pytest.raises(RefusedError, match="version 3 is refused, and version 2 serves as before: "):
        promote_version(settings, model, 3, why="please", who="eve")
    assert read_ledger(registry, model).entries[-1].why.endswith("; asked for with: please")
    doubtful = promotions.register(registry, model, tmp_path, 4.0, decision="inconclusive", champion=2)
    with pytest.raises(RefusedError):
        promote_version(settings, model, doubtful.version, why="by a machine", approved=False)
    new = Verdict(decision="inconclusive", reasons=("?",), new_signature="outputs are a and were b")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("tasks.promotion.manual.verdict_against_champion", lambda *_: (None, new))
        with pytest.raises(RefusedError, match="promote it with --new-sig"):
            promote_version(settings, model, doubtful.version, why="we need it", who="ada")
        entry = promote_version(settings, model, doubtful.version, why="told", who="ada", new_signature=True)
    assert (entry.verdict, entry.to_version, champion(registry, model)) == ("inconclusive", 4, 4)
    assert [e.action for e in read_ledger(registry, model).entries] == [
        "promote",
        "promote",
        "refuse",
        "refuse",
        "promote",
    ]


def test_a_refusal_that_was_cut_off_and_tried_again_is_one_entry(registry: Registry, model: str) -> None:
    [version] = promotions.register_bare(registry, model, 1)
    proof = promotions.make_evidence("a" * 64, model, "fail").proof
    for _ in range(2):
        assert apply_verdict(registry, version, proof, may_promote=True).decision == "refused"
    assert [entry.action for entry in read_ledger(registry, model).entries] == ["refuse"]


@pytest.mark.parametrize("name", ["nobody", "../../nobody"])
def test_a_model_that_is_not_there_is_said_and_leaves_no_lock(settings: Settings, name: str) -> None:
    with pytest.raises(UserError, match="There is no model"):
        roll_back_to(settings, name, why="a slip of the finger")
    assert not list(settings.home.parent.rglob("nobody.lock"))


@pytest.mark.slow
@pytest.mark.parametrize("moment", ["add_ledger_entry", "set_alias"])
def test_a_machine_that_wakes_while_another_promotes_takes_nothing_from_it(
    registry: Registry, model: str, monkeypatch: pytest.MonkeyPatch, moment: str
) -> None:
    """It decided and stood still before its move; the next one carried that out and decided again, when it wakes and moves."""
    first, second, third = promotions.register_bare(registry, model, 3)
    promote(registry, first, against=None, why="the first")
    stands_still, wakes = threading.Event(), threading.Event()
    move, write_down = Registry.set_alias, Registry.add_ledger_entry
    sleeper = threading.Thread(
        target=lambda: promote(Registry(registry.settings), second, against=1, why="slow")
    )

    def wake(now: str) -> None:
        late = threading.current_thread() is not sleeper and read_ledger(registry, model).serving == 3
        if late and now == moment and not wakes.is_set():
            wakes.set()
            sleeper.join(60)

    def move_late(self: Registry, name: str, alias: str, version: int) -> None:
        if threading.current_thread() is sleeper and alias == "champion" and not stands_still.is_set():
            stands_still.set()
            assert wakes.wait(60)
        move(self, name, alias, version)
        wake("set_alias")

    def write_down_late(self: Registry, name: str, title: str, tags: dict[str, str]) -> str:
        wake("add_ledger_entry")
        return write_down(self, name, title, tags)

    monkeypatch.setattr(Registry, "set_alias", move_late)
    monkeypatch.setattr(Registry, "add_ledger_entry", write_down_late)
    sleeper.start()
    assert stands_still.wait(60)
    promote(registry, third, against=2, why="better")
    assert champion(registry, model) == 3
    ledger = read_ledger(registry, model, whole=True)
    assert [entry.to_version for entry in ledger.entries] == [1, 2, 3]
    promotions.check(registry, read_ledger(registry, model))
