"""Which keys count, learned from the registry: a server was given one, and follows signed hand-overs from it; what it has learned it keeps."""

import asyncio
import logging
import time
from pathlib import Path

from infra.serving.lifecycle.registry import AliasSource
from infra.serving.options import ServeOptions
from tasks.errors import UserError
from tasks.system.keyring import KeyringError, keep, read_keyring

logger = logging.getLogger("slipway.serving")

SECONDS = 30.0
"""Between two looks where nothing else calls for one: a revocation reaches what serves by then."""


class FollowedKeys:
    """Of the registry. `revoking`: a key was revoked, so that what serves may have been let through by nobody."""

    def __init__(self, options: ServeOptions, changes: Path) -> None:
        self.options = options
        self.changes = changes
        self.looked = float("-inf")
        self.revoking = False

    def due(self) -> bool:
        return time.monotonic() - self.looked >= SECONDS

    async def look(self, registry: AliasSource) -> bool:
        """Whether there is something new; without an answer, and with one that is not believed, what is known stays."""
        if self.options.allow_unsigned:
            return False
        self.looked = time.monotonic()
        try:
            return await asyncio.to_thread(self._learn, registry)
        except (KeyringError, UserError) as error:
            logger.error("keys: %s", error)
        except Exception as error:
            logger.debug("keys cannot be read: %r", error)
        return False

    def _learn(self, registry: AliasSource) -> bool:
        if not keep(self.changes, self.options.registry, registry.keys()):
            return False
        known = read_keyring(self.options.key, self.changes)
        self.revoking = known.revoking
        current = next((name for name, state in known.states.items() if state.holds is None), "none")
        logger.warning("keys: the one in force is %s, of %d that are known", current[:12], len(known.states))
        return True
