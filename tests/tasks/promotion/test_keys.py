"""Keys handed over and revoked on a real registry: what counts before, between and after, whoever is killed and whatever a thief signs."""

import datetime
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import promotions
import pytest

from tasks.errors import StepError, UserError
from tasks.promotion import head, keys, ledger
from tasks.promotion.champion import promote, repair
from tasks.promotion.entries import LedgerEntry
from tasks.promotion.head import Head, read_head
from tasks.promotion.ledger import LedgerError, read_ledger
from tasks.promotion.verification import verify
from tasks.proof import evidence
from tasks.proof.permit import PERMIT_TAG, issue, read_permit
from tasks.records import Version
from tasks.registry.claims import KEYS
from tasks.registry.http import MlflowError
from tasks.registry.key_changes import NEXT, refresh_keys
from tasks.registry.registry import Registry
from tasks.registry.tags import EVIDENCE_TAG
from tasks.settings import Settings
from tasks.system import key_chain as chains
from tasks.system import signing
from tasks.system.key_chain import FIRST, Change
from tasks.system.signers import load, public_pem
from tasks.system.signing import EvidenceError, private_key, sign_folder, signer

pytestmark = pytest.mark.usefixtures("_on_sqlite")


@pytest.fixture
def _on_sqlite(request: pytest.FixtureRequest) -> None:
    """A record of keys is the registry's, and the HTTP server is every test's: tests/infra has one of its own."""
    if "http" in request.node.name:
        pytest.skip("the server is shared")


@pytest.fixture
def champion(registry: Registry, model: str, tmp_path: Path) -> Version:
    """A real version, promoted."""
    version = promotions.register(registry, model, tmp_path, 2.0)
    promote(registry, version, against=None, why="first", verdict="pass")
    return version


def promoted(registry: Registry, model: str, tmp_path: Path, weight: float) -> Version:
    version = promotions.register(registry, model, tmp_path, weight)
    promote(
        registry,
        version,
        against=read_ledger(registry, model).serving,
        why=f"weight {weight}",
        verdict="pass",
    )
    return version


def stolen(tmp_path: Path) -> Path:
    """A copy of the private key of now."""
    return Path(shutil.copy(private_key(), tmp_path / "stolen.pem"))


@pytest.mark.slow
def test_what_the_old_key_signed_counts_and_the_new_one_signs(
    registry: Registry, settings: Settings, model: str, champion: Version, tmp_path: Path
) -> None:
    waiting = promotions.register(registry, model, tmp_path, 3.0)
    before = keys.trusted_keys(settings).keys[0].fingerprint
    change = keys.rotate(settings, why="a year old")
    assert (change.ended, change.in_force) == (before, keys.trusted_keys(settings).keys[1].fingerprint)
    assert [key.standing for key in keys.trusted_keys(settings).keys] == ["ended", "in force"]
    assert [key.signs_here for key in keys.trusted_keys(settings).keys] == [False, True]

    assert read_ledger(registry, model, whole=True).problems == ()
    assert verify(settings, f"{model}/{champion.version}").decision == "pass"
    read_permit(registry.tags(champion)[PERMIT_TAG], signing.keyring().fits)
    promote(registry, waiting, against=champion.version, why="proved by the old key", verdict="pass")
    promoted(registry, model, tmp_path, 4.0)
    assert read_ledger(registry, model, whole=True).problems == ()
    keys.rotate(settings, why="again")
    assert read_ledger(registry, model, whole=True).problems == ()
    assert [verify(settings, f"{model}/{number}").decision for number in (1, 2, 3)] == ["pass"] * 3


