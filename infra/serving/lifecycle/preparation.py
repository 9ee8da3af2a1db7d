"""From a version in the registry to a release in the cache: fetched, inspected once, and proved in every process anew."""

import asyncio
import logging
import shutil
from pathlib import Path

from infra.serving.errors import Unservable
from infra.serving.ipc.launch import Started
from infra.serving.ipc.messages import Release
from infra.serving.lifecycle.cache import Cache, digest_of
from infra.serving.lifecycle.inspection import InspectionRequest, InspectionResult, inspect
from infra.serving.lifecycle.registry import AliasSource, Pointer, Unfetched
from infra.serving.options import ServeOptions, Target

logger = logging.getLogger("slipway.serving")


class Preparer:
    """Makes releases; remembers which folders it has proved, so that going back to one costs no new process."""

    def __init__(self, options: ServeOptions, inspector: Started | None = None) -> None:
        self.options = options
        self.inspector = inspector
        self.cache = Cache(options.cache)
        self.proved: dict[Path, InspectionResult] = {}
        self.turns: dict[tuple[str, Pointer], asyncio.Lock] = {}

    async def from_folder(self, target: Target, folder: Path) -> Release:
        """A folder on this machine, taken at its word: nobody promoted it."""
        result = await self._inspect(InspectionRequest(folder=folder, model=target.name))
        return Release(
            model=target.name, version="local", digest=accepted(result), folder=folder, evidence="local"
        )

    async def from_cache(self, target: Target, pointer: Pointer, folder: Path) -> Release:
        """A folder of the cache. Unservable when its evidence does not hold or the model does not work."""
        result = self.proved.get(folder)
        if result is None or await asyncio.to_thread(digest_of, folder) != folder.name:
            key = None if self.options.allow_unsigned else self.options.key
            parse = not self.cache.inspected(folder)
            result = await self._inspect(
                InspectionRequest(folder=folder, model=target.name, key=key, parse=parse)
            )
        digest = accepted(result)
        self.proved[folder] = result
        self.cache.mark(folder)
        return Release(
            model=target.name,
            version=pointer.version,
            digest=digest,
            folder=folder,
            evidence="unsigned" if self.options.allow_unsigned else "verified",
            decided=result.decided,
        )

    async def _inspect(self, request: InspectionRequest) -> InspectionResult:
        """By the process that was started early, once; it takes one request."""
        inspector, self.inspector = self.inspector, None
        return await inspect(request, inspector)

    async def from_registry(self, registry: AliasSource, target: Target, pointer: Pointer) -> Release:
        """A version by number: from the cache if it was fetched before, else downloaded."""
        async with self.turns.setdefault((target.name, pointer), asyncio.Lock()):
            folder = self.cache.folder_of(target, pointer) or await self._fetch(registry, target, pointer)
            return await self.from_cache(target, pointer, folder)

    async def _fetch(self, registry: AliasSource, target: Target, pointer: Pointer) -> Path:
        try:
            incoming = self.cache.incoming()
            try:
                downloaded = await asyncio.to_thread(registry.fetch, target.name, pointer.version, incoming)
                folder = await asyncio.to_thread(self.cache.keep, downloaded)
            finally:
                shutil.rmtree(incoming, ignore_errors=True)
            self.cache.note_folder(target, pointer, folder)
        except OSError as error:
            raise Unfetched(f"the cache {self.cache.root} cannot be written: {error.strerror}") from None
        return folder


def accepted(result: InspectionResult) -> str:
    """The digest of a model that passed; Unservable otherwise."""
    if result.refused is not None or result.digest is None:
        raise Unservable(result.refused or "inspection found nothing")
    return result.digest
