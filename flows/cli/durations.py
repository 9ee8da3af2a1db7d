"""How long what was done here took the last time, so that the next time can say how long it will."""

import json
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from tasks.system.files import write_atomically

_MOST = 500
"""Of what is remembered, the newest."""


def last_seconds(home: Path) -> dict[str, float]:
    """Seconds by what was done; none for what was never done here."""
    with suppress(OSError, ValueError, AttributeError):
        kept = json.loads((home / "durations.json").read_bytes())
        return {
            str(what): float(seconds) for what, seconds in kept.items() if isinstance(seconds, int | float)
        }
    return {}


def remember(home: Path, took: Mapping[str, float]) -> None:
    """For the next time; a home that cannot be written is no reason to fail."""
    earlier = {what: seconds for what, seconds in last_seconds(home).items() if what not in took}
    kept = {**earlier, **{what: round(seconds, 2) for what, seconds in took.items()}}
    with suppress(OSError):
        write_atomically(home / "durations.json", json.dumps(dict([*kept.items()][-_MOST:])).encode())
