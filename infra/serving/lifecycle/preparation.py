"""From a version in the registry to a release in the cache: fetched, inspected once, and proved in every process anew."""

import asyncio
import logging
import shutil
from pathlib import Path

from infra.serving.errors import NotNow, Unservable
from infra.serving.ipc.launch import Started
from infra.serving.ipc.messages import Release
from infra.serving.lifecycle.cache import Cache, digest_of
from infra.serving.lifecycle.inspection import InspectionRequest, InspectionResult, inspect
from infra.serving.lifecycle.registry import AliasSource, Pointer, Unfetched
from infra.serving.lifecycle.standing import Standings
from infra.serving.options import ServeOptions, Target
from tasks.engines import ONNX_RUNTIME, Engine

logger = logging.getLogger("slipway.serving")


class Preparer:
    """Makes releases; remembers which folders it has proved, so that going back to one costs no new process."""

    def __init__(self, options: ServeOptions, inspector: Started | None = None) -> None:
        self.options = options
        self.inspector = inspector
        self.cache = Cache(options.cache)
        self.standings = Standings(options.cache / "standings", signed=not options.allow_unsigned)
        self.proved: dict[tuple[str, Path], InspectionResult] = {}
        self.turns: dict[tuple[str, str, int], asyncio.Lock] = {}

    def forget(self) -> None:
        """Look at everything anew: other keys count than before."""
        self.proved.clear()
        self.standings.read.clear()

    async def from_folder(self, target: Target, folder: Path) -> Release:
        """A folder on this machine, taken at its word: nobody promoted it."""
        engine = ONNX_RUNTIME if self.options.engine is None else Engine.parse(self.options.engine)
        result = await self._inspect(InspectionRequest(folder=folder, model=target.name, engine=engine))
        about = {"model": target.name, "version": "local", "digest": accepted(result)}
        return Release(**about, folder=folder, evidence="local", engine=engine, instead=result.instead)

    async def from_cache(
        self, target: Target, pointer: Pointer, folder: Path, permitted: bool = True, whole: bool = False
    ) -> Release:
        """A folder of the cache. Unservable when it may not serve, its evidence does not hold or the model does not work.

        `permitted` False: it will answer nobody, and needs no permit. `whole`: its bytes were just compared with its name.
        """
        name, standings = target.name, self.standings
        proof = self.proved.get((name, folder))
        if proof and not whole and await asyncio.to_thread(digest_of, folder) != folder.name:
            proof = None
        unread = standings.unread(name, pointer)
        if proof is None or unread:
            result = await self._inspect(
                InspectionRequest(
                    folder=folder if proof is None else None,
                    model=name,
                    key=None if self.options.allow_unsigned else self.options.key,
                    changes=self.cache.changes,
                    parse=not self.cache.inspected(folder),
                    permits=unread,
                )
            )
            if len(result.permits) == len(unread):
                standings.learn(unread, result.permits)
            else:
                accepted(result)
            proof = proof or result
        digest = accepted(proof)
        self.proved[name, folder] = proof
        self.cache.mark(folder)
        standings.check(name, pointer, digest, permitted)
        return Release(
            model=name,
            version=pointer.version,
            digest=digest,
            folder=folder,
            evidence="unsigned" if self.options.allow_unsigned else "verified",
            decided=proof.decided,
            score=proof.score,
            engine=proof.engine,
            promise=proof.promise,
            instead=proof.instead,
        )

    async def _inspect(self, request: InspectionRequest) -> InspectionResult:
        """By the process that was started early, once; it takes one request."""
        inspector, self.inspector = self.inspector, None
        return await inspect(request, inspector)

    async def from_registry(
        self, registry: AliasSource, target: Target, pointer: Pointer, permitted: bool = True
    ) -> Release:
        """A version by number: from the cache if it was fetched before and is whole, else downloaded."""
        if permitted:
            self.standings.check_asked(target.name, pointer)
        async with self.turns.setdefault((target.name, *pointer.identity), asyncio.Lock()):
            try:
                folder = await asyncio.to_thread(self._whole, target, pointer)
                folder = folder or await self._fetch(registry, target, pointer)
            except OSError as error:
                raise Unfetched(f"the cache {self.cache.root} cannot be written: {error.strerror}") from None
            return await self.from_cache(target, pointer, folder, permitted, whole=True)

    def _whole(self, target: Target, pointer: Pointer) -> Path | None:
        folder = self.cache.folder_of(target.name, pointer)
        if folder is None or digest_of(folder) == folder.name:
            return folder
        logger.error("%s version %s is damaged in the cache, and fetched again", target.name, pointer.version)
        self.cache.discard(folder)
        return None

    async def _fetch(self, registry: AliasSource, target: Target, pointer: Pointer) -> Path:
        incoming = self.cache.incoming()
        try:
            downloaded = await asyncio.to_thread(registry.fetch, target.name, pointer.version, incoming)
            folder = await asyncio.to_thread(self.cache.keep, downloaded)
        finally:
            shutil.rmtree(incoming, ignore_errors=True)
        self.cache.note_folder(target.name, pointer, folder)
        return folder


def accepted(result: InspectionResult) -> str:
    """The digest of a model that passed; NotNow when that could not be told, Unservable otherwise."""
    if result.passing:
        raise NotNow(result.refused or "inspection did not end")
    if result.refused is not None or result.digest is None:
        raise Unservable(result.refused or "inspection found nothing")
    return result.digest
