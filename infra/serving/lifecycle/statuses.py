"""What flows say of a model, for the page: signed tags, whose signatures are checked when their text is another than before."""

import asyncio
import logging
from collections.abc import Mapping
from pathlib import Path

from infra.serving.ipc.messages import Told
from tasks.errors import UserError
from tasks.registry.status_tags import read_statuses
from tasks.system.keyring import read_keyring

logger = logging.getLogger("slipway.serving")


class FollowedStatuses:
    """The status tags of one model. Nothing that serves depends on them."""

    def __init__(self, model: str, key: Path, changes: Path) -> None:
        self.model = model
        self.key = key
        self.changes = changes
        self.texts: Mapping[str, str] = {}

    async def read(self, texts: Mapping[str, str]) -> Told | None:
        """What to tell the workers, where that is news."""
        if texts == self.texts:
            return None
        try:
            told = await asyncio.to_thread(self._told, texts)
        except (OSError, UserError) as error:
            logger.debug("%s: what flows say of it cannot be checked: %s", self.model, error)
            return None
        self.texts = texts
        return told

    def _told(self, texts: Mapping[str, str]) -> Told:
        statuses = read_statuses(self.model, texts, read_keyring(self.key, self.changes).fits)
        return Told(model=self.model, statuses=tuple(statuses.values()))
