"""The past replayed: what retrainings then would have made of it, each judged by the rows that came after, which it has not seen."""

import calendar
import datetime
import json
import re
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise, takewhile
from pathlib import Path
from typing import Literal

import numpy as np
from pydantic import Field

from tasks.errors import UserError
from tasks.measured import Interval
from tasks.monitoring.past import Past
from tasks.promotion.entries import Ledger
from tasks.promotion.ledger import read_ledger
from tasks.promotion.manual import decline_version
from tasks.registry.lookup import find_version
from tasks.registry.registry import Registry
from tasks.registry.tags import VERDICT_TAG
from tasks.system.files import write_atomically
from tasks.system.frozen import Frozen

_NOBODY = "nobody answered within the period"

_SPANS = {"day": 1, "week": 7}

_MONTHS = {"month": 1, "quarter": 3, "year": 12}

Span = tuple[datetime.date, datetime.date]

Retrain = Callable[[datetime.date], int]
"""Retrains on the rows before a day, to a decision; the number of the version."""


class Period(Frozen):
    """One retraining, on the rows before `since`, and how good it and its forerunner were until `until`."""

    since: datetime.date
    until: datetime.date
    trained: int = Field(description="Rows before.")
    rows: int = Field(description="Rows from then until the end of the period, which judge.")
    version: int
    decision: Literal["promoted", "inconclusive", "refused"]
    why: str
    champion: int | None = Field(description="What served when it was retrained.")
    serving: int | None = Field(description="What served from then on.")
    score: float | None = Field(description="Of the retrained version; None on rows that have no score.")
    champion_score: float | None
    serving_score: float | None
    first_score: float | None = Field(description="Of the first champion, as if nobody had retrained.")
    difference: Interval | None = Field(
        description="Of the retrained version's score less the champion's, on these rows."
    )
    seconds: float


class Backfill(Frozen):
    """All periods of a replay, and where it has its registry, its ledger and its picture."""

    model: str
    every: str
    score_name: str
    home: Path
    periods: tuple[Period, ...]
    picture: Path | None = None


def days_of(
    since: datetime.date, until: datetime.date | None, every: str, end: datetime.date
) -> list[datetime.date]:
    """The days of retraining from `since` on, and `until`, where the last period ends; None: `end`, before which all rows are.

    Raises UserError for a span that is none, no time between, and retrainings that no row would judge.
    """
    if since >= end:
        raise UserError(
            f"--from {since}: all rows are from before {end}, and none would judge: name an earlier day."
        )
    until = until or end
    if since >= until:
        raise UserError(f"--from {since} is not before --to {until}: there is nothing to replay.")
    days, count = [since], 1
    while (day := _after(since, every, count)) < until:
        if day >= end:
            raise UserError(
                f"--to {until}: all rows are from before {end}, and none would judge what is retrained on {day}: name a day until then, or "
                "leave it out."
            )
        days.append(day)
        count += 1
    return [*days, until]


def _after(since: datetime.date, every: str, count: int) -> datetime.date:
    """`count` spans later; a month after the 31st ends with its last day."""
    if months := _MONTHS.get(every, 0):
        years, month = divmod(since.month - 1 + months * count, 12)
        year = since.year + years
        return datetime.date(year, month + 1, min(since.day, calendar.monthrange(year, month + 1)[1]))
    match = re.fullmatch(r"([1-9]\d{0,4})d", every)
    days = _SPANS.get(every) or (int(match[1]) if match else 0)
    if not days:
        raise UserError(
            f"--every {every} is no span of time: write {', '.join((*_SPANS, *_MONTHS))}, or days such as 14d."
        )
    return since + datetime.timedelta(days=days * count)


