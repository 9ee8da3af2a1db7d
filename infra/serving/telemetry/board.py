"""What has happened: swaps, refusals, reverts, and when the registry was last seen. The page and /health read it."""

import time
from collections import deque
from typing import Any

from infra.serving.ipc.messages import Message, Refusal, RegistryCheck, Release, Revert, Swap

KEPT = 20


class Board:
    """The recent history of the models, the same in every worker."""

    def __init__(self) -> None:
        self.events: deque[Swap | Refusal | Revert] = deque(maxlen=KEPT)
        self.registry_seen: dict[str, float] = {}
        self.unreachable: dict[str, str] = {}
        self.refused: dict[str, Refusal | Revert] = {}
        self.counts: dict[tuple[str, str], int] = {}
        self.last: dict[tuple[str, bool], tuple[str, str, str | None]] = {}

    def note(self, message: Message) -> bool:
        """Remember one event; whether it is news, and not what another worker has said before.

        What concerns a shadow is told, but says nothing of what serves.
        """
        if isinstance(message, RegistryCheck) and not message.shadow:
            if message.error is None:
                self.registry_seen[message.model] = message.at
                self.unreachable.pop(message.model, None)
            else:
                self.unreachable[message.model] = message.error
        elif isinstance(message, Swap | Refusal | Revert):
            return self._happened(message)
        elif isinstance(message, Release):
            self._offered(message)
        return False

    def _offered(self, release: Release) -> None:
        """The alias names another version: what was refused no longer stands, and may be refused once more."""
        about = (release.model, release.shadow)
        if self.last.get(about, ("",))[1:] != (release.version, release.digest):
            self.last.pop(about, None)
        if not release.shadow:
            self.refused.pop(release.model, None)

    def _happened(self, message: Swap | Refusal | Revert) -> bool:
        shadow = not isinstance(message, Revert) and message.shadow
        about, what = (message.model, shadow), (message.kind, message.version, message.digest)
        if self.last.get(about) == what or self._again(message):
            return False
        self.last[about] = what
        self.events.appendleft(message)
        key = (message.model, message.kind)
        self.counts[key] = self.counts.get(key, 0) + 1
        if isinstance(message, Swap) and not shadow:
            self.refused.pop(message.model, None)
        elif not isinstance(message, Swap) and not shadow:
            self.refused[message.model] = message
        return True

    def _again(self, message: Swap | Refusal | Revert) -> bool:
        """Whether a worker that was started again takes up what served before."""
        if not isinstance(message, Swap) or message.replaced is not None:
            return False
        same = {"model", "shadow", "version", "digest"}
        swaps = [event for event in self.events if isinstance(event, Swap)]
        return any(message.model_dump(include=same) == event.model_dump(include=same) for event in swaps)

    def about(self, model: str) -> dict[str, Any]:
        """What /health says of a model besides its version."""
        seen, refusal = self.registry_seen.get(model), self.refused.get(model)
        return {
            "registry_seen_seconds_ago": None if seen is None else max(0.0, round(time.time() - seen, 1)),
            "registry_error": self.unreachable.get(model),
            "refused": None if refusal is None else {"version": refusal.version, "reason": refusal.reason},
        }
