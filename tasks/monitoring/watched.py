"""What watching a model says: how much was served, and how far it has drifted. Light to import, for what shows it."""

import datetime
from typing import Literal

from tasks.system.frozen import Frozen


class Volume(Frozen):
    """How much was recorded, and how fast it was answered."""

    rows: int
    by_hour: dict[str, int] = {}
    by_version: dict[str, int] = {}
    first: datetime.datetime | None = None
    last: datetime.datetime | None = None
    p50_ms: float | None = None
    p95_ms: float | None = None


class ColumnDrift(Frozen):
    """One column of the served rows against the reference."""

    name: str
    kind: Literal["number", "category"]
    psi: float
    p_value: float
    drifted: bool
    reference: float | None = None
    served: float | None = None


class Drift(Frozen):
    """All columns, the most drifted first."""

    columns: tuple[ColumnDrift, ...]

    @property
    def drifted(self) -> tuple[ColumnDrift, ...]:
        return tuple(column for column in self.columns if column.drifted)

    @property
    def share(self) -> float:
        """Of the columns that drifted."""
        return len(self.drifted) / len(self.columns) if self.columns else 0.0


class Watched(Frozen):
    """What `slipway monitor` found. `quiet`: too little was recorded to say anything."""

    model: str
    workload: str
    version: int
    status: Literal["quiet", "steady", "drifted"]
    reasons: tuple[str, ...]
    hours: float
    volume: Volume
    inputs: Drift | None = None
    predictions: Drift | None = None
