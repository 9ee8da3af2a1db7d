"""A workload's rows by when they are from, and how registered versions answer those that came after them."""

import datetime
import logging
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from tasks.config import Data
from tasks.data.arrays import (
    WEIGHT,
    Samples,
    arrays_of,
    learn,
    look_at,
    sampling_arrays,
    spec_of,
    target_name,
)
from tasks.data.copies import copies
from tasks.data.schema import load_valid
from tasks.data.times import moments
from tasks.errors import LostError, UserError
from tasks.goals.bootstrap import Marks, difference
from tasks.measured import Champion, Interval
from tasks.promotion.verification import check_version, downloaded
from tasks.proof.holdout import answers
from tasks.records import Dataset
from tasks.registry.lookup import find_version
from tasks.registry.registry import Registry
from tasks.workloads.scoring import marks
from tasks.workloads.workload import Workload

_LEVEL = 0.95

log = logging.getLogger("slipway")


class Past:
    """A workload's rows by when they are from. Raises UserError for a workload that does not say when."""

    def __init__(self, workload: Workload) -> None:
        if workload.time is None:
            raise UserError(
                f"Workload {workload.name} names no time column, so that it has no past to replay: add time=."
            )
        self.workload = workload
        self._frame = load_valid(workload, Data())
        self._times = moments(self._frame[workload.time])
        if not pd.api.types.is_datetime64_any_dtype(self._times.dtype):
            raise UserError(
                f"Workload {workload.name}: the time {workload.time!r} is no date ({self._times.dtype}), and a day cannot be held against it: "
                "make it dates with pd.to_datetime in load()."
            )

    @property
    def end(self) -> datetime.date:
        """The day after the newest row's."""
        newest: datetime.date = self._times.max().date()
        return newest + datetime.timedelta(days=1)

    def before(self, day: datetime.date) -> int:
        """How many rows are from before a day."""
        return int((self._times < self._at(day)).sum())

    def between(self, since: datetime.date, until: datetime.date) -> "Unseen":
        mask = (self._times >= self._at(since)) & (self._times < self._at(until))
        return Unseen(self.workload, self._frame[mask].reset_index(drop=True), self._fitted)

    @cached_property
    def _fitted(self) -> Any:
        """Classes of all rows: one that a version does not know, it gets wrong."""
        return learn(self.workload, [look_at(self.workload, self._frame)])

    def _at(self, day: datetime.date) -> pd.Timestamp:
        return pd.Timestamp(day, tz=getattr(self._times.dtype, "tz", None))


class Unseen:
    """The rows of a period, and how versions answer them; each is asked once."""

    def __init__(self, workload: Workload, rows: pd.DataFrame, fitted: Any) -> None:
        self._workload, self._rows, self._fitted = workload, rows, fitted
        self._marks: dict[int, Marks | None] = {}

    def __len__(self) -> int:
        return len(self._rows)

    @cached_property
    def _samples(self) -> Samples:
        arrays = arrays_of(self._workload, self._rows, self._fitted)
        names = [target_name(place) for place in range(len(self._fitted))]
        target, *others = (arrays.pop(name) for name in names)
        weight = sampling_arrays(self._rows, self._workload.sampling).get(WEIGHT)
        return Samples(arrays, target, tuple(others), weight=weight)

    def score(self, registry: Registry, version: int | None) -> float | None:
        """Of a version's own bytes on these rows; None without a version, and where there is no score."""
        if version is None or not len(self):
            return None
        answered = self._answered(registry, version)
        score = float("nan") if answered is None else answered.score()
        return float(score) if np.isfinite(score) else None

    def difference(self, registry: Registry, version: int, champion: int | None) -> Interval | None:
        """Of their scores, paired by rows."""
        if champion is None or champion == version or not len(self):
            return None
        ours, theirs = (self._answered(registry, number) for number in (version, champion))
        if ours is None or theirs is None:
            return None
        return difference(ours, theirs, _LEVEL, copies(self._samples))

    def _answered(self, registry: Registry, number: int) -> Marks | None:
        """None for a version that cannot be asked these rows, or means something else by its answers."""
        if number not in self._marks:
            version = find_version(registry, f"{self._workload.name}/{number}")
            with downloaded(registry, version) as folder:
                check_version(folder, version)
                asked = Champion(version=number, sha256=version.sha256, folder=folder)
                self._marks[number] = self._asked(asked, folder)
        return self._marks[number]

    def _asked(self, version: Champion, folder: Path) -> Marks | None:
        try:
            said = answers(self._workload, version, self._as_dataset(folder), self._samples)
            return marks(self._workload, self._samples.truth, said, self._fitted)[0]
        except LostError:
            raise
        except UserError as error:
            log.warning("v%d has no score on %d rows: %s", version.version, len(self), error)
            return None

    def _as_dataset(self, folder: Path) -> Dataset:
        """What the rows are, without being stored anywhere."""
        samples, first = self._samples, self._fitted[0]
        inputs = tuple(spec_of(self._workload, name, array) for name, array in samples.inputs.items())
        specs = [spec_of(self._workload, target_name(n), each) for n, each in enumerate(samples.targets)]
        return Dataset(
            workload=self._workload.name,
            folder=folder,
            fingerprint="",
            rows={},
            inputs=inputs,
            target=specs[0],
            classes=first.classes,
            others=tuple(zip(specs[1:], self._fitted[1:], strict=True)),
        )
