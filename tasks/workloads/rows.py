"""Which rows belong together, how they are cut in time, and how much each of them counts."""

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Rows:
    """What a workload says of its rows, by the names of columns.

    time: the newest rows judge. group: rows of one value (a query, a patient, a week) are in one split, and are resampled as
    one. gap: by time, rows this near before a cut are left out, for their windows reach over it ("120h", or a number where the
    time is one). weight: how much a row counts, in the loss and in every score. slices: groups that are scored by themselves.
    """

    time: str | None = None
    group: str | None = None
    gap: str | float = 0
    weight: str | None = None
    slices: tuple[str, ...] = ()

    @property
    def columns(self) -> tuple[str, ...]:
        """All that are named, each once."""
        named = (self.time, self.group, self.weight, *self.slices)
        return tuple(dict.fromkeys(name for name in named if name is not None))
