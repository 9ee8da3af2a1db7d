"""Which rows train, which choose and which judge."""

from typing import Any

import numpy as np
import pandas as pd

from tasks.config import Data
from tasks.data.fingerprint import row_hashes
from tasks.data.times import instants
from tasks.errors import UserError
from tasks.workloads.rows import Rows

SPLITS = ("train", "validation", "test")

LEFT_OUT = -1
"""The split of rows that lie in a gap before a cut."""

Array = np.ndarray[Any, Any]


def split(frame: pd.DataFrame, config: Data, rows: Rows, trains: bool = True) -> dict[str, pd.DataFrame]:
    """Rows to train, validation and test: by a hash of each row's content, or of its group, or in order of time.

    Hashed: a row stays in its split as data grows, and neither duplicates nor groups straddle two. By time: the test rows are
    the newest, and rows of one instant stay together. Where nothing `trains`, all but the test rows choose. Raises UserError for a group that has rows on both sides of a cut.
    """
    cuts = None
    if rows.time is not None:
        groups = None if rows.group is None else frame[rows.group]
        cuts = time_cuts(instants(frame[rows.time]), groups, config, rows)
    numbers = split_numbers(frame, config, rows, cuts)
    return {name: frame[chosen].reset_index(drop=True) for name, chosen in rows_in(numbers, trains).items()}


def rows_in(numbers: Array, trains: bool) -> dict[str, Array]:
    """Which rows are in each split, bool[n], by the number of each row's.

    Where nothing `trains`, the first two are one: what is fitted to rows, such as ranges of 8-bit numbers, is to those that choose.
    """
    chosen = {name: numbers == number for number, name in enumerate(SPLITS)}
    return chosen if trains else chosen | dict.fromkeys(SPLITS[:2], np.isin(numbers, (0, 1)))


def split_numbers(frame: pd.DataFrame, config: Data, rows: Rows, cuts: Array | None) -> Array:
    """Each row's split, 0 to 2, or `LEFT_OUT`; `cuts`, the instants at which validation and test begin, where rows are in time."""
    if cuts is None:
        told = frame if rows.group is None else frame[[rows.group]]
        return np.digitize(row_hashes(told, config.salt) / 2.0**64, bounds(config))
    times = instants(frame[rows.time])
    numbers: Array = np.searchsorted(cuts, times, "right")
    if gap := gap_of(rows, times):
        for cut in cuts:
            numbers[(times < cut) & (times >= cut - gap)] = LEFT_OUT
    return numbers


def time_cuts(times: Array, groups: "pd.Series[Any] | None", config: Data, rows: Rows) -> Array:
    """The instants, [2], at which the rows of validation and of test begin; rows of one instant, or of one group, stay together.

    Raises UserError for a group that lasts over a cut, and for a gap that is none.
    """
    gap_of(rows, times)
    firsts = times
    if groups is not None:
        places, _ = pd.factorize(groups)
        spans = pd.Series(times).groupby(places).agg(["min", "max"])
        firsts = spans["min"].to_numpy()[places]
    # They go where the first of them would.
    moments, counts = np.unique(firsts, return_counts=True)
    starts = np.searchsorted((counts.cumsum() - counts) / len(times), bounds(config))
    # Where no row is left, the cut is after the last: the next number above it, since 1 more than a large one may be itself.
    after = np.nextafter(times.max(), np.inf) if times.dtype.kind == "f" else times.max() + 1
    cuts: Array = np.append(moments, after)[starts]
    if groups is not None:
        for cut in cuts:
            torn = ((spans["min"] < cut) & (spans["max"] >= cut)).to_numpy()[places]
            if torn.any():
                raise UserError(
                    f"Group {str(groups.iloc[int(torn.argmax())])!r} has rows before and after the cut of {_said(cut)}: groups that last need "
                    "rows.time=None, or a narrower group."
                )
    return cuts


def gap_of(rows: Rows, times: Array) -> Any:
    """The gap in the times' own unit; 0 for none. Raises UserError for one that cannot be held against them."""
    dated = times.dtype.kind == "M"
    if rows.gap == 0:
        return 0
    try:
        gap = pd.Timedelta(rows.gap) if dated and isinstance(rows.gap, str) else float(rows.gap)
    except ValueError:
        gap = -1.0
    if isinstance(gap, pd.Timedelta) and gap >= pd.Timedelta(0):
        return gap.to_timedelta64()
    if isinstance(gap, float) and gap >= 0 and not dated:
        return gap
    what = "dates: write a duration, such as '120h'" if dated else "numbers: write a number of the same unit"
    raise UserError(f"rows.gap={rows.gap!r} cannot be held against the time {rows.time!r}, which has {what}.")


def _said(instant: Any) -> str:
    return str(pd.Timestamp(instant)) if isinstance(instant, np.datetime64) else f"{instant:g}"


def bounds(config: Data) -> tuple[float, float]:
    """The shares of the rows at which validation and test begin."""
    return 1 - config.validation - config.test, 1 - config.test
