"""The ledger and the history that is read from it: every way to rewrite it shows; on SQLite and over HTTP."""

import datetime
import errno
import json
import re
import shutil
from pathlib import Path

import promotions
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.errors import UserError
from tasks.promotion import ledger
from tasks.promotion.champion import promote, refuse, repair, roll_back
from tasks.promotion.entries import FIRST, Ledger, LedgerEntry, check_chain, times
from tasks.promotion.head import read_head
from tasks.promotion.history import history
from tasks.promotion.ledger import LedgerError, in_short, read_ledger
from tasks.promotion.manual import accept_ledger
from tasks.promotion.verification import verify
from tasks.records import Version
from tasks.registry.registry import Registry
from tasks.settings import Settings, load_settings
from tasks.system.keyring import Keyring, KeyState
from tasks.system.signing import EvidenceError, private_key, public_key, sign_text

DAY = datetime.datetime(2026, 5, 3, 12, 0, tzinfo=datetime.UTC)


def entries(*moves: tuple[str, int | None, int | None]) -> list[LedgerEntry]:
    """A chain of one decision a day."""
    made: list[LedgerEntry] = []
    for number, (action, before, after) in enumerate(moves, 1):
        made.append(
            LedgerEntry(
                sequence=number,
                at=DAY + datetime.timedelta(days=number - 1),
                model="digits",
                action=action,  # type: ignore[arg-type]
                from_version=before,
                to_version=after,
                who="ada",
                why="because",
                verdict="pass",
                evidence="e" * 64,
                previous=made[-1].digest if made else FIRST,
            )
        )
    return made


CHAIN = entries(("promote", None, 1), ("promote", 1, 2), ("refuse", 2, 3), ("rollback", 2, 1))

DIGESTS = ["21ae4f4373cefe31", "5d10a140619ff9f9", "d71d97e732bfe75e", "ee9d3b8a3a88ddf2"]


def test_a_whole_chain_has_no_problems() -> None:
    assert list(check_chain(CHAIN)) == []


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"why": "another reason"}, "entry 3 .* does not follow"),
        ({"who": "eve"}, "entry 3 .* does not follow"),
        ({"to_version": 9}, "entry 3 .* does not follow"),
        ({"at": DAY}, "entry 3 .* does not follow"),
    ],
)
def test_a_rewritten_entry_breaks_the_chain_at_the_next(fields: dict[str, object], words: str) -> None:
    rewritten = [CHAIN[0], CHAIN[1].model_copy(update=fields), *CHAIN[2:]]
    assert any(re.search(words, problem) for problem in check_chain(rewritten))


def test_entries_taken_out_or_doubled_show() -> None:
    assert "what was between is gone" in next(check_chain([CHAIN[0], *CHAIN[2:]]))
    assert "is there twice" in next(check_chain([CHAIN[0], CHAIN[1], CHAIN[1], *CHAIN[2:]]))
    assert "follows entry 0" in next(check_chain(CHAIN[1:]))


def test_the_ledger_knows_what_serves_and_what_served_before() -> None:
    assert (Ledger(model="m", entries=CHAIN).serving, Ledger(model="m", entries=CHAIN).before) == (1, None)
    three = entries(("promote", None, 1), ("promote", 1, 2), ("promote", 2, 3), ("rollback", 3, 2))
    assert (Ledger(model="m", entries=three).serving, Ledger(model="m", entries=three).before) == (2, 1)


def test_an_alias_that_was_taken_away_does_not_hide_what_served_before_it() -> None:
    taken = entries(("promote", None, 1), ("promote", 1, 2), ("repair", 2, None), ("promote", None, 2))
    assert Ledger(model="m", entries=taken[:3]).before == 2
    assert Ledger(model="m", entries=taken).before == 1


def test_what_served_on_a_day_is_what_was_in_force_and_what_came_that_day() -> None:
    ledger, day = Ledger(model="m", entries=CHAIN), datetime.timedelta(days=1)
    morning = DAY.replace(hour=0)
    assert [e.to_version for e in ledger.served(morning - day, morning)] == []
    assert [e.to_version for e in ledger.served(morning, morning + day)] == [1]
    assert [e.to_version for e in ledger.served(morning + day, morning + 2 * day)] == [1, 2]
    assert [e.to_version for e in ledger.served(morning + 2 * day, morning + 3 * day)] == [2]


