"""Whether a version may serve: its newest permit, and what servers found wanting in it.

Both are kept beside the cache: what was withdrawn stays so when the registry forgets it, is away, or has an older statement again.
"""

import asyncio
import datetime
import logging
from collections.abc import Iterator, Sequence
from pathlib import Path

from pydantic import ValidationError

from infra.serving.errors import Unservable
from infra.serving.lifecycle.registry import AliasSource, Pointer
from tasks.proof.permit import Permit, PermitError, is_ahead
from tasks.rollout.reported import RevertNote
from tasks.system.files import write_atomically
from tasks.system.frozen import Frozen

logger = logging.getLogger("slipway.serving")


class Barred(Unservable):
    """A version that may not serve, or no longer. `signed`: its permit was withdrawn; else a server went back from it, to `back_to`."""

    def __init__(self, reason: str, signed: bool, back_to: str = "") -> None:
        super().__init__(reason)
        self.signed = signed
        self.back_to = back_to


class Standing(Frozen):
    """What was seen of one version: the text of its newest permit, and of its newest note; `recorded`: the registry has the note."""

    permit: str = ""
    reverted: str = ""
    recorded: bool = True


class Standings:
    """Of every version that was looked at. `read`: what a text says that was found to be signed, or why it says nothing."""

    def __init__(self, root: Path, signed: bool) -> None:
        self.root = root
        self.signed = signed
        self.held: dict[tuple[str, str, int], Standing] = {}
        self.unsaved: set[tuple[str, str, int]] = set()
        self.read: dict[str, Permit | str] = {}

    def of(self, name: str, pointer: Pointer) -> Standing:
        key = (name, *pointer.identity)
        if key not in self.held:
            try:
                self.held[key] = Standing.model_validate_json(self._file(key).read_bytes(), extra="ignore")
            except (OSError, ValidationError):
                self.held[key] = Standing()
        return self.held[key]

    def unread(self, name: str, pointer: Pointer) -> tuple[str, ...]:
        """Texts of permits whose signature has to be checked yet."""
        texts = (pointer.permit, self.of(name, pointer).permit) if self.signed else ()
        return tuple(dict.fromkeys(text for text in texts if text and text not in self.read))

    def learn(self, texts: Sequence[str], said: Sequence[Permit | str]) -> None:
        self.read.update(zip(texts, said, strict=True))

    def check_asked(self, name: str, pointer: Pointer) -> None:
        """Unservable for a version with no permit at all, before anything is done for it."""
        if self.signed and not pointer.permit and not self.of(name, pointer).permit:
            raise Unservable(
                f"it has no permit: its gate did not pass, or nobody has approved it. Where the private key is, "
                f"`slipway promote {name} {pointer.version} --reason …` lets it serve, and `slipway serve {name}` one from before there were permits"
            )

    def check(self, name: str, pointer: Pointer, digest: str, permitted: bool) -> None:
        """Return if these bytes may serve as this version. `permitted` False: it answers nobody, and needs no permit; one that was withdrawn counts."""
        newest = self._newest_permit(name, pointer, digest) if self.signed else None
        if newest is not None and not newest.granted:
            raise Barred(_refusal(newest, name, pointer, digest), signed=True)
        if not permitted:
            return
        if self.signed and newest is None:
            self.check_asked(name, pointer)
            raise Unservable(self._why_none(name, pointer, digest))
        note = self._newest_note(name, pointer)
        if note is not None and (newest is None or note.at > newest.at):
            way = (
                "promote it again" if self.signed else "delete its tag slipway.reverted"
            ) + ", and it serves again"
            raise Barred(f"{note.by} went back from it: {note.reason}; {way}", False, note.back_to)

    def bars(self, name: str, pointer: Pointer, digest: str) -> bool:
        try:
            self.check(name, pointer, digest, permitted=True)
        except Unservable:
            return True
        return False

    def went_back(self, name: str, pointer: Pointer, digest: str, note: RevertNote) -> None:
        """Keep that this server went back from a version; after its permit, whatever the clocks of the two machines say."""
        permit = self._newest_permit(name, pointer, digest) if self.signed else None
        if permit is not None:
            note = note.model_copy(
                update={"at": max(note.at, permit.at + datetime.timedelta(milliseconds=1))}
            )
        self._keep(name, pointer, reverted=note.model_dump_json(exclude_none=True), recorded=False)

    async def record(self, registry: AliasSource) -> None:
        """Write to the registry which version was found wanting, and why; what cannot be written now is tried again."""
        for name, version, created in self.unrecorded():
            pointer = Pointer(version=version, created=created)
            try:
                await asyncio.to_thread(registry.note_revert, name, version, self.of(name, pointer).reverted)
            except Exception as error:
                logger.debug("%s version %s: its revert cannot be written: %r", name, version, error)
                return
            self.recorded(name, pointer)

    def unrecorded(self) -> Iterator[tuple[str, str, int]]:
        """Versions whose note is not in the registry yet."""
        return (key for key, standing in tuple(self.held.items()) if not standing.recorded)

    def recorded(self, name: str, pointer: Pointer) -> None:
        self._keep(name, pointer, recorded=True)

    def save(self) -> None:
        """Write down what could not be written before; a disk that is full now is tried again."""
        for key in tuple(self.unsaved):
            try:
                write_atomically(self._file(key), self.held[key].model_dump_json().encode())
            except OSError as error:
                logger.debug("%s: %r", self._file(key), error)
                return
            self.unsaved.discard(key)

    def _newest_permit(self, name: str, pointer: Pointer, digest: str) -> Permit | None:
        """By serial; of two with the same one, that which withdraws. It is kept from now on."""
        about = (name, pointer.version, pointer.run_id, digest)
        newest: tuple[Permit, str] | None = None
        for text in (self.of(name, pointer).permit, pointer.permit):
            permit = self.read.get(text)
            if not isinstance(permit, Permit) or _about(permit) != about or permit.is_ahead:
                continue
            if newest is None or _order(permit) > _order(newest[0]):
                newest = permit, text
        if newest is None:
            return None
        self._keep(name, pointer, permit=newest[1])
        return newest[0]

    def _why_none(self, name: str, pointer: Pointer, digest: str) -> str:
        said = self.read.get(pointer.permit or self.of(name, pointer).permit, "its permit was not read")
        return _refusal(said, name, pointer, digest) if isinstance(said, Permit) else said

    def _newest_note(self, name: str, pointer: Pointer) -> RevertNote | None:
        """Of the registry's and the one that is kept. Without permits nothing is newer than a note, so that the registry's word counts."""
        held = self.of(name, pointer)
        kept, seen = _note(held.reverted), _note(pointer.reverted)
        if not self.signed:
            return seen or (kept if not held.recorded else None)
        if seen is not None and (kept is None or seen.at > kept.at):
            self._keep(name, pointer, reverted=pointer.reverted, recorded=True)
            return seen
        return kept

    def _keep(self, name: str, pointer: Pointer, **what: object) -> None:
        key, before = (name, *pointer.identity), self.of(name, pointer)
        self.held[key] = before.model_copy(update=what)
        if self.held[key] != before:
            self.unsaved.add(key)
            self.save()

    def _file(self, key: tuple[str, str, int]) -> Path:
        return self.root / f"{key[0]}-{key[1]}-{key[2]}.json"


def _about(permit: Permit) -> tuple[str, str, str, str]:
    return permit.model, str(permit.version), permit.run_id, permit.model_sha256


def _order(permit: Permit) -> tuple[int, bool]:
    return permit.serial, not permit.granted


def _refusal(permit: Permit, name: str, pointer: Pointer, digest: str) -> str:
    try:
        permit.check(name, int(pointer.version), pointer.run_id, digest)
    except PermitError as error:
        return str(error).rstrip(".")
    return "its permit holds"


def _note(text: str) -> RevertNote | None:
    """Anybody may write a tag: what is no note, or is from the future, says nothing."""
    try:
        note = RevertNote.model_validate_json(text, extra="ignore") if text else None
    except ValidationError:
        return None
    return note if note is not None and not is_ahead(note.at) else None
