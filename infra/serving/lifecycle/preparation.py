"""From a version in the registry to a release in the cache: fetched, inspected once, and proved in every process anew."""

import asyncio
import logging
import shutil
from pathlib import Path

from infra.serving.errors import Unservable
from infra.serving.ipc.messages import Release
from infra.serving.lifecycle.cache import Cache, digest_of
from infra.serving.lifecycle.cached_proof import still_holds
from infra.serving.lifecycle.inspection import InspectionRequest, InspectionResult, inspect, look
from infra.serving.lifecycle.registry import AliasSource, Pointer, Unfetched
from infra.serving.options import ServeOptions, Target

logger = logging.getLogger("slipway.serving")


class Preparer:
    """Makes releases; remembers which folders it has proved, so that going back to one costs no new process."""

    def __init__(self, options: ServeOptions) -> None:
        self.options = options
        self.cache = Cache(options.cache)
        self.proved: dict[Path, InspectionResult] = {}
        self.turns: dict[tuple[str, Pointer], asyncio.Lock] = {}

    async def from_folder(self, target: Target, folder: Path) -> Release:
        """A folder on this machine, taken at its word: nobody promoted it."""
        finding = await inspect(InspectionRequest(folder=folder, model=target.name))
        return Release(
            model=target.name,
            source=str(target),
            version="local",
            digest=accepted(finding),
            folder=folder,
            evidence="local",
        )

    async def from_cache(self, target: Target, pointer: Pointer, folder: Path) -> Release:
        """A folder of the cache. Unservable when its evidence does not hold or the model does not work."""
        finding = self.proved.get(folder)
        if finding is None or await asyncio.to_thread(digest_of, folder) != folder.name:
            finding = await self._examine(target, folder)
        digest = accepted(finding)
        self.proved[folder] = finding
        self.cache.mark(folder)
        return Release(
            model=target.name,
            source=str(target),
            version=pointer.version,
            digest=digest,
            folder=folder,
            evidence="unsigned" if self.options.allow_unsigned else "verified",
            decided=finding.decided,
        )

    async def _examine(self, target: Target, folder: Path) -> InspectionResult:
        """Asked anew in every process; a folder that was inspected before mostly needs no process of its own."""
        key = None if self.options.allow_unsigned else self.options.key
        parse = not self.cache.inspected(folder)
        question = InspectionRequest(folder=folder, model=target.name, key=key, parse=parse)
        if parse:
            return await inspect(question)
        known = await asyncio.to_thread(still_holds if key is not None else look, question)
        return known or await inspect(question)

    async def from_registry(self, registry: AliasSource, target: Target, pointer: Pointer) -> Release:
        """A version by number: from the cache if it was fetched before, else downloaded."""
        async with self.turns.setdefault((target.name, pointer), asyncio.Lock()):
            folder = self.cache.known(target, pointer) or await self._fetch(registry, target, pointer)
            return await self.from_cache(target, pointer, folder)

    async def _fetch(self, registry: AliasSource, target: Target, pointer: Pointer) -> Path:
        try:
            incoming = self.cache.incoming()
            try:
                downloaded = await asyncio.to_thread(registry.fetch, target.name, pointer.version, incoming)
                folder = await asyncio.to_thread(self.cache.keep, downloaded)
            finally:
                shutil.rmtree(incoming, ignore_errors=True)
            self.cache.learn(target, pointer, folder)
        except OSError as error:
            raise Unfetched(f"the cache {self.cache.root} cannot be written: {error.strerror}") from None
        return folder


def accepted(finding: InspectionResult) -> str:
    """The digest of a model that passed; Unservable otherwise."""
    if finding.refused is not None or finding.digest is None:
        raise Unservable(finding.refused or "inspection found nothing")
    return finding.digest