def test_an_entry_of_before_keeps_its_digest_and_one_that_is_claimed_says_so() -> None:
    """What the digest of an entry without the new facts was when there were none."""
    entry = CHAIN[0]
    assert '"claimed"' not in entry.canonical and '"account"' not in entry.canonical
    said = entry.model_copy(update={"claimed": True, "account": "worker"})
    assert said.digest != entry.digest and LedgerEntry.model_validate_json(said.model_dump_json()) == said
    assert (entry.person, said.person) == ("ada", "ada (claimed, account worker)")


def test_long_reasons_are_cut_to_what_an_entry_holds() -> None:
    assert in_short(["a", "b"]) == "a; b"
    assert len(in_short(["x" * 3000])) == 2000


@pytest.fixture
def decided(registry: Registry, model: str) -> list[Version]:
    """Three versions without files: two promoted, the third refused."""
    first, second, third = promotions.register_bare(registry, model, 3)
    promote(registry, first, against=None, why="the first", who="ada")
    promote(registry, second, against=1, why="better", who="bob")
    refuse(registry, third, why="worse by 5 points", verdict="fail", who="gate")
    return [first, second, third]


def runs(registry: Registry, model: str) -> dict[int, str]:
    found = registry.ledger_entries(model)
    return {json.loads(tags["slipway.entry"])["sequence"]: run_id for run_id, tags in found}


@pytest.mark.slow
def test_history_says_who_what_when_and_why(settings: Settings, model: str, decided: list[Version]) -> None:
    found = history(settings, model)
    assert found.problems == () and (found.champion, found.previous, found.proved) == (2, 1, True)
    assert [(e.action, e.to_version, e.who, e.why) for e in found.entries] == [
        ("promote", 1, "ada", "the first"),
        ("promote", 2, "bob", "better"),
        ("refuse", 3, "gate", "worse by 5 points"),
    ]
    assert all(e.evidence == "e" * 64 for e in found.entries)


