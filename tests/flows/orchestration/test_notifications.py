"""Chats and mailboxes on this machine (sinks of the tests) are told what happens, and an address is nowhere shown."""

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any, NamedTuple

import deployed
import pytest
from prefect import get_client
from sinks import Mailed, Posted, serving

from flows.orchestration import automations, notifications
from flows.orchestration.events import CHAMPION_CHANGED, emit
from tasks.errors import UserError
from tasks.system.frozen import Frozen

pytestmark = [
    pytest.mark.filterwarnings("ignore:'imghdr' is deprecated:DeprecationWarning"),  # apprise's
    pytest.mark.filterwarnings("ignore:Unverified HTTPS request"),  # of the sink's own certificate
]


class Sinks(NamedTuple):
    """A chat that takes JSON, a Teams workflow over TLS, a mailbox."""

    chat: Posted
    teams: Posted
    mailbox: Mailed

    @property
    def addresses(self) -> dict[notifications.Channel, str]:
        flow = "workflows/SECRETFLOW/triggers/manual/paths/invoke?api-version=2016-06-01&sp=s&sv=1.0&sig=SECRETSIGN"
        return {
            "slack": f"json://127.0.0.1:{self.chat.port}/SECRETCHAT",
            "teams": f"https://127.0.0.1:{self.teams.port}/{flow}&verify=no",
            "mail": f"mailto://127.0.0.1:{self.mailbox.port}?from=slipway@example.com&to=team@example.com",
        }

    def told(self, text: str) -> bool:
        return all(any(text in str(each) for each in sink.kept) for sink in self)


@pytest.fixture
def sinks(tmp_path: Path) -> Iterator[Sinks]:
    with ExitStack() as stack:
        made = Sinks(Posted(), Posted(tmp_path), Mailed())
        for sink in made:
            stack.enter_context(serving(sink))
        yield made


@pytest.mark.slow
def test_who_was_set_up_has_a_test_message_and_then_hears_of_a_champion_until_removed(
    sinks: Sinks, prefect_server: str, home: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    from flows.promote import refuse
    from flows.retrain import retrain

    with deployed.talking_to(prefect_server, home):
        deployed.deploy(refuse, "refuse")
        deployed.deploy(retrain, "any")
        for channel, address in sinks.addresses.items():
            notifications.set_up(channel, address)
        assert sinks.told("This is a test")
        try:
            with deployed.automated(), get_client(sync_client=True) as client:
                emit(CHAMPION_CHANGED, "digits", "digits: version 7 is the champion", Frozen())
                deployed.wait_until(lambda: sinks.told("version 7 is the champion"), "somebody is not told")
                assert {name for name, _ in notifications.saved(client)} == set(notifications.CHANNELS)
        finally:
            with get_client(sync_client=True) as client:
                for channel in notifications.CHANNELS:
                    notifications.remove(client, channel)
                assert list(notifications.saved(client)) == []
                with pytest.raises(UserError, match="slack is not told of anything"):
                    notifications.remove(client, "slack")
    said = capfd.readouterr()
    assert "SECRET" not in said.out + said.err


@pytest.mark.parametrize(
    ("channel", "address"),
    [
        ("slack", "https://example.com/SECRET"),
        ("slack", "hooks.slack.com/services/SECRET"),
        ("slack", "https://hooks.slack.com/SECRET"),
        ("teams", "https://example.com/SECRET"),
        ("teams", "SECRET"),
        ("mail", "team@SECRET"),
        ("mail", ""),
    ],
)
def test_what_is_no_address_is_refused_with_an_example_and_not_repeated(channel: Any, address: str) -> None:
    with pytest.raises(UserError, match="it looks like") as refused:
        notifications.set_up(channel, address)
    assert "SECRET" not in str(refused.value)


def test_an_address_where_nobody_answers_is_one_sentence_without_it_and_nothing_is_kept() -> None:
    with pytest.raises(UserError, match="was not taken, and nothing is set up") as refused:
        notifications.set_up("slack", "json://127.0.0.1:9/SECRET")
    assert "SECRET" not in str(refused.value)


def test_a_notification_goes_to_each_that_is_told_and_without_anybody_there_is_none(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from uuid import uuid4

    wanted = next(each for each in automations.read(automations.FOLDER) if each["name"] == "slipway-notify")
    webhook, told = uuid4(), [uuid4(), uuid4()]
    client: Any = None
    ids = [action["block_document_id"] for action in automations.with_ids(client, wanted, webhook, told)]
    assert ids == [webhook, *told] and list(automations.with_ids(client, wanted, None, [])) == []
