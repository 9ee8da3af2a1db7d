"""What watching a model says: how much was served, and how far it has drifted. Light to import, for what shows it."""

import datetime
from typing import Literal

from tasks.system.frozen import Frozen

Status = Literal["quiet", "steady", "shifted", "drifted", "worse"]


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


class Performance(Frozen):
    """The champion's answers by their labels: of the last rows that are older than the horizon, and against its proof.

    `lower`: surely below what was proved; `below_since`: the day from which on it is surely so by more than the margin.
    """

    rows: int
    labelled: int
    coverage: float
    score: float | None
    low: float | None
    high: float | None
    proof: float
    margin: float
    lower: bool
    below_since: datetime.date | None


class Watched(Frozen):
    """What `slipway monitor` found. `quiet`: too little was recorded to say anything; `shifted`: other inputs, of which labels show no harm.

    `drifted`, and `worse` by its labels, are alarms.
    """

    model: str
    workload: str
    version: int
    status: Status
    reasons: tuple[str, ...]
    hours: float
    volume: Volume
    inputs: Drift | None = None
    predictions: Drift | None = None
    performance: Performance | None = None

    @property
    def alarming(self) -> bool:
        return self.status in ("drifted", "worse")

    @property
    def headline(self) -> str:
        """For a list of runs: "v3 drifted: 2 of 4 inputs drifted …"."""
        return ": ".join([f"v{self.version} {self.status}", *self.reasons[:1]])
