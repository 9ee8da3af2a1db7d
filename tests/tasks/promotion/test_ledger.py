"""The ledger and the history that is read from it: every way to rewrite it shows; on SQLite and over HTTP."""

import datetime
import json
import re
from pathlib import Path

import promotions
import pytest

from tasks.errors import UserError
from tasks.promotion.champion import promote, refuse
from tasks.promotion.history import history
from tasks.promotion.ledger import FIRST, LedgerEntry, append, check_chain, decided_by, in_short, read_ledger
from tasks.promotion.manual import roll_back_to
from tasks.promotion.verification import verify
from tasks.proof.signing import EvidenceError, public_key
from tasks.records import Version
from tasks.registry.registry import Registry
from tasks.settings import Settings

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
    from tasks.promotion.ledger import Ledger

    assert (Ledger(model="m", entries=CHAIN).serving, Ledger(model="m", entries=CHAIN).before) == (1, None)
    three = entries(("promote", None, 1), ("promote", 1, 2), ("promote", 2, 3), ("rollback", 3, 2))
    assert (Ledger(model="m", entries=three).serving, Ledger(model="m", entries=three).before) == (2, 1)


def test_an_alias_that_was_taken_away_does_not_hide_what_served_before_it() -> None:
    from tasks.promotion.ledger import Ledger

    taken = entries(("promote", None, 1), ("promote", 1, 2), ("repair", 2, None), ("promote", None, 2))
    assert Ledger(model="m", entries=taken[:3]).before == 2
    assert Ledger(model="m", entries=taken).before == 1


def test_what_served_on_a_day_is_what_was_in_force_and_what_came_that_day() -> None:
    from tasks.promotion.ledger import Ledger

    ledger, day = Ledger(model="m", entries=CHAIN), datetime.timedelta(days=1)
    morning = DAY.replace(hour=0)
    assert [e.to_version for e in ledger.served(morning - day, morning)] == []
    assert [e.to_version for e in ledger.served(morning, morning + day)] == [1]
    assert [e.to_version for e in ledger.served(morning + day, morning + 2 * day)] == [1, 2]
    assert [e.to_version for e in ledger.served(morning + 2 * day, morning + 3 * day)] == [2]


def test_who_decides_is_given_or_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SLIPWAY_USER", "night shift")
    assert decided_by("ada") == "ada" and decided_by() == "night shift"
    monkeypatch.delenv("SLIPWAY_USER")
    assert decided_by()


def test_long_reasons_are_cut_to_what_an_entry_holds() -> None:
    assert in_short(["a", "b"]) == "a; b"
    assert len(in_short(["x" * 3000])) == 2000


def test_the_longest_entry_fits_into_a_database_in_any_script(home: Path) -> None:
    from mlflow.store.tracking.dbmodels.models import SqlTag

    class Keeping:
        def add_ledger_entry(self, model: str, name: str, tags: dict[str, str]) -> None:
            self.tags = tags

        def tag_model(self, *_: str) -> None: ...

    [entry] = entries(("promote", None, 1))
    entry = entry.model_copy(update={"why": "ю" * 2000, "who": "ю" * 200})
    append(kept := Keeping(), entry)  # type: ignore[arg-type]
    assert max(map(len, kept.tags.values())) <= SqlTag.value.type.length
    assert LedgerEntry.model_validate_json(kept.tags["slipway.entry"]).digest == entry.digest


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
def test_an_entry_altered_in_mlflow_shows(
    settings: Settings, registry: Registry, model: str, decided: list[Version]
) -> None:
    run_id = runs(registry, model)[2]
    registry.client.set_tag(run_id, "who", "eve")
    assert "its tag 'who' was changed from 'bob' to 'eve'" in history(settings, model).problems[0]
    text = registry.client.get_run(run_id).data.tags["slipway.entry"].replace('"bob"', '"eve"')
    registry.client.set_tag(run_id, "slipway.entry", text)
    problems = history(settings, model).problems
    assert any("entry 2 was altered after it was written" in problem for problem in problems)
    assert any("entry 3" in problem and "rewritten" in problem for problem in problems)


@pytest.mark.slow
def test_a_whole_ledger_made_anew_shows_for_it_cannot_be_signed(
    settings: Settings,
    registry: Registry,
    model: str,
    decided: list[Version],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    """Whoever can write to MLflow can make entries, digests and the head that fit each other, and lacks the key."""
    forged = read_ledger(registry, model).entries
    for run_id in runs(registry, model).values():
        registry.client.delete_run(run_id)
    with monkeypatch.context() as elsewhere:
        elsewhere.setenv("SLIPWAY_HOME", str(tmp_path / "elsewhere"))
        previous = FIRST
        for entry in forged:
            entry = entry.model_copy(update={"who": "eve", "previous": previous})
            append(registry, entry)
            previous = entry.digest
        assert read_ledger(registry, model).problems == (), "it fits, to the one who made it"
    problems = history(settings, model).problems
    assert len(problems) == 3 and all("is not signed by the owner of" in problem for problem in problems)
    registry.client.delete_tag(runs(registry, model)[3], "slipway.signature")
    assert history(settings, model).problems[-1] == "entry 3 (refuse v2 → v3) is not signed"


@pytest.mark.slow
def test_a_machine_with_the_public_key_alone_checks_and_does_not_sign(
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
    refuse(registry, decided[2], why="once more", verdict="fail", who="carl")
    assert history(settings, model).problems == ("entry 4 (refuse v2 → v3) is not signed",)
    assert not (tmp_path / "elsewhere" / "keys" / "private.pem").exists()


@pytest.mark.parametrize(
    ("content", "words"), [(None, "is no file"), ("no key", "is not an unencrypted PEM")]
)
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
    assert read_ledger(registry, other).problems == (
        f"entry 1 (promote none → v1) is about {model}, not {other}",
    )


@pytest.mark.parametrize(
    ("gone", "words"), [(2, "what was between is gone"), (3, "entries are missing at its end")]
)
def test_a_deleted_entry_shows(
    settings: Settings, registry: Registry, model: str, decided: list[Version], gone: int, words: str
) -> None:
    registry.client.delete_run(runs(registry, model)[gone])
    assert any(words in problem for problem in history(settings, model).problems)


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
def test_a_hand_moved_unproved_champion_can_be_rolled_back_from(
    settings: Settings, registry: Registry, model: str, tmp_path: Path
) -> None:
    first = promotions.register(registry, model, tmp_path, 1.0)
    promote(registry, first, against=None, why="the first")
    (stray,) = promotions.register_bare(registry, model, 1)
    registry.set_alias(model, "champion", stray.version)
    entry = roll_back_to(settings, model, 1, why="who put that there?", who="ada")
    assert (entry.from_version, entry.to_version) == (stray.version, 1)
    found = history(settings, model)
    assert found.problems == () and [e.action for e in found.entries] == ["promote", "repair", "rollback"]
