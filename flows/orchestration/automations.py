"""infra/automations/ on the Prefect server: what happens by itself when a model drifts, a run is lost or a champion changes."""

import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any
from uuid import UUID

import yaml
from prefect import get_client
from prefect.blocks.webhook import Webhook
from prefect.client.orchestration import SyncPrefectClient
from prefect.events.schemas.automations import AutomationCore
from prefect.exceptions import ObjectNotFound
from pydantic import SecretStr

from flows.orchestration import notifications
from flows.orchestration.reachability import in_a_sentence
from tasks.errors import StepError, exiting_in_a_sentence

FOLDER = Path(__file__).parent.parent.parent / "infra" / "automations"

WEBHOOK_VARIABLE = "SLIPWAY_WEBHOOK_URL"

_BLOCK = "slipway"


def apply(folder: Path = FOLDER) -> list[str]:
    """Create what is not there and update what is, by name; what a person switched off stays off. The names applied.

    Deployments come first: an automation that starts one names it. Raises StepError for one that is not there.
    """
    applied = []
    with get_client(sync_client=True) as client:
        webhook = save_webhook(client)
        told = [id_ for _, id_ in notifications.saved(client)]
        for wanted in read(folder):
            actions = list(with_ids(client, wanted, webhook, told))
            if actions:
                _save(client, AutomationCore.model_validate({**wanted, "actions": actions}))
                applied.append(str(wanted["name"]))
            else:  # nobody is told, or no longer
                _delete(client, wanted["name"])
    return applied


def read(folder: Path) -> Iterator[dict[str, Any]]:
    """The automations of every file, as Prefect's own `automation create --from-file` takes them, but names for ids."""
    for path in sorted(folder.glob("*.yaml")):
        yield from yaml.safe_load(path.read_text())["automations"]


def save_webhook(client: SyncPrefectClient) -> UUID | None:
    """The address of SLIPWAY_WEBHOOK_URL, kept encrypted by Prefect, or the one that was kept before; None when there is none."""
    url = os.environ.get(WEBHOOK_VARIABLE)
    if not url:
        return notifications.block_id(client, Webhook, _BLOCK)
    return UUID(str(Webhook(url=SecretStr(url)).save(_BLOCK, overwrite=True)))


def with_ids(
    client: SyncPrefectClient, wanted: dict[str, Any], webhook: UUID | None, told: Sequence[UUID]
) -> Iterator[dict[str, Any]]:
    """The automation's actions; a notification once for each that is told."""
    blocks = {"call-webhook": [webhook] if webhook else [], "send-notification": told}
    for action in wanted["actions"]:
        if "block_document_id" in action:
            yield from ({**action, "block_document_id": id_} for id_ in blocks[action["type"]])
        elif "deployment_id" in action:
            yield {**action, "deployment_id": _deployment(client, action["deployment_id"], wanted["name"])}
        else:
            yield action


def _deployment(client: SyncPrefectClient, name: str, automation: str) -> UUID:
    try:
        return client.read_deployment_by_name(name).id
    except ObjectNotFound as error:
        raise StepError(
            f"The automation {automation} starts the deployment {name}, which is not there: "
            "`prefect deploy --all --prefect-file infra/prefect.yaml` first."
        ) from error


def _save(client: SyncPrefectClient, wanted: AutomationCore) -> None:
    there = client.read_automations_by_name(wanted.name)
    if not there:
        client.create_automation(wanted)
    else:
        client.update_automation(there[0].id, wanted.model_copy(update={"enabled": there[0].enabled}))


def _delete(client: SyncPrefectClient, name: str) -> None:
    for there in client.read_automations_by_name(name):
        client.delete_automation(there.id)


@exiting_in_a_sentence()
@in_a_sentence()
def main() -> None:
    """Apply them, and say which."""
    print(*apply(), sep="\n")


if __name__ == "__main__":
    main()
