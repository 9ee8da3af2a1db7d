"""What has happened: swaps, refusals, reverts, and when the registry was last seen. The page and /health read it."""

import time
from collections import Counter, deque
from typing import Any

from infra.serving.ipc.messages import Event, Message, Refusal, RegistryCheck, Release, Revert, Swap, Told
from tasks.registry.status_tags import Statuses

KEPT = 20


class Board:
    """The recent history of the models, the same in every worker."""

    def __init__(self) -> None:
        self.events: deque[Swap | Refusal | Revert] = deque(maxlen=KEPT)
        self.registry_seen: dict[str, float] = {}
        self.unreachable: dict[str, str] = {}
        self.refused: dict[str, Refusal | Revert] = {}
        self.counts: Counter[tuple[str, str]] = Counter()
        self.statuses: dict[str, Statuses] = {}
        self.last: dict[str, tuple[str, str, str | None]] = {}

    def note(self, message: Message) -> bool:
        """Remember one event; whether it is news, and not what another worker has said before."""
        if isinstance(message, RegistryCheck):
            if message.error is None:
                self.registry_seen[message.model] = message.at
                self.unreachable.pop(message.model, None)
            else:
                self.unreachable[message.model] = message.error
        elif isinstance(message, Event):
            return self._happened(message)
        elif isinstance(message, Release):
            self._offered(message)
        elif isinstance(message, Told):
            self.statuses[message.model] = {tag.subject: tag for tag in message.statuses}
        return False

    def _offered(self, release: Release) -> None:
        """The alias names another version: what was refused no longer stands, and may be refused once more."""
        if self.last.get(release.model, ("",))[1:] != (release.version, release.digest):
            self.last.pop(release.model, None)
        if release.back_because is None:
            self.refused.pop(release.model, None)

    def _happened(self, message: Swap | Refusal | Revert) -> bool:
        what = (message.kind, message.version, message.digest)
        if self.last.get(message.model) == what or self._again(message):
            if isinstance(message, Refusal):
                self.refused[message.model] = message  # it may have another reason now
            return False
        self.last[message.model] = what
        self.events.appendleft(message)
        self.counts[message.model, message.kind] += 1
        if isinstance(message, Refusal | Revert):
            self.refused[message.model] = message
        else:
            self.refused.pop(message.model, None)
        return True

    def _again(self, message: Swap | Refusal | Revert) -> bool:
        """Whether a worker that was started again takes up what served before."""
        if not isinstance(message, Swap) or message.replaced is not None:
            return False
        return any(isinstance(event, Swap) and event.named == message.named for event in self.events)

    def behind(self, model: str) -> dict[str, Any] | None:
        """What the alias names and this server does not have, and why; or why it cannot know."""
        error = self.unreachable.get(model)
        refused: dict[str, Any] | None = self.about(model)["refused"]
        return refused or (None if error is None else {"version": None, "reason": error})

    def about(self, model: str) -> dict[str, Any]:
        """What /health says of a model besides its version."""
        seen, refusal = self.registry_seen.get(model), self.refused.get(model)
        return {
            "registry_seen_seconds_ago": None if seen is None else max(0.0, round(time.time() - seen, 1)),
            "registry_error": self.unreachable.get(model),
            "refused": None if refusal is None else {"version": refusal.version, "reason": refusal.reason},
        }