@pytest.mark.slow
def test_what_is_decided_while_history_reads_is_no_move_outside_of_slipway(
    settings: Settings,
    registry: Registry,
    model: str,
    decided: list[Version],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    read, others = Registry.by_alias, [decided[2]]

    def late(self: Registry, name: str, alias: str) -> Version | None:
        if others:
            promote(registry, others.pop(), against=2, why="meanwhile")
        return read(self, name, alias)

    monkeypatch.setattr(Registry, "by_alias", late)
    found = history(settings, model)
    assert (found.champion, found.problems, found.entries[-1].why) == (3, (), "meanwhile")


@pytest.mark.slow
def test_an_entry_altered_in_mlflow_shows(
    settings: Settings, registry: Registry, model: str, decided: list[Version]
) -> None:
    run_id = runs(registry, model)[2]
    registry.client.set_tag(run_id, "who", "eve")
    assert "its tag 'who' was changed from 'bob (claimed)' to 'eve'" in history(settings, model).problems[0]
    text = registry.client.get_run(run_id).data.tags["slipway.entry"].replace('"bob"', '"eve"')
    registry.client.set_tag(run_id, "slipway.entry", text)
    problems = history(settings, model).problems
    assert any("entry 2 was altered after it was written" in problem for problem in problems)
    assert any("shows entry 2" in problem and "which was never decided" in problem for problem in problems)


def forge(registry: Registry, model: str, sequence: int, **changes: object) -> None:
    """Claim an entry as somebody would who can write to MLflow and lacks the key; its signature is another entry's."""
    claims = registry.claims(model) or {}
    claimed = json.loads(claims[f"entry-{sequence - 1}"])
    ledger = read_ledger(registry, model)
    claimed["entry"] |= {
        "sequence": sequence,
        "previous": ledger.head,
        "from_version": ledger.serving,
    } | changes
    registry.claim(model, f"entry-{sequence}", json.dumps(claimed))
    registry.claim(model, f"done-{sequence}", "")


def test_an_entry_that_lacks_the_key_stops_decisions(
    settings: Settings, registry: Registry, model: str, decided: list[Version]
) -> None:
    forge(registry, model, 4, who="eve", to_version=1, action="rollback")
    assert any("is not signed by the owner of" in problem for problem in history(settings, model).problems)
    with pytest.raises(
        LedgerError, match="Nothing is decided about .* is not signed by the owner"
    ) as stopped:
        promote(registry, decided[2], against=2, why="better still")
    assert stopped.value.exit_code == 1 and champion(registry, model) == 2


def test_what_was_claimed_is_never_written_again(
    registry: Registry, model: str, decided: list[Version]
) -> None:
    claims = registry.claims(model) or {}
    assert registry.claim(model, "entry-2", "something else") == claims["entry-2"]
    assert registry.claims(model) == claims


def test_a_machine_with_the_public_key_alone_checks_and_does_not_decide(
    settings: Settings,
    registry: Registry,
    model: str,
    decided: list[Version],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    public = public_key()
    monkeypatch.setenv("SLIPWAY_HOME", str(tmp_path / "elsewhere"))
    monkeypatch.setenv("SLIPWAY_PUBLIC_KEY", str(public))
    assert history(settings, model).problems == ()
    with pytest.raises(
        UserError, match="this machine has the public key alone: decide where the private one is"
    ):
        refuse(registry, decided[2], why="once more", verdict="fail", who="carl")
    assert history(settings, model).problems == ()
    assert not (tmp_path / "elsewhere" / "keys" / "private.pem").exists()


@pytest.mark.parametrize(("content", "words"), [(None, "is no file"), ("no key", "is not a PEM private key")])
def test_a_key_that_cannot_sign_is_said_before_anything_moves(
    registry: Registry,
    model: str,
    decided: list[Version],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    content: str | None,
    words: str,
) -> None:
    key = tmp_path / "given.pem"
    if content is not None:
        key.touch(0o600)
        key.write_text(content)
    monkeypatch.setenv("SLIPWAY_PRIVATE_KEY", str(key))
    with pytest.raises(UserError, match=words):
        promote(registry, decided[2], against=2, why="better still", who="ada")
    champion = registry.by_alias(model, "champion")
    assert champion is not None and champion.version == 2


@pytest.mark.slow
def test_an_entry_of_another_model_shows(
    settings: Settings, registry: Registry, model: str, decided: list[Version]
) -> None:
    first = dict(registry.ledger_entries(model))[runs(registry, model)[1]]
    other = f"{model[:40]}-2"
    copied = {name: value for name, value in first.items() if not name.startswith("mlflow.")}
    registry.add_ledger_entry(other, "copied", copied)
    assert any(
        f"is about {model}, not {other}" in problem for problem in read_ledger(registry, other).problems
    )


@pytest.mark.slow
def test_a_run_deleted_from_the_table_shows_and_is_lost_to_nobody(
    settings: Settings, registry: Registry, model: str, decided: list[Version]
) -> None:
    registry.client.delete_run(runs(registry, model)[2])
    found = history(settings, model)
    assert (
        len(found.entries) == 3 and "was deleted from MLflow's table; the ledger has it" in found.problems[0]
    )
    promote(registry, decided[2], against=2, why="the ledger itself is whole")


def claims_run(registry: Registry, model: str) -> str:
    experiment = registry.client.get_experiment_by_name(f"slipway-ledger/{model}/claims")
    return str(experiment.tags["slipway.claims"])


@pytest.mark.slow
def test_a_ledger_that_was_deleted_stops_decisions_until_it_is_accepted(
    settings: Settings, registry: Registry, model: str, decided: list[Version]
) -> None:
    registry.client.delete_run(claims_run(registry, model))
    with pytest.raises(
        LedgerError, match="the run that holds its ledger was deleted .*slipway ledger accept"
    ):
        promote(registry, decided[2], against=2, why="better still")
    entry = accept_ledger(
        registry.settings, model, why="deleted by hand, all entries are in the table", who="ada"
    )
    assert (entry.action, entry.sequence, entry.to_version) == ("accept", 4, 2)
    promote(registry, decided[2], against=2, why="better still")
    found = history(settings, model)
    assert found.problems == () and [e.sequence for e in found.entries] == [1, 2, 3, 4, 5]


@pytest.mark.slow
@pytest.mark.parametrize("written", ["", "not an entry", "a copy of entry 2"])
def test_what_somebody_else_claims_stops_decisions_until_it_is_accepted(
    settings: Settings, registry: Registry, model: str, decided: list[Version], written: str
) -> None:
    """Whoever can write to MLflow can write the next entry's parameter, or one far ahead; parameters stay for ever."""
    text = (registry.claims(model) or {})["entry-2"] if "copy" in written else written
    for name in ("entry-4", "entry-40", "done-41", "entry-" + "9" * 40):
        registry.claim(model, name, text)
    with pytest.raises(LedgerError, match="as entry 4 is no entry that can be read.*slipway ledger accept"):
        promote(registry, decided[2], against=2, why="better still")
    entry = accept_ledger(registry.settings, model, why="somebody scribbled in it", who="ada")
    assert (entry.action, entry.sequence, entry.to_version) == ("accept", 41, 2)
    assert promote(registry, decided[2], against=2, why="better still").sequence == 42
    assert history(settings, model).problems == () and registry.number(model, "champion") == 3


@pytest.mark.slow
def test_a_tail_that_was_cut_off_is_missed_by_who_saw_it_and_by_the_store(
    home: Path, empty_mlflow_database: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Yesterday's database is put back; the home remembers more, and so does the store for a machine that knows nothing."""
    home.mkdir(mode=0o700)
    shutil.copyfile(empty_mlflow_database, home / "mlflow.db")
    monkeypatch.setenv("SLIPWAY_STORE", (tmp_path / "store").as_uri())
    registry = Registry(load_settings())
    first, second, third = promotions.register_bare(registry, "digits", 3)
    promote(registry, first, against=None, why="the first")
    backup = tmp_path / "yesterday.db"
    shutil.copyfile(home / "mlflow.db", backup)
    promote(registry, second, against=1, why="better")
    shutil.copyfile(backup, home / "mlflow.db")
    for forgetful in (False, True):
        if forgetful:
            shutil.rmtree(home / "ledgers")
        with pytest.raises(LedgerError, match="ends with entry 1, and entry 2 was made: .* older database"):
            promote(Registry(load_settings()), third, against=1, why="better")
    registry = Registry(load_settings())
    accepted = accept_ledger(
        registry.settings, "digits", why="restored from the backup of yesterday", who="ada"
    )
    assert (accepted.sequence, accepted.to_version) == (3, 1)
    assert promote(registry, third, against=1, why="better").sequence == 4
    assert read_ledger(registry, "digits", whole=True).problems == ()


def test_a_decision_is_done_when_it_is_remembered_outside_of_mlflow_and_no_sooner(
    registry: Registry, settings: Settings, model: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever dies between the two leaves it to the next run, which decides nothing by itself."""
    (first,) = promotions.register_bare(registry, model, 1)

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(ledger, "write_head", full)
        with pytest.raises(OSError, match="No space"):
            promote(registry, first, against=None, why="the first")
    assert read_ledger(registry, model).unfinished is not None and read_head(settings, model) is None
    repaired = repair(registry, model)
    head = read_head(settings, model)
    assert head is not None and head.digest == repaired.head and repaired.unfinished is None


@pytest.mark.slow
@pytest.mark.parametrize("whole", [False, True])
@pytest.mark.parametrize("read", ["claims", "ledger_entries", "head"])
def test_a_decision_that_is_made_while_a_ledger_is_read_is_no_fault_of_it(
    registry: Registry, model: str, monkeypatch: pytest.MonkeyPatch, read: str, whole: bool
) -> None:
    versions = promotions.register_bare(registry, model, 4)
    promote(registry, versions.pop(), against=None, why="the first")
    owner, name = (ledger, "read_head") if read == "head" else (Registry, read)
    plain = getattr(owner, name)

    def meanwhile(*given: object) -> object:
        got = plain(*given)
        with monkeypatch.context() as patch:
            patch.setattr(owner, name, plain)
            if versions:
                promote(registry, versions.pop(), against=read_ledger(registry, model).serving, why="better")
        return got

    monkeypatch.setattr(owner, name, meanwhile)
    assert read_ledger(registry, model, whole=whole).problems == ()


@pytest.mark.slow
def test_a_registry_that_was_lost_is_noticed_at_its_first_decision(
    home: Path, empty_mlflow_database: Path
) -> None:
    home.mkdir(mode=0o700)
    shutil.copyfile(empty_mlflow_database, home / "mlflow.db")
    registry = Registry(load_settings())
    promote(registry, promotions.register_bare(registry, "digits", 1)[0], against=None, why="the first")
    shutil.copyfile(empty_mlflow_database, home / "mlflow.db")
    registry = Registry(load_settings())
    (again,) = promotions.register_bare(registry, "digits", 1)
    with pytest.raises(LedgerError, match="ends with entry 0, and entry 1 was made"):
        promote(registry, again, against=None, why="version 1, once more")


def test_there_is_nothing_to_accept_where_nothing_is_wrong(
    registry: Registry, model: str, decided: list[Version]
) -> None:
    with pytest.raises(UserError, match="is whole: there is nothing to accept"):
        accept_ledger(registry.settings, model, why="just so")


@pytest.mark.slow
def test_a_ledger_of_the_last_release_is_carried_over_by_the_next_decision(
    settings: Settings, registry: Registry, model: str, decided: list[Version]
) -> None:
    """It had a run an entry, and neither claims nor heads."""
    kept = registry.ledger_entries(model)
    other = f"{model[:40]}-old"
    for version in promotions.register_bare(registry, other, 2):
        assert version.version
    key = private_key()
    previous = FIRST
    for sequence, (before, after) in enumerate([(None, 1), (1, 2)], 1):
        entry = LedgerEntry.model_validate(
            dict(
                sequence=sequence,
                at=DAY,
                model=other,
                action="promote",
                from_version=before,
                to_version=after,
            )
            | dict(who="ada", why="because", verdict="pass", evidence=None, previous=previous)
        )
        tags = {"slipway.entry": entry.model_dump_json(), "slipway.digest": entry.digest}
        tags["slipway.signature"] = sign_text(entry.canonical, key)
        shown = {"action": "promote", "from": "none" if before is None else "v1", "to": f"v{after}"}
        registry.add_ledger_entry(
            other, "x", tags | shown | {"who": "ada", "why": "because", "verdict": "pass"}
        )
        previous = entry.digest
    registry.set_alias(other, "champion", 2)
    assert history(settings, other).problems == () and kept
    entry = roll_back(registry, Version(model=other, version=1, sha256="", run_id=""), why="slow")
    assert (entry.sequence, champion(registry, other)) == (3, 1)
    assert set(registry.claims(other) or {}) == {"begun"} | {
        f"{what}-{n}" for what in ("entry", "done") for n in (1, 2, 3)
    }
    assert history(settings, other).problems == ()


def champion(registry: Registry, model: str) -> int | None:
    return registry.number(model, "champion")


@pytest.mark.parametrize(
    ("days", "counted"),
    [
        ((0, 1, 2, 3), (0, 1, 2, 3)),
        ((0, -9000, 2, 3), (0, 0, 2, 3)),
        ((0, 9000, 2, 3), (0, 0, 2, 3)),
        ((9000, 1, 2, 3), (1, 1, 2, 3)),
        ((0, -9000), (0, 0)),
    ],
)
def test_time_is_in_the_order_of_the_chain_whatever_one_clock_says(
    days: tuple[int, ...], counted: tuple[int, ...]
) -> None:
    moments = [DAY + datetime.timedelta(days=day) for day in days]
    chain = [CHAIN[0].model_copy(update={"at": at}) for at in moments]
    assert times(chain) == [DAY + datetime.timedelta(days=day) for day in counted]


@given(st.lists(st.integers(0, 100), min_size=1, max_size=30))
def test_times_never_run_backwards_and_right_ones_are_kept(days: list[int]) -> None:
    chain = [CHAIN[0].model_copy(update={"at": DAY + datetime.timedelta(days=day)}) for day in days]
    counted = times(chain)
    assert counted == sorted(counted)
    if days == sorted(days):
        assert counted == [entry.at for entry in chain]


def test_an_entry_by_a_clock_that_went_backwards_is_said_and_is_no_problem(
    settings: Settings, registry: Registry, model: str, decided: list[Version]
) -> None:
    before = read_ledger(registry, model)
    assert before.notes == ()
    entry = ledger.compose(registry, before, "rollback", decided[0], why="worse after all", who="ada")
    ledger.claim(registry, before, entry.model_copy(update={"at": DAY}))
    repair(registry, model)
    found = read_ledger(registry, model)
    assert (found.problems, found.serving) == ((), 1)
    assert found.notes == (
        "entry 4 (2026-05-03 12:00, rollback v2 → v1) was written by a clock that disagrees with the entries around it: "
        f"it counts as of {found.entries[2].at:%Y-%m-%d %H:%M}",
    )
    assert history(settings, model).notes == found.notes


def test_a_signature_is_checked_once_and_all_are_when_the_whole_ledger_is_read(
    registry: Registry, model: str, decided: list[Version], monkeypatch: pytest.MonkeyPatch
) -> None:
    """What the head that is remembered leads to is vouched for by digests."""
    checked, signer = [], Keyring.signer

    def counted(keys: Keyring, text: str, signature: str) -> KeyState | None:
        checked.append(text)
        return signer(keys, text, signature)

    def asked(whole: bool = False) -> list[int]:
        checked.clear()
        found = read_ledger(registry, model, whole=whole)
        assert found.problems == ()
        return [entry.sequence for entry in found.entries for _ in range(checked.count(entry.canonical))]

    monkeypatch.setattr(Keyring, "signer", counted)
    assert (asked(), asked(whole=True), asked()) == ([], [1, 2, 3], [])
    for _ in range(2):
        before = read_ledger(registry, model)
        entry = ledger.compose(registry, before, "refuse", decided[2], why="still worse", who="ada")
        ledger.claim(registry, before, entry)
        assert asked() == [entry.sequence]
        repair(registry, model)
        assert asked() == []


@pytest.mark.slow
def test_an_alias_moved_by_hand_shows_as_unproved(
    settings: Settings, registry: Registry, model: str, decided: list[Version]
) -> None:
    registry.set_alias(model, "champion", 3)
    found = history(settings, model)
    assert found.proved is False and "moved to v3, UNPROVED, outside of Slipway" in found.problems[0]


@pytest.mark.slow
def test_history_at_a_moment_and_at_no_date(settings: Settings, model: str, decided: list[Version]) -> None:
    now = datetime.datetime.now(datetime.UTC)
    assert [e.to_version for e in history(settings, model, now.isoformat()).entries] == [2]
    assert [e.to_version for e in history(settings, model, f"{now:%Y-%m-%d}").entries][-1] == 2
    assert history(settings, model, "2001-01-01").entries == ()
    assert [e.to_version for e in history(settings, model, "9999-12-31").entries] == [2]
    with pytest.raises(UserError, match="'yesterday' is no date"):
        history(settings, model, "yesterday")
    with pytest.raises(UserError, match="no model 'nothing-like-it'"):
        history(settings, "nothing-like-it")


def test_a_number_that_no_version_has_is_one_sentence(
    settings: Settings, model: str, decided: list[Version]
) -> None:
    with pytest.raises(UserError, match=f"{model} has no version 999999999: see"):
        verify(settings, f"{model}/999999999")
    with pytest.raises(UserError, match="names no version"):
        verify(settings, f"{model}/99999999999999999999")


def test_verify_checks_what_is_stored(
    settings: Settings, registry: Registry, model: str, tmp_path: Path
) -> None:
    first = promotions.register(registry, model, tmp_path, 1.0)
    promote(registry, first, against=None, why="the first")
    found = verify(settings, f"{model}@champion")
    assert (found.version, found.sha256, found.decision) == (1, first.sha256, "pass")
    assert verify(settings, f"{model}/1") == verify(settings, model) == found
    for reference, words in (
        (f"{model}/9", "has no version 9"),
        (f"{model}@blue", "alias 'blue'"),
        ("a/b/c", "names no version"),
    ):
        with pytest.raises(UserError, match=words):
            verify(settings, reference)


def test_a_version_that_carries_another_ones_files_is_refused(
    settings: Settings, registry: Registry, model: str, tmp_path: Path
) -> None:
    """Both are validly signed: only what was registered tells them apart."""
    promotions.register(registry, model, tmp_path, 1.0)
    second = promotions.register(registry, model, tmp_path, 2.0)
    source = registry.client.get_model_version(model, "1").source
    tags = registry.tags(second)
    registry.client.create_model_version(model, source, tags=tags, model_id=source.removeprefix("models:/"))
    with pytest.raises(EvidenceError, match="are those of another version"):
        verify(settings, f"{model}/3")


@pytest.mark.slow
def test_a_move_by_hand_to_an_unproved_version_is_refused_by_the_next_decision_and_put_back(
    settings: Settings, registry: Registry, model: str, tmp_path: Path
) -> None:
    first = promotions.register(registry, model, tmp_path, 1.0)
    promote(registry, first, against=None, why="the first")
    (stray,) = promotions.register_bare(registry, model, 1)
    registry.set_alias(model, "champion", stray.version)
    second = promotions.register(registry, model, tmp_path, 2.0, champion=1)
    promote(registry, second, against=1, why="better", who="ada")
    found = history(settings, model)
    assert found.problems == () and [e.action for e in found.entries] == ["promote", "refuse", "promote"]
    assert "may not serve" in found.entries[1].why and champion(registry, model) == second.version
    assert "may not serve" in registry.tags(stray)["slipway.move"]


def test_entries_of_before_there_were_rollouts_keep_their_digests() -> None:
    """As main at b74e675 computed them: a field that is left out when it is None changes none of them."""
    assert [entry.digest[:16] for entry in CHAIN] == DIGESTS
