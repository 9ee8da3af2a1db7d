"""What a server remembers of who may serve: the newest word counts, and nothing that is taken away brings an older one back."""

import datetime
import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from infra.serving.errors import Unservable
from infra.serving.lifecycle.registry import Pointer
from infra.serving.lifecycle.standing import Barred, Standings
from tasks.proof.permit import Permit
from tasks.rollout.reported import RevertNote

DIGEST, RUN = "ab" * 32, "f" * 32
NOON = datetime.datetime(2026, 11, 26, 12, tzinfo=datetime.UTC)


def permit(serial: int, granted: bool = True, **more: object) -> Permit:
    usual = {
        "model": "digits", "version": 3, "run_id": RUN, "model_sha256": DIGEST, "evidence_sha256": "", "policy_sha256": "",
        "granted": granted, "basis": "gate", "serial": serial, "at": NOON + datetime.timedelta(minutes=serial),
        "by": "ada", "why": "wrong sevens",
    }  # fmt: skip
    return Permit.model_validate(usual | more)


def note(minutes: float, back_to: str = "2") -> str:
    at = NOON + datetime.timedelta(minutes=minutes)
    return json.dumps({"at": at.isoformat(), "by": "pod-7", "back_to": back_to, "reason": "5% failed"})


def pointer(permit: str = "", reverted: str = "") -> Pointer:
    return Pointer(version="3", created=1, run_id=RUN, permit=permit, reverted=reverted)


class Server:
    """One that sees the registry as it is at some moments, and is started again between them."""

    def __init__(self, root: Path, signed: bool = True) -> None:
        self.root, self.signed = root, signed
        self.start()

    def start(self) -> None:
        self.standings = Standings(self.root, self.signed)
        self.texts: dict[str, Permit] = getattr(self, "texts", {})

    def sees(
        self, permit: Permit | None = None, reverted: str = "", *, permitted: bool = True
    ) -> Exception | None:
        """Why the version may not serve; None when it may."""
        text = "" if permit is None else permit.model_dump_json()
        if permit is not None:
            self.texts[text] = permit
        seen = pointer(text, reverted)
        unread = self.standings.unread("digits", seen)
        self.standings.learn(unread, [self.texts[each] for each in unread])
        try:
            self.standings.check("digits", seen, DIGEST, permitted)
        except Unservable as error:
            return error
        return None


@pytest.fixture
def server(tmp_path: Path) -> Server:
    return Server(tmp_path)


statements = st.builds(permit, st.integers(1, 6), st.booleans())
moments = st.lists(st.one_of(st.none(), st.just("restart"), statements), max_size=12)


@pytest.mark.slow
@settings(deadline=None, max_examples=200)
@given(moments=moments)
def test_the_newest_statement_that_was_ever_seen_counts_whatever_the_registry_shows_and_however_often_it_restarts(
    tmp_path_factory: pytest.TempPathFactory, moments: list[Permit | str | None]
) -> None:
    server, seen = Server(tmp_path_factory.mktemp("standings")), []
    for moment in moments:
        if isinstance(moment, str):
            server.start()
            continue
        seen += [moment] if moment is not None else []
        newest = max(seen, key=lambda each: (each.serial, not each.granted), default=None)
        assert (server.sees(moment) is None) == (newest is not None and newest.granted)


def test_a_withdrawal_that_cannot_be_written_down_counts_and_is_written_when_there_is_room(
    server: Server,
) -> None:
    assert server.sees(permit(1)) is None
    for path in server.root.iterdir():
        path.unlink()
    server.root.rmdir()
    server.root.touch()
    assert isinstance(server.sees(permit(2, granted=False)), Barred)
    assert isinstance(server.sees(), Barred)
    server.root.unlink()
    server.standings.save()
    server.start()
    assert isinstance(server.sees(permit(1)), Barred)


def test_a_permit_from_a_time_that_is_yet_to_come_lets_nothing_serve_and_takes_no_older_one_away(
    server: Server,
) -> None:
    early = permit(2, at=datetime.datetime.now(datetime.UTC) + datetime.timedelta(minutes=30))
    assert "is yet to come by this machine's clock" in str(server.sees(early))
    assert server.sees(permit(1)) is None
    assert server.sees(early) is None, "version 3 goes on by the permit that it had"


@pytest.mark.parametrize(
    "other", [{"model": "glosses"}, {"version": 4}, {"run_id": "e" * 32}, {"model_sha256": "cd" * 32}]
)
def test_a_statement_about_something_else_neither_permits_nor_withdraws(
    server: Server, other: dict[str, object]
) -> None:
    assert "its permit is of" in str(server.sees(permit(1, **other)))
    assert server.sees(permit(1)) is None
    assert server.sees(permit(9, granted=False, **other)) is None


def test_without_any_permit_the_sentence_says_what_gives_it_one(server: Server) -> None:
    with pytest.raises(Unservable, match="`slipway promote digits 3 --reason …` lets it serve"):
        server.standings.check_asked("digits", pointer())
    assert "`slipway serve digits`" in str(server.sees())


def test_what_answers_nobody_needs_no_permit_and_is_not_loaded_when_it_was_withdrawn(server: Server) -> None:
    assert server.sees(permitted=False) is None
    assert isinstance(server.sees(permit(1, granted=False), permitted=False), Barred)


def test_a_note_of_another_server_bars_until_a_permit_that_is_newer(server: Server) -> None:
    barred = server.sees(permit(1), note(1.5))
    assert isinstance(barred, Barred) and (barred.signed, barred.back_to) == (False, "2")
    assert "pod-7 went back from it: 5% failed" in str(barred)
    assert isinstance(server.sees(permit(1)), Barred), "deleting the note brings nothing back"
    server.start()
    assert isinstance(server.sees(permit(1)), Barred)
    assert server.sees(permit(2), note(1.5)) is None
    assert server.sees(permit(2), note(1.9)) is None, "it is older than the permit"


@pytest.mark.parametrize(
    "text",
    [
        "no JSON",
        "[]",
        '{"at": "2026-11-26T12:09:00", "by": "a clock without a zone", "reason": "r"}',
        '{"at": "9999-12-31T00:00:00+00:00", "by": "the future", "reason": "r"}',
    ],
)
def test_a_note_that_anybody_may_have_written_is_read_with_care(server: Server, text: str) -> None:
    assert server.sees(permit(1), text) is None


def test_what_went_wrong_here_is_later_than_the_permit_whatever_the_clocks_say(server: Server) -> None:
    assert server.sees(permit(5)) is None
    seen = pointer(permit(5).model_dump_json())
    server.standings.went_back("digits", seen, DIGEST, RevertNote(at=NOON, by="us", back_to="2", reason="r"))
    assert list(server.standings.unrecorded()) == [("digits", "3", 1)]
    assert isinstance(server.sees(permit(5)), Barred)
    server.start()
    assert isinstance(server.sees(permit(5)), Barred)
    assert list(server.standings.unrecorded()) == [("digits", "3", 1)], "it is still to be told"
    assert server.sees(permit(6)) is None


def test_without_signatures_a_note_counts_as_long_as_the_registry_has_it_or_was_not_told(
    tmp_path: Path,
) -> None:
    server = Server(tmp_path, signed=False)
    assert server.sees() is None
    assert "delete its tag slipway.reverted" in str(server.sees(None, note(1)))
    assert server.sees() is None
    server.standings.went_back("digits", pointer(), DIGEST, RevertNote(at=NOON, by="us", reason="r"))
    assert isinstance(server.sees(), Barred)
    server.standings.recorded("digits", pointer())
    assert isinstance(server.sees(None, note(0)), Barred)
    assert server.sees() is None
