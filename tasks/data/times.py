"""When rows are from: a column of times, numbers or ISO text as values that sort as time does; nothing is ranked as text."""

import re
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from tasks.errors import UserError
from tasks.goals.classic import classic

Array = np.ndarray[Any, Any]

_ZONE = re.compile(r"(Z|[+-]\d\d:?\d\d)$")

_FIX = "in load(): pd.to_datetime with the format of yours makes times of text"


def moments(column: "pd.Series[Any]") -> "pd.Series[Any]":
    """A time column as datetimes (in its zone, if it says one) or numbers; empty cells stay empty.

    Times, dates, periods and ISO 8601 text become datetimes. Raises UserError, naming a value, for anything else, such as
    other text, which sorts by its letters, and for text with and without a zone.
    """
    plain = classic(column)
    dtype, kind = plain.dtype, pd.api.types.infer_dtype(plain, skipna=True)
    if pd.api.types.is_datetime64_any_dtype(dtype):
        return plain
    if isinstance(dtype, pd.PeriodDtype):
        return plain.dt.to_timestamp()
    if pd.api.types.is_timedelta64_dtype(dtype):
        return plain.astype("int64").astype("Int64").where(plain.notna())
    if isinstance(dtype, pd.CategoricalDtype):
        return moments(pd.Series([*plain], index=plain.index))
    if kind in ("integer", "floating", "mixed-integer-float", "decimal"):
        return plain.astype("Int64" if kind == "integer" else "float64")
    if kind == "string":
        return _of_text(plain)
    if kind in ("date", "datetime", "datetime64"):
        return _of_objects(plain)
    raise UserError(f"The time {column.name!r} is {_said(plain)}, which is no time: make it one {_FIX}.")


def instants(column: "pd.Series[Any]") -> Array:
    """The same as a numpy array that sorts, [n]: datetime64 in UTC, or numbers."""
    times = moments(column)
    if getattr(times.dtype, "tz", None) is not None:
        times = times.dt.tz_convert("UTC").dt.tz_localize(None)
    if pd.api.types.is_datetime64_dtype(times.dtype):
        return np.asarray(times)
    whole = times.dtype == "Int64" and not times.isna().any()
    return np.asarray(times.to_numpy("int64" if whole else "float64", na_value=np.nan))


def newest_of(column: "pd.Series[Any]") -> str:
    """The newest of the times, as text."""
    newest = moments(column).max()
    return str(newest)


class Shared(NamedTuple):
    """The instant that most rows are of, as text, and how many are."""

    instant: str
    rows: int


def shared_instant(times: Array) -> Shared:
    values, counts = np.unique(times, return_counts=True)
    most = int(counts.argmax())
    return Shared(str(pd.Series(values[most : most + 1]).iloc[0]), int(counts[most]))


def _of_text(texts: "pd.Series[Any]") -> "pd.Series[Any]":
    there = texts.dropna().astype(str)
    zoned = there.map(lambda text: bool(_ZONE.search(text)))
    if len(there) and zoned.any() and not zoned.all():
        with_, without = there[zoned].iloc[0], there[~zoned].iloc[0]
        raise UserError(
            f"The time {texts.name!r} has a zone in {with_!r} and none in {without!r}: give all of them one {_FIX}."
        )
    iso = there[there.str.match(r"\d{4}")]
    read = pd.to_datetime(iso, format="ISO8601", utc=True, errors="coerce")
    if len(strange := there.drop(read.dropna().index)):
        raise UserError(
            f"The time {texts.name!r} is text, such as {strange.iloc[0]!r}, which is not ISO 8601: make it times {_FIX}."
        )
    times = read.reindex(texts.index)
    return times if zoned.any() else times.dt.tz_localize(None)


def _of_objects(cells: "pd.Series[Any]") -> "pd.Series[Any]":
    """Python's own dates and datetimes, or pandas', each with its own zone or all without."""
    zoned = cells.dropna().map(lambda cell: getattr(cell, "tzinfo", None) is not None)
    if zoned.any() and not zoned.all():
        raise UserError(
            f"The time {cells.name!r} has cells with and without a zone: give all of them one {_FIX}."
        )
    return pd.to_datetime(cells, utc=bool(zoned.any()))


def _said(column: "pd.Series[Any]") -> str:
    there = column.dropna()
    return f"{column.dtype}, such as {there.iloc[0]!r}" if len(there) else str(column.dtype)
