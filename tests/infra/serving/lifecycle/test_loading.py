"""What a worker does when another one says that it went back."""

from types import SimpleNamespace
from typing import Any

from infra.serving.ipc.messages import Revert
from infra.serving.lifecycle.loading import Loader

SAME = "d" * 64
"""Two versions of one training are the same bytes."""


class Slot:
    """A model's place in a worker: what serves, and what served before."""

    def __init__(self, current: str, previous: str) -> None:
        self.current, self.previous = version(current), version(previous)
        self.watch = None

    def swap(self, loaded: Any) -> None:
        self.current, self.previous = loaded, self.current


def version(number: str) -> Any:
    return SimpleNamespace(release=SimpleNamespace(version=number, digest=SAME))


def told_of(slot: Slot) -> str:
    revert = Revert(model="digits", version="2", digest=SAME, back_to="1", reason="it failed")
    Loader.follow(SimpleNamespace(slots={"digits": slot}), revert)  # type: ignore[arg-type]
    number: str = slot.current.release.version
    return number


def test_a_worker_that_still_serves_the_version_goes_back_too() -> None:
    assert told_of(Slot(current="2", previous="1")) == "1"


def test_one_that_went_back_by_itself_stays_there_though_both_versions_are_the_same_bytes() -> None:
    assert told_of(Slot(current="1", previous="2")) == "1"