def test_a_machine_with_the_old_public_key_alone_verifies_what_the_new_one_signed(
    registry: Registry,
    settings: Settings,
    model: str,
    champion: Version,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    old = Path(shutil.copy(signing.public_key(), tmp_path / "old.pem"))
    keys.rotate(settings, why="a year old")
    newest = promoted(registry, model, tmp_path, 4.0)
    shutil.rmtree(signing.keys_folder())
    monkeypatch.setenv("SLIPWAY_PUBLIC_KEY", str(old))
    assert verify(settings, f"{model}/{newest.version}").decision == "pass"


def test_a_thief_with_the_old_key_makes_nothing_that_counts(
    registry: Registry,
    settings: Settings,
    model: str,
    champion: Version,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    thief = stolen(tmp_path)
    keys.rotate(settings, why="stolen")
    whole = read_ledger(registry, model)
    entry = LedgerEntry(
        sequence=2, at=whole.entries[-1].at, model=model, action="promote", from_version=1, to_version=1, who="eve",
        why="mine", verdict="pass", evidence=None, previous=whole.head,
    )  # fmt: skip
    permit = read_permit(registry.tags(champion)[PERMIT_TAG], signing.keyring().fits)
    forged = issue(permit.model_copy(update={"serial": permit.serial + 1, "at": permit.at}), thief)
    with pytest.raises(Exception, match="not signed by the owner"):
        read_permit(forged, signing.keyring().fits)
    folder = registry.download(champion, tmp_path / "exchanged")
    (folder / "MLmodel").write_text("another")  # beside the same evidence, whose digest was found signed
    sign_folder(folder, thief)
    with pytest.raises(EvidenceError, match="MLmodel is not what its evidence was sealed with"):
        evidence.verify(folder)
    folder = tmp_path / "forged"
    promotions.seal_folder(folder, model, 9.0)
    sign_folder(folder, thief)
    with pytest.raises(EvidenceError, match="signed by the key .* whose successor took over") as refused:
        evidence.verify(folder)
    assert refused.value.part == "key"

    text = ledger._Signed(entry=entry, signature=signing.sign_text(entry.canonical, thief)).model_dump_json()
    registry.claim(model, "entry-2", text)
    (problem,) = read_ledger(registry, model).problems
    assert "entry 2" in problem and "whose successor took over" in problem
    with pytest.raises(LedgerError, match="what serves goes on"):
        repair(registry, model)


def test_a_hand_over_lists_the_evidence_that_is_signed_and_not_what_a_tag_says(
    registry: Registry, settings: Settings, model: str, champion: Version, tmp_path: Path
) -> None:
    thief, waiting = stolen(tmp_path), promotions.register(registry, model, tmp_path, 3.0)
    forged = promotions.seal_folder(tmp_path / "forged", model, 9.0)
    for version in (champion, waiting):
        registry.tag_version(version, {EVIDENCE_TAG: forged})  # whoever can write to MLflow
    keys.rotate(settings, why="stolen")
    sign_folder(tmp_path / "forged", thief)
    with pytest.raises(EvidenceError, match="whose successor took over"):
        evidence.verify(tmp_path / "forged")
    for version in (champion, waiting):
        assert verify(settings, f"{model}/{version.version}").decision == "pass"


def test_a_tag_that_names_what_another_version_was_proved_with_takes_no_evidence_off_the_list(
    registry: Registry, settings: Settings, model: str, champion: Version, tmp_path: Path
) -> None:
    keys.rotate(settings, why="a year old")
    waiting = promotions.register(registry, model, tmp_path, 3.0)
    registry.tag_version(waiting, {EVIDENCE_TAG: registry.tags(champion)[EVIDENCE_TAG]})
    keys.rotate(settings, why="again")
    assert verify(settings, f"{model}/{waiting.version}").decision == "pass"


@pytest.mark.parametrize("missing", [False, True])
def test_a_hand_over_waits_for_a_signature_that_is_not_to_be_had_now_and_takes_the_permit_for_one_that_is_gone(
    registry: Registry,
    settings: Settings,
    model: str,
    champion: Version,
    monkeypatch: pytest.MonkeyPatch,
    missing: bool,
) -> None:
    def fails(*_: object) -> Path:
        raise MlflowError("no such file", "RESOURCE_DOES_NOT_EXIST") if missing else StepError("timed out")

    with monkeypatch.context() as patch:
        patch.setattr(Registry, "download", fails)
        if missing:
            keys.rotate(settings, why="a year old")
        else:
            with pytest.raises(StepError, match=r"evidence.sig of .* version 1 is not to be had.*timed out"):
                keys.rotate(settings, why="a year old")
    assert len(keys.trusted_keys(settings).keys) == 1 + missing
    assert verify(settings, f"{model}/{champion.version}").decision == "pass"


def test_how_far_a_ledger_has_come_is_not_for_the_old_key_to_say(
    registry: Registry, settings: Settings, model: str, champion: Version, tmp_path: Path
) -> None:
    thief = stolen(tmp_path)
    keys.rotate(settings, why="stolen")
    whole = read_ledger(registry, model)
    assert read_head(settings, model) == Head(sequence=1, digest=whole.head), "which the old key said in time"
    entry = LedgerEntry(
        sequence=2, at=whole.entries[-1].at, model=model, action="promote", from_version=1, to_version=1, who="eve",
        why="mine", verdict="pass", evidence=None, previous=whole.head,
    )  # fmt: skip
    registry.claim(model, "entry-2", ledger._Signed(entry=entry, signature="").model_dump_json())
    registry.claim(model, "done-2", entry.digest)
    said, of = Head(sequence=2, digest=entry.digest), head._of(settings, model)
    text = head._Signed(of=of, head=said, signature=signing.sign_text(head._text(of, said), thief))
    head._place(settings, model).write_text(text.model_dump_json())
    assert read_head(settings, model) is None
    (problem,) = read_ledger(registry, model).problems
    assert "entry 2" in problem and "is not signed" in problem


def test_a_machine_that_still_has_the_old_key_is_told_before_it_signs(
    registry: Registry,
    settings: Settings,
    model: str,
    champion: Version,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    old = stolen(tmp_path)
    keys.rotate(settings, why="a year old")
    monkeypatch.setenv("SLIPWAY_PRIVATE_KEY", str(old))
    with pytest.raises(UserError, match="was handed over on .*slipway keys"):
        repair(registry, model)
    with pytest.raises(UserError, match="name the one to hand over to with --to FILE"):
        keys.rotate(settings, why="again")


@pytest.mark.slow
def test_a_key_of_ones_own_is_handed_over_to_the_one_that_is_named(
    registry: Registry, settings: Settings, model: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As a team has it: keys in files that are mounted, and everybody else with the first public half."""
    old, new = (tmp_path / name / "private.pem" for name in ("old", "new"))
    for path in (old, new):
        signing.create_key_pair(path, path.with_name("public.pem"))
    monkeypatch.setenv("SLIPWAY_PRIVATE_KEY", str(old))
    monkeypatch.setenv("SLIPWAY_PUBLIC_KEY", str(old.with_name("public.pem")))
    version = promotions.register(registry, model, tmp_path, 2.0)
    promote(registry, version, against=None, why="first", verdict="pass")
    with pytest.raises(UserError, match="--to .*: the key .* is in force already"):
        keys.rotate(settings, why="x", to=str(old))
    with pytest.raises(UserError, match="--to=/nowhere.pem is no file"):
        keys.rotate(settings, why="x", to="/nowhere.pem")
    assert (
        keys.rotate(settings, why="x", to=str(new)).next
        == "Where decisions are signed, set SLIPWAY_PRIVATE_KEY to the new key."
    )
    monkeypatch.setenv("SLIPWAY_PRIVATE_KEY", str(new))
    promoted(registry, model, tmp_path, 3.0)
    assert read_ledger(registry, model, whole=True).problems == ()
    with pytest.raises(UserError, match="had ended, and does not come back"):
        keys.rotate(settings, why="x", to=str(old))
    assert not (signing.keys_folder() / "private.pem").exists()


def test_a_key_is_revoked_from_a_date_by_the_order_of_the_ledger(
    registry: Registry, settings: Settings, model: str, champion: Version, tmp_path: Path
) -> None:
    later = promoted(registry, model, tmp_path, 3.0)
    first, second = read_ledger(registry, model).entries
    old = keys.rotate(settings, why="stolen").ended
    with pytest.raises(UserError, match="is in force, and could not sign its own end"):
        keys.revoke(settings, keys.trusted_keys(settings).keys[-1].fingerprint, since="2026-01-01", why="x")
    between = (first.at + (second.at - first.at) / 2).isoformat()
    change = keys.revoke(settings, old[:12], since=between, why="the laptop was gone")
    assert any(str(second) in lost for lost in change.lost)
    assert f"the permit of {model} version {later.version}" in change.lost

    assert verify(settings, f"{model}/{champion.version}").decision == "pass"
    with pytest.raises(EvidenceError, match="is revoked from"):
        verify(settings, f"{model}/{later.version}")
    (problem,) = read_ledger(registry, model).problems
    assert str(second) in problem and "is revoked from" in problem
    ledger.accept(registry, model, why="looked at by hand")
    assert read_ledger(registry, model).problems == ()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "since", "words"),
    [
        ("0123456789ab", "2026-01-01", "is the fingerprint of no key here"),
        ("0", "2026-01-01", "is the fingerprint of no key here"),
        (None, None, "Since when .* --from DATE"),
        (None, "yesterday", "'yesterday' is no date"),
        (None, "2999-01-01", "is still to come"),
    ],
)
def test_a_revocation_of_nothing_or_from_no_date_is_one_sentence(
    registry: Registry, settings: Settings, name: str | None, since: str | None, words: str
) -> None:
    private_key()
    old = keys.rotate(settings, why="x").ended
    with pytest.raises(UserError, match=words) as said:
        keys.revoke(settings, name or old, since=since, why="x")
    assert str(said.value).count("\n") == 0
    assert keys.trusted_keys(settings).keys[0].standing == "ended"


def test_a_registry_whose_record_was_cut_short_changes_nothing_here(
    registry: Registry, settings: Settings, model: str, champion: Version, monkeypatch: pytest.MonkeyPatch
) -> None:
    keys.rotate(settings, why="x")
    monkeypatch.setattr("tasks.registry.key_changes.KEYS", ".none")
    assert [key.standing for key in keys.trusted_keys(settings).keys] == ["ended", "in force"]
    (problem,) = read_ledger(registry, model).problems
    assert "record of keys was cut short or rewritten" in problem


def test_a_change_that_another_process_learns_of_meanwhile_is_no_rewritten_record(
    registry: Registry, settings: Settings, model: str, champion: Version, monkeypatch: pytest.MonkeyPatch
) -> None:
    before, claims = registry.claims(KEYS), Registry.claims
    keys.rotate(settings, why="x")
    late = iter([before or {"begun": KEYS}])
    monkeypatch.setattr(Registry, "claims", lambda *asked: next(late, None) or claims(*asked))
    assert refresh_keys(registry) == ()


def test_a_signing_service_that_is_away_is_why_nothing_is_learned_of_keys(
    registry: Registry, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("SLIPWAY_SIGNER", f"unix://{tmp_path}/away")
    (problem,) = refresh_keys(registry)
    assert "The signing service" in problem and "does not answer" in problem


def test_one_home_hands_over_at_each_of_its_registries(
    registry: Registry,
    settings: Settings,
    model: str,
    champion: Version,
    tmp_path: Path,
    empty_mlflow_database: Path,
) -> None:
    shutil.copyfile(empty_mlflow_database, tmp_path / "other.db")
    there = settings.model_copy(update={"tracking_uri": f"sqlite:///{tmp_path / 'other.db'}"})
    promoted(Registry(there), model, tmp_path, 5.0)
    here = keys.rotate(settings, why="x")
    (problem,) = read_ledger(Registry(there), model, whole=True).problems
    assert "whose successor took over" in problem
    change = keys.rotate(there, why="here too")
    assert (change.ended, change.in_force) == (here.ended, here.in_force)
    for where in (settings, there):
        assert read_ledger(Registry(where), model, whole=True).problems == ()


def test_a_stranger_who_claims_the_first_change_of_keys_holds_up_no_hand_over(
    registry: Registry, settings: Settings, model: str, champion: Version, tmp_path: Path
) -> None:
    strangers = [tmp_path / "x.pem", tmp_path / "y.pem"]
    for path in strangers:
        signing.create_private_key(path)
    ended, key = (load(str(path)) for path in strangers)
    change = Change(
        sequence=1, at=datetime.datetime.now(datetime.UTC), action="rotate", key=public_pem(key), ended=public_pem(ended),
        who="eve", why="first", holds=chains.parts(())[0], previous=FIRST,
    )  # fmt: skip
    registry.begin_claims(KEYS, dict([chains.claimed(change, 1, ended, key)]))
    assert keys.trusted_keys(settings).problems == (
        "change 1 of keys is not believed: no key that is trusted here leads to it",
    )
    keys.rotate(settings, why="a year old")
    keys.rotate(settings, why="again")
    assert [key.standing for key in keys.trusted_keys(settings).keys] == ["ended", "ended", "in force"]
    promoted(registry, model, tmp_path, 4.0)
    assert read_ledger(registry, model, whole=True).problems == ()


ROTATE = """
from tasks.promotion.keys import rotate
from tasks.registry.registry import Registry
from tasks.registry.tags import EVIDENCE_TAG
from tasks.settings import load_settings

claim = Registry.claim


def told(*what):
    print("claims", flush=True)
    claimed = claim(*what)
    print("claimed", flush=True)
    return claimed


Registry.claim = told
rotate(load_settings(), why="killed")
"""


@pytest.mark.slow
def test_a_hand_over_that_is_killed_leaves_the_old_keys_or_the_new(
    registry: Registry, settings: Settings, model: str, champion: Version, tmp_path: Path
) -> None:
    """Killed around each of its claims, the inventory's and its own; what comes next finds one state or the other, and decides."""
    outcomes = []
    chance = random.Random(20)
    for lines in (1, 2, 3, 4, 3, 4):
        before = [key.fingerprint for key in keys.trusted_keys(settings).keys]
        process = subprocess.Popen(
            [sys.executable, "-c", ROTATE], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
        )
        assert process.stdout is not None
        said = [process.stdout.readline() for _ in range(lines)]
        assert said == [b"claims\n", b"claimed\n", b"claims\n", b"claimed\n"][:lines]
        time.sleep(chance.uniform(0, 0.005))
        process.send_signal(signal.SIGKILL)
        process.communicate()
        trusted = keys.trusted_keys(settings)
        after = [key.fingerprint for key in trusted.keys]
        assert after[: len(before)] == before and len(after) - len(before) in (0, 1)
        assert [key.signs_here for key in trusted.keys] == [False] * (len(after) - 1) + [True]
        assert read_ledger(registry, model, whole=True).problems == ()
        assert verify(settings, model).decision == "pass"
        signing.sign_text("anything", signer())
        outcomes.append(len(after) > len(before))
    keys.rotate(settings, why="undisturbed")
    assert not (signing.keys_folder() / NEXT).exists()
    assert outcomes[3] and outcomes[5] and {*outcomes} == {True, False}, outcomes


@pytest.mark.parametrize("step", ["retired", "replaced"])
def test_a_hand_over_that_ended_between_two_files_is_ended_by_whoever_comes_next(
    registry: Registry,
    settings: Settings,
    model: str,
    champion: Version,
    monkeypatch: pytest.MonkeyPatch,
    step: str,
) -> None:
    replace = os.replace

    def killed(source: object, target: Path) -> None:
        if step == "replaced" and Path(str(source)).name == NEXT:
            replace(str(source), target)
        if Path(str(source)).name == NEXT:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("tasks.registry.key_changes.os.replace", killed)
        with pytest.raises(KeyboardInterrupt):
            keys.rotate(settings, why="x")
    assert [key.signs_here for key in keys.trusted_keys(settings).keys] == [False, True]
    assert read_ledger(registry, model, whole=True).problems == ()
    repair(registry, model)


def test_a_decision_that_is_made_elsewhere_during_a_hand_over_falls_and_says_what_to_do(
    registry: Registry,
    settings: Settings,
    model: str,
    champion: Version,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    waiting = promotions.register(registry, model, tmp_path, 3.0)
    plain = keys._claim

    def meanwhile(*given: object) -> None:
        standing = read_ledger(registry, model)
        entry = ledger.compose(registry, standing, "refuse", waiting, why="wrong sevens", who="ada")
        ledger.claim(registry, standing, entry)
        plain(*given)  # type: ignore[arg-type]

    with monkeypatch.context() as patch:
        patch.setattr(keys, "_claim", meanwhile)
        keys.rotate(settings, why="a year old")
    with pytest.raises(LedgerError, match="decided again, .*`slipway ledger accept .* --reason TEXT`"):
        ledger.sound_ledger(registry, model)
    ledger.accept(registry, model, why="looked at by hand")
    repair(registry, model)
    promote(registry, waiting, against=champion.version, why="again", verdict="pass")
    assert read_ledger(registry, model, whole=True).problems == ()
