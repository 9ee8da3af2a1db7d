"""Which versions may serve: by the gate, by a person, never after a refusal; and what a move of the alias by hand comes to."""

import datetime
import json
import shutil
from pathlib import Path

import promotions
import pytest

from tasks.monitoring.monitor import monitor
from tasks.promotion.automatic import apply_verdict
from tasks.promotion.champion import promote, repair, roll_back
from tasks.promotion.ledger import read_ledger
from tasks.promotion.manual import decline_version, promote_version
from tasks.promotion.permits import may_serve, serving_version
from tasks.proof.permit import PERMIT_TAG, Permit, read_permit
from tasks.records import Version
from tasks.registry.registry import Registry
from tasks.registry.tags import POLICY_TAG
from tasks.settings import Policy, load_settings
from tasks.system.signing import public_key, text_checker


@pytest.fixture
def registry(home: Path, empty_mlflow_database: Path) -> Registry:
    home.mkdir(mode=0o700)
    shutil.copyfile(empty_mlflow_database, home / "mlflow.db")
    return Registry(load_settings())


def with_policy(registry: Registry, **policy: object) -> Registry:
    models = {"default": Policy.model_validate(policy)}
    return Registry(registry.settings.model_copy(update={"models": models}))


def register(
    registry: Registry, scratch: Path, weight: float, decision: str = "pass", champion: int | None = None
) -> Version:
    """A version as this release registers it: the tag of its gates tells it from older ones."""
    version = promotions.register(registry, "toy", scratch, weight, decision, champion)
    registry.tag_version(version, {POLICY_TAG: "a" * 64})
    return version


def permit(registry: Registry, version: Version) -> Permit | None:
    text = registry.tags(version).get(PERMIT_TAG)
    return read_permit(text, text_checker(public_key())) if text else None


def judged(registry: Registry, version: Version, decision: str, *, may_promote: bool = True) -> str:
    proof = promotions.make_evidence(version.sha256, "toy", decision).proof
    return apply_verdict(registry, version, proof, may_promote=may_promote).decision


def reason(registry: Registry, version: Version) -> str | None:
    return may_serve(registry, read_ledger(registry, "toy"), version)


def test_a_pass_lets_a_version_serve_also_when_it_is_not_promoted(registry: Registry, tmp_path: Path) -> None:
    version = register(registry, tmp_path, 1.0)
    assert reason(registry, version) == "it has no permit: its gate did not pass, or nobody has approved it"
    assert judged(registry, version, "pass", may_promote=False) == "registered"
    held = permit(registry, version)
    assert held and (held.granted, held.basis, held.model_sha256) == (True, "gate", version.sha256)
    assert reason(registry, version) is None


@pytest.mark.slow
def test_each_promotion_is_in_the_permit_by_its_ledger_entry(registry: Registry, tmp_path: Path) -> None:
    first, second = register(registry, tmp_path, 1.0), register(registry, tmp_path, 2.0, champion=1)
    judged(registry, first, "pass", may_promote=False)
    before = permit(registry, first)
    assert before and before.entry_sha256 == ""
    promoted = promote(registry, first, against=None, why="the first")
    named = permit(registry, first)
    assert named and (named.entry_sha256, named.serial) == (promoted.digest, before.serial + 1)
    repair(registry, "toy")
    assert permit(registry, first) == named, "what was carried out is not said again"
    promote(registry, second, against=1, why="better")
    back = roll_back(registry, first, why="worse after all")
    again = permit(registry, first)
    assert again and (again.entry_sha256, again.serial) == (back.digest, named.serial + 1)


@pytest.mark.slow
@pytest.mark.parametrize("policy", [{"approval": "manual"}, {"moves": "ledger"}])
def test_where_a_person_or_the_ledger_decides_a_pass_alone_is_no_permit(
    registry: Registry, tmp_path: Path, policy: dict[str, str]
) -> None:
    registry = with_policy(registry, **policy)
    version = register(registry, tmp_path, 1.0)
    judged(registry, version, "pass", may_promote=False)
    assert permit(registry, version) is None
    promote(registry, version, against=None, why="looked at", who="ada", verdict="inconclusive")
    held = permit(registry, version)
    assert held and (held.granted, held.basis, held.by, held.why) == (True, "approval", "ada", "looked at")


@pytest.mark.parametrize("decision", ["fail", "inconclusive"])
def test_no_pass_no_permit(registry: Registry, tmp_path: Path, decision: str) -> None:
    version = register(registry, tmp_path, 1.0, decision)
    judged(registry, version, decision)
    held = permit(registry, version)
    assert held is None or not held.granted
    assert reason(registry, version) is not None


