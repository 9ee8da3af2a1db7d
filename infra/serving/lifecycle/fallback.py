"""Which version serves instead of one that may not: the same on every server, as far as each can have it."""

import asyncio

from infra.serving.errors import NotNow, Unservable
from infra.serving.lifecycle.cache import Offer
from infra.serving.lifecycle.preparation import Preparer
from infra.serving.lifecycle.registry import Absent, AliasSource, Pointer
from infra.serving.options import Target


async def fallback(
    preparer: Preparer,
    registry: AliasSource,
    target: Target,
    barred: Pointer,
    back_to: str,
    before: Offer | None,
) -> Offer | None:
    """The first that may serve: what another server went back to, what `previous` names, what served here `before`.

    In this order, for what this server alone remembers may be another version than elsewhere. None when there is none, and for
    a version that was asked for by number. Raises NotNow where that could not be told, and what the registry raises.
    """
    if target.alias is None:
        return None
    later: NotNow | None = None
    others: list[dict[str, str | None]] = [{"alias": "previous"}]
    if back_to.isdecimal():
        others.insert(0, {"alias": None, "version": back_to})
    for other in others:
        named = target.model_copy(update=other)
        try:
            pointer = await asyncio.to_thread(registry.resolve, named)
            if pointer.identity != barred.identity:
                release = await preparer.from_registry(registry, named, pointer)
                return Offer(pointer=pointer, release=release)
        except NotNow as error:
            later = error
        except (Absent, Unservable):
            continue
    if before is not None and before.pointer.identity != barred.identity:
        try:
            release = await preparer.from_cache(target, before.pointer, before.release.folder)
            return Offer(pointer=before.pointer, release=release)
        except NotNow as error:
            later = error
        except Unservable:
            pass
    if later is not None:
        raise later
    return None
