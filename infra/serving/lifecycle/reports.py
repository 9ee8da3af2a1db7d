"""What the workers report: what serves is remembered for a restart, what failed is not tried again."""

import asyncio
import datetime
import logging
import socket
from collections.abc import Callable, Iterator

from infra.serving.errors import NotNow
from infra.serving.ipc.messages import Event, Message, Nudge, Refusal, Revert, Rollout, Swap, Tally, Told
from infra.serving.lifecycle.followed import FollowedTarget
from infra.serving.lifecycle.preparation import Preparer
from infra.serving.lifecycle.rollout import FollowedRollout
from infra.serving.options import Target
from tasks.rollout.reported import RevertNote

logger = logging.getLogger("slipway.serving")


class Reports:
    """Takes each report to the targets that it is about. `served`: a worker has a version that answers."""

    def __init__(
        self,
        preparer: Preparer,
        followed: list[FollowedTarget],
        rollouts: dict[Target, FollowedRollout],
        send: Callable[[Message], None],
    ) -> None:
        self.preparer = preparer
        self.followed = followed
        self.rollouts = rollouts
        self.send = send
        self.served = asyncio.Event()

    def receive(self, message: Message) -> None:
        if isinstance(message, Nudge):
            for followed in self.followed:
                followed.wake.set()
        elif isinstance(message, Tally):
            for target, rollout in self.rollouts.items():
                if target.name == message.model:
                    rollout.counted(message)
        elif isinstance(message, Event):
            for followed in self._about(message):
                self._happened(followed, message)
                self.say(followed.spoken())

    def say(self, message: Refusal | Rollout | Told | None) -> None:
        if message is not None:
            self.send(message)

    def _happened(self, followed: FollowedTarget, event: Event) -> None:
        if isinstance(event, Swap):
            self.served.set()
            followed.swapped(event.version)
        elif isinstance(event, Revert):
            self._found_wanting(followed, event)
            followed.went_back(event)
        elif isinstance(event, Refusal):
            offer = followed.turned_down(event)
            if offer is not None and event.passing:
                followed.seen = None
                followed.retry.failed(offer.pointer, NotNow("").longest)
            return
        self._remember(followed)

    def _found_wanting(self, followed: FollowedTarget, revert: Revert) -> None:
        """Keep what our own workers found; what they went back from for another's reason is known already."""
        name, offer = followed.target.name, followed.offered.get(revert.version)
        rollout = self.rollouts.get(followed.target)
        if revert.rollout and rollout is not None:
            offer = rollout.new
        standings = self.preparer.standings
        if offer is None or standings.bars(name, offer.pointer, offer.release.digest):
            return
        at = datetime.datetime.fromtimestamp(revert.at, datetime.UTC)
        note = RevertNote(
            at=at,
            by=socket.gethostname(),
            **revert.model_dump(include={"back_to", "reason", "counts", "rollout"}),
        )
        standings.went_back(name, offer.pointer, offer.release.digest, note)
        if rollout is not None:
            rollout.looked_at_anew()
        followed.wake.set()

    def _about(self, event: Event) -> Iterator[FollowedTarget]:
        return (each for each in self.followed if each.target.name == event.model)

    def _remember(self, followed: FollowedTarget) -> None:
        followed.forget()
        note = followed.note()
        if note is None:
            return
        try:
            self.preparer.cache.remember(followed.target, note)
        except OSError as error:
            logger.error("%s: what serves cannot be remembered for a restart: %s", followed.target, error)
            return
        self.preparer.cache.evict(
            {offer.release.folder for each in self.followed for offer in each.offered.values()}
            | {rollout.new.release.folder for rollout in self.rollouts.values() if rollout.new is not None}
        )