@pytest.mark.slow
def test_a_refusal_withdraws_the_permit_and_a_persons_promotion_gives_it_again(
    registry: Registry, tmp_path: Path
) -> None:
    first, second = register(registry, tmp_path, 1.0), register(registry, tmp_path, 2.0, champion=1)
    assert judged(registry, first, "pass") == "promoted"
    judged(registry, second, "pass", may_promote=False)
    before = permit(registry, second)
    decline_version(registry.settings, "toy", 2, why="wrong sevens", who="ada")
    held = permit(registry, second)
    assert before and held and (held.granted, held.serial) == (False, before.serial + 1)
    assert "may not serve: wrong sevens (ada" in (reason(registry, second) or "")
    promote_version(registry.settings, "toy", 2, why="they were right after all", who="bob")
    held = permit(registry, second)
    assert held and (held.granted, held.serial, held.by) == (True, before.serial + 2, "bob")


def test_deleting_a_refusal_does_not_bring_service_back(registry: Registry, tmp_path: Path) -> None:
    first = register(registry, tmp_path, 1.0)
    judged(registry, first, "pass", may_promote=False)
    decline_version(registry.settings, "toy", 1, why="wrong sevens", who="ada")
    registry.client.delete_model_version_tag("toy", "1", PERMIT_TAG)
    assert reason(registry, first) == "it was refused"
    registry.client.delete_model_version_tag("toy", "1", POLICY_TAG)
    assert reason(registry, first) == "it was refused"


@pytest.mark.slow
def test_a_move_by_hand_to_a_refused_version_changes_nothing_for_gate_and_monitor(
    registry: Registry, tmp_path: Path
) -> None:
    first, second = register(registry, tmp_path, 1.0), register(registry, tmp_path, 2.0, "fail", champion=1)
    judged(registry, first, "pass")
    judged(registry, second, "fail")
    registry.set_alias("toy", "champion", 2)
    assert serving_version(registry, "toy") == first
    assert monitor(registry.settings, "toy").version == 1
    ledger = repair(registry, "toy")
    assert registry.number("toy", "champion") == 1
    assert [entry.action for entry in ledger.entries] == ["promote", "refuse", "refuse"]


def test_a_version_of_the_last_release_gets_the_permit_that_it_would_have_had(
    registry: Registry, tmp_path: Path
) -> None:
    passed = promotions.register(registry, "toy", tmp_path, 1.0)
    failed = promotions.register(registry, "toy", tmp_path, 2.0, "fail")
    assert reason(registry, passed) is None and reason(registry, failed) == "its gate said fail"
    held = permit(registry, passed)
    assert held and held.basis == "ledger"


@pytest.mark.slow
def test_what_servers_went_back_from_is_refused_and_rolled_back_by_the_next_decision(
    registry: Registry, tmp_path: Path
) -> None:
    first, second = register(registry, tmp_path, 1.0), register(registry, tmp_path, 2.0, champion=1)
    judged(registry, first, "pass")
    promote(registry, second, against=1, why="better")
    at = datetime.datetime.now(datetime.UTC).isoformat(timespec="milliseconds")
    note = {"at": at, "by": "pod-7", "back_to": "1", "reason": "5% of its answers failed"}
    registry.tag_version(second, {"slipway.reverted": json.dumps(note)})
    third = register(registry, tmp_path, 3.0, champion=1)
    promote(registry, third, against=1, why="better still", who="ada")
    entries = read_ledger(registry, "toy").entries
    assert [(e.action, e.to_version, e.who) for e in entries[2:]] == [
        ("refuse", 2, "pod-7"),
        ("rollback", 1, "pod-7"),
        ("promote", 3, "ada"),
    ]
    assert "servers went back from it: 5% of its answers failed" in (reason(registry, second) or "")
    promote(registry, second, against=3, why="the brake was wrong", who="bob")
    assert repair(registry, "toy").serving == 2


@pytest.mark.slow
def test_a_note_that_anybody_may_have_written_stops_no_decision(registry: Registry, tmp_path: Path) -> None:
    first = register(registry, tmp_path, 1.0)
    judged(registry, first, "pass")
    for note in (
        "no JSON",
        "[]",
        '{"at": "2026-11-26T12:09:00", "by": "a clock without a zone", "reason": "r"}',
    ):
        registry.tag_version(first, {"slipway.reverted": note})
        assert repair(registry, "toy").serving == 1


@pytest.mark.slow
def test_a_damaged_permit_holds_up_no_decision(registry: Registry, tmp_path: Path) -> None:
    """Whoever can write a tag of MLflow's can damage it; the alias moved there is refused and put back."""
    first, second = register(registry, tmp_path, 1.0), register(registry, tmp_path, 2.0, champion=1)
    judged(registry, first, "pass")
    for version in (first, second):
        registry.tag_version(version, {PERMIT_TAG: "{"})
    registry.set_alias("toy", "champion", 2)
    assert repair(registry, "toy").serving == 1 and registry.number("toy", "champion") == 1
    assert repair(registry, "toy").serving == 1
    held, champions = permit(registry, second), permit(registry, first)
    assert held and not held.granted
    assert champions and champions.granted, "the champion's own is written anew"
    promote(registry, second, against=1, why="looked at", who="ada")
    assert repair(registry, "toy").serving == 2
