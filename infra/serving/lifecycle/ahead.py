"""Having the versions that an alias may move to next in the cache before it does."""

import asyncio
import contextlib
import logging

from infra.serving.errors import NotNow, Unservable
from infra.serving.lifecycle.followed import FollowedTarget
from infra.serving.lifecycle.preparation import Preparer
from infra.serving.lifecycle.registry import AliasSource

logger = logging.getLogger("slipway.serving")

ALIASES = ("challenger", "previous")


async def keep_ahead(
    preparer: Preparer, registry: AliasSource, followed: FollowedTarget, pause: float
) -> None:
    """Fetch and prove them, for ever; what is wrong with one is said when it is to serve."""
    while followed.target.alias is not None:
        for alias in ALIASES:
            with contextlib.suppress(Exception):
                await _prepare(preparer, registry, followed, alias)
        await asyncio.sleep(pause)


async def _prepare(preparer: Preparer, registry: AliasSource, followed: FollowedTarget, alias: str) -> None:
    target = followed.target.model_copy(update={"alias": alias})
    pointer = await asyncio.to_thread(registry.resolve, target)
    if pointer in (followed.seen, followed.ahead.get(alias)):
        return
    try:
        await preparer.from_registry(registry, target, pointer, permitted=False)
    except NotNow:
        return
    except Unservable as error:
        logger.debug("%s: %s", target, error)
    followed.ahead[alias] = pointer