@dataclass(frozen=True)
class Replay:
    """Retrainings on given days in a registry of their own; what is done is kept, so that one that was ended goes on."""

    registry: Registry
    past: Past
    days: Sequence[datetime.date]
    retrain: Retrain
    kept: Path

    @property
    def done(self) -> tuple[Period, ...]:
        """Periods that are over, from the first on; one that ended on another day than it does now is judged again."""
        known = self._known()
        over = takewhile(known.__contains__, pairwise(self.days))
        return tuple(known[span] for span in over)

    @property
    def later(self) -> int:
        """Periods of a replay that went on to a later day; they are kept."""
        return sum(until > self.days[-1] for _, until in self._known())

    def periods(self) -> Iterator[Period]:
        """Those that are still to come, each as soon as it is over."""
        for span in [*pairwise(self.days)][len(self.done) :]:
            known = self._known() | {span: (period := self._period(*span))}
            content = [each.model_dump(mode="json") for each in known.values()]
            write_atomically(self.kept, json.dumps(content, indent=1).encode())
            yield period

    def _known(self) -> dict[Span, Period]:
        if not self.kept.exists():
            return {}
        periods = map(Period.model_validate, json.loads(self.kept.read_bytes()))
        return {(period.since, period.until): period for period in periods}

    def left(self, spent: Sequence[Period]) -> float | None:
        """Seconds that the rest will take if it takes what `spent` did, with the rows; None while nothing is known."""
        coming = [self.past.before(day) for day in self.days[len(self.done) : -1]]
        steady = spent[1:] or spent  # the first one also waited for what is started once
        return seconds_left([(each.trained, each.seconds) for each in steady], coming)

    def _period(self, since: datetime.date, until: datetime.date) -> Period:
        began, registry, model = time.monotonic(), self.registry, self.past.workload.name
        version = self.retrain(since)
        ledger = self._decided(version)
        rows = self.past.between(since, until)
        before = _serving_before(ledger, version)
        entry = next(entry for entry in ledger.entries if entry.to_version == version)
        promoted = ledger.promoted(version)
        serving = version if promoted else before
        sure = registry.tags(find_version(registry, f"{model}/{version}"))[VERDICT_TAG]
        return Period(
            since=since,
            until=until,
            trained=self.past.before(since),
            rows=len(rows),
            version=version,
            decision="promoted" if promoted else "inconclusive" if sure == "inconclusive" else "refused",
            why=entry.why,
            champion=before,
            serving=serving,
            score=rows.score(registry, version),
            champion_score=rows.score(registry, before),
            serving_score=rows.score(registry, serving),
            first_score=rows.score(registry, next((e.to_version for e in ledger.entries if e.moved), None)),
            difference=rows.difference(registry, version, before),
            seconds=round(time.monotonic() - began, 1),
        )

    def _decided(self, version: int) -> Ledger:
        """The ledger with a decision about the version in it: a question that the gate leaves open is answered by nobody."""
        model = self.past.workload.name
        ledger = read_ledger(self.registry, model)
        if not (ledger.promoted(version) or ledger.refused(version)):
            decline_version(self.registry.settings, model, version, why=_NOBODY, who="backfill")
            ledger = read_ledger(self.registry, model)
        return ledger


def _serving_before(ledger: Ledger, version: int) -> int | None:
    """What served when a version was first decided on."""
    serving = None
    for entry in ledger.entries:
        if entry.to_version == version:
            return serving
        serving = entry.to_version if entry.moved else serving
    return serving


def seconds_left(spent: Sequence[tuple[int, float]], coming: Sequence[int]) -> float | None:
    """By what so many rows took: a part that does not depend on them, and one that grows with them; None of nothing.

    Of one period, its time for each; of more, the line through them that neither begins nor falls below 0.
    """
    if not spent:
        return None
    rows, seconds = np.array([*zip(*spent, strict=True)], float)
    slope = 0.0
    if len(spent) > 1 and np.ptp(rows):
        slope = float(np.clip(np.polyfit(rows, seconds, 1)[0], 0, seconds.mean() / rows.mean()))
    fixed = float(seconds.mean() - slope * rows.mean())
    return sum(fixed + slope * count for count in coming)
