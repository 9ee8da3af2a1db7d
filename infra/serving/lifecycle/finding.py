"""Every model of the registry that has a champion, followed from the moment that it has one, or that flows say anything of it."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Collection, Coroutine, Sequence
from typing import Any

from infra.serving.ipc.messages import EVERY, Found, Message, RegistryCheck
from infra.serving.lifecycle.cache import remembered
from infra.serving.lifecycle.registry import AliasSource
from infra.serving.options import NAME, ServeOptions, Target

logger = logging.getLogger("slipway.serving")

FIRST_SECONDS = 5.0
"""For the registry to say which there are; then those that served in the last run are taken up without it."""


class Finder:
    """Looks for models besides those that are named; `follow` never ends."""

    def __init__(
        self,
        options: ServeOptions,
        named: Collection[str],
        source: Callable[[], Awaitable[AliasSource]],
        say: Callable[[Message], None],
        follow: Callable[[Target], Coroutine[Any, Any, None]],
    ) -> None:
        self.options = options
        self.named = frozenset(named)
        self.source = source
        self.say = say
        self.follow = follow
        self.found: set[str] = set()
        self.looked = False
        self.said: str | None = None
        self.passed_over: frozenset[str] = frozenset()

    async def run(self) -> None:
        """Look once a period, for ever. Raises what following one of them raises."""
        async with asyncio.TaskGroup() as group:
            while True:
                try:
                    async with asyncio.timeout(None if self.looked else FIRST_SECONDS):
                        names, told = await self._ask()
                except Exception as error:
                    logger.debug("the registry's models: %r", error)
                    self._note(f"the registry cannot be read ({type(error).__name__})")
                    if not self.found:
                        self._take_up(remembered(self.options.cache, "champion"), group)
                else:
                    self._note(None)
                    # readiness waits for those of the first look, and not for what may get a champion
                    self._take_up(names, group, told if self.looked else [], first=not self.looked)
                    self.looked = True
                await asyncio.sleep(self.options.poll)

    async def _ask(self) -> tuple[list[str], list[str]]:
        registry = await self.source()
        return await asyncio.to_thread(registry.champions)

    def _take_up(
        self, names: list[str], group: asyncio.TaskGroup, told: Sequence[str] = (), *, first: bool = False
    ) -> None:
        """Follow what is new, the workers being told before they hear of its versions; of `told`, what nobody else needs room for."""
        fit, new = self._fit(names)
        shown = self._fit(told)[1]
        room = self.options.max_models - len(self.found - {*told})
        self._pass_over(frozenset(names) - frozenset(fit) | frozenset(new[room:]))
        left = max(0, self.options.max_models - len(self.found) - len(new))
        targets = tuple(Target(name=name, alias="champion") for name in (*new[:room], *shown[:left]))
        self.found.update(target.name for target in targets)
        if targets or first:
            named = (Target(name=name, alias="champion") for name in fit if name in self.named)
            self.say(Found(targets=(*targets, *named)))
        for target in targets:
            logger.info("%s: it is followed from now on", target.name)
            group.create_task(self.follow(target))

    def _fit(self, names: Sequence[str]) -> tuple[list[str], list[str]]:
        """Those that an address can have; and of them what is not followed yet."""
        fit = [name for name in names if NAME.fullmatch(name)]
        return fit, [name for name in fit if name not in self.named | self.found]

    def _pass_over(self, names: frozenset[str]) -> None:
        """Said once, and again when others are."""
        if names != self.passed_over and names:
            logger.warning(
                "not served, for their names are no part of an address or there are more than --max-models %d: %s",
                self.options.max_models,
                ", ".join(sorted(names)),
            )
        self.passed_over = names

    def _note(self, error: str | None) -> None:
        if error != self.said:
            logger.warning("every model: %s", error or "the registry answers again")
        self.said = error
        self.say(RegistryCheck(model=EVERY, error=error))
