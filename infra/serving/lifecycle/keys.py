"""Which keys count, learned from the registry: a server was given one, and follows signed hand-overs from it; what it has learned it keeps."""

import asyncio
import logging
import time
from collections.abc import Iterable, Mapping
from contextlib import suppress

from infra.serving.lifecycle.followed import FollowedTarget, Retry
from infra.serving.lifecycle.preparation import Preparer
from infra.serving.lifecycle.registry import AliasSource
from infra.serving.lifecycle.rollout import LOOKS, FollowedRollout
from infra.serving.options import ServeOptions, Target
from tasks.errors import UserError
from tasks.system.keyring import KeyringError, KeyState, keep, read_keyring

logger = logging.getLogger("slipway.serving")

SECONDS = 30.0
"""Between two looks where nothing else calls for one: a revocation reaches what serves by then."""


class FollowedKeys:
    """Of the registry; also as another server of this cache learned them, or this one in its last run."""

    def __init__(self, options: ServeOptions, preparer: Preparer) -> None:
        self.options = options
        self.preparer = preparer
        self.looked = float("-inf")
        self.known = self._known()

    @property
    def revoking(self) -> bool:
        """Whether a key was revoked, so that what serves may have been let through by nobody."""
        return any(state.revoked for state in self._known().values())

    def due(self) -> bool:
        return time.monotonic() - self.looked >= SECONDS

    async def learn(
        self,
        registry: AliasSource,
        followed: Iterable[FollowedTarget],
        rollouts: Mapping[Target, FollowedRollout],
    ) -> None:
        """Look, and have all looked at anew where other keys count than before."""
        if not await self.look(registry):
            return
        self.preparer.forget()
        for each in followed:
            each.seen, each.retry = None, Retry()
        for rollout in rollouts.values():
            rollout.text, rollout.unread = "", LOOKS
            rollout.looked_at_anew()

    async def look(self, registry: AliasSource) -> bool:
        """Whether there is something new; without an answer, and with one that is not believed, what is known stays."""
        if self.options.allow_unsigned:
            return False
        self.looked = time.monotonic()
        try:
            await asyncio.to_thread(self._learn, registry)
        except UserError as error:
            logger.error("keys: %s", error)
        except Exception as error:
            logger.debug("keys cannot be read: %r", error)
        before, self.known = self.known, self._known()
        if before == self.known:
            return False
        current = next((name for name, state in self.known.items() if state.holds is None), "none")
        logger.warning("keys: the one in force is %s, of %d that are known", current[:12], len(self.known))
        return True

    def _learn(self, registry: AliasSource) -> None:
        folder, where = self.preparer.cache.changes, self.options.registry
        try:
            keep(folder, where, registry.keys(), self.options.key)
        except KeyringError:  # perhaps for what another server of this cache has learned since they were read
            keep(folder, where, registry.keys(), self.options.key)

    def _known(self) -> dict[str, KeyState]:
        """By what is kept; nothing without a key, by which nothing is checked."""
        with suppress(OSError, UserError):
            return read_keyring(self.options.key, self.preparer.cache.changes).states
        return {}
