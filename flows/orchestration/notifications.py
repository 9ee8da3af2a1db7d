"""Who is told of what happens, besides the webhook of SLIPWAY_WEBHOOK_URL: notification blocks of Prefect's, which keeps addresses encrypted."""

from collections.abc import Iterator
from typing import Literal, get_args
from uuid import UUID

from prefect.blocks.abstract import NotificationError
from prefect.blocks.core import Block
from prefect.blocks.notifications import AppriseNotificationBlock, MicrosoftTeamsWebhook, SlackWebhook
from prefect.client.orchestration import SyncPrefectClient
from prefect.exceptions import ObjectNotFound
from pydantic import SecretStr, ValidationError

from tasks.errors import StepError, UserError

Channel = Literal["slack", "teams", "mail"]

CHANNELS: tuple[Channel, ...] = get_args(Channel)

_BLOCKS: dict[Channel, type[AppriseNotificationBlock]] = {
    "slack": SlackWebhook,
    "teams": MicrosoftTeamsWebhook,
    "mail": SlackWebhook,  # which hands on whatever is no address of Slack's; Prefect has no other for an SMTP server
}

_FORMS: dict[Channel, tuple[tuple[str, ...], str]] = {
    "slack": (("https://hooks.slack", "slack://", "json://"), "https://hooks.slack.com/services/…"),
    "teams": (
        ("https://", "http://"),
        "https://….logic.azure.com:443/workflows/…/triggers/manual/paths/invoke?…",
    ),
    "mail": (
        ("mailto://", "mailtos://"),
        "mailtos://user:password@smtp.example.com?from=slipway@example.com&to=team@example.com",
    ),
}
"""How an address begins (json:// is a local sink's), and what one looks like."""

_TEST = "This is a test: from now on you are told here when a champion changes, a version is refused, traffic drifts, a run fails, or somebody is asked."


def set_up(channel: Channel, address: str) -> None:
    """Send a test message and keep the address, where it was taken. Raises UserError without the address, for it is a secret."""
    block = _block(channel, address)
    try:
        with block.raise_on_failure():
            block.notify(_TEST, subject="Slipway")
    except (NotificationError, OSError) as error:
        raise StepError(
            f"The test message to {channel} was not taken, and nothing is set up: see that the address is whole, and that its server is to be reached from here."
        ) from error.with_traceback(None)
    block.save(_name(channel), overwrite=True)


def remove(client: SyncPrefectClient, channel: Channel) -> None:
    """Forget an address. Raises UserError where there is none."""
    id_ = _saved(client, channel)
    if id_ is None:
        raise UserError(f"{channel} is not told of anything: `slipway notify {channel} ADDRESS` sets it up.")
    client.delete_block_document(id_)


def saved(client: SyncPrefectClient) -> Iterator[tuple[Channel, UUID]]:
    """The channels that are set up, and their blocks' ids."""
    for channel in CHANNELS:
        id_ = _saved(client, channel)
        if id_ is not None:
            yield channel, id_


def _block(channel: Channel, address: str) -> AppriseNotificationBlock:
    starts, example = _FORMS[channel]
    wrong = UserError(f"That is no address that {channel} is told at: it looks like {example}")
    if not address.lower().startswith(starts):
        raise wrong
    try:
        block = _BLOCKS[channel](url=SecretStr(address))
    except (ValueError, TypeError, ValidationError):
        raise wrong from None  # its message has the address
    if not len(block._apprise_client):
        raise wrong
    return block


def _saved(client: SyncPrefectClient, channel: Channel) -> UUID | None:
    return block_id(client, _BLOCKS[channel], _name(channel))


def block_id(client: SyncPrefectClient, kind: type[Block], name: str) -> UUID | None:
    """Of a block that Prefect keeps; None where it keeps none of this name."""
    try:
        return client.read_block_document_by_name(name, kind.get_block_type_slug(), include_secrets=False).id
    except ObjectNotFound:
        return None


def _name(channel: Channel) -> str:
    return f"slipway-{channel}"
