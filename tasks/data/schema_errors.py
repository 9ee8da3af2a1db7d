"""What breaks a schema, in words: each column once for each of its failures, with how many rows and the first of them."""

import difflib
import re
from collections.abc import Container, Iterator
from typing import Any

import pandas as pd

from tasks.system.sentences import some

_MOST = 5


def describe_failures(cases: pd.DataFrame, frame: pd.DataFrame, columns: Container[str]) -> str:
    """pandera's failure cases of `frame`, one phrase for each kind of failure; `columns` are the schema's."""
    strangers = [str(name) for name in frame.columns if name not in columns]
    return "; ".join([*_columns(cases, strangers), *_cells(cases, frame)])


def _columns(cases: pd.DataFrame, strangers: list[str]) -> Iterator[str]:
    """Columns that are gone, and those that nobody asked for: together they often are one that was renamed."""
    gone, extra = (
        [str(name) for name in cases.loc[cases["check"] == check, "failure_case"]]
        for check in ("column_in_dataframe", "column_in_schema")
    )
    if gone:
        close = difflib.get_close_matches(gone[0], strangers, n=1)
        hint = f" (is it {close[0]!r} now?)" if len(gone) == 1 and close else ""
        yield f"there is no column {some([*map(repr, gone)], _MOST)}{hint}"
    if extra:
        yield f"column {some([*map(repr, extra)], _MOST)} is not in the schema"


def _cells(cases: pd.DataFrame, frame: pd.DataFrame) -> Iterator[str]:
    """One phrase a column and check; what only follows from empty cells or from a wrong dtype is left out."""
    cases = cases[~cases["check"].isin(["column_in_dataframe", "column_in_schema"])]
    empty = {*cases.loc[cases["check"] == "not_nullable", "column"]}
    typed = {*cases.loc[cases["check"].map(lambda check: _dtype(check) is not None), "column"]}
    for (column, check), group in cases.groupby(["column", "check"], dropna=False, sort=False):
        value, asked = _plain(group["failure_case"].iloc[0]), _dtype(check)
        follows = asked is not None and column in empty and value != value
        if follows or (column in typed and asked is None and str(value).startswith("TypeError")):
            continue
        name, where = column if column == column else "the frame", _where(group["index"])
        if check == "not_nullable":
            yield f"{name} is empty{where}: fill or drop them in load(), or allow it with nullable=True"
        elif asked is not None:
            such = f"{where}, such as {value!r}" if 0 < group["index"].notna().sum() < len(frame) else ""
            yield f"{name} is {frame[column].dtype} and has to be {asked}{such}"
        else:
            yield f"{name}: {check} fails{where} (such as {value!r})"


def _where(index: "pd.Series[Any]") -> str:
    rows = [str(int(i)) if isinstance(i, float) else str(i) for i in index.dropna().head(3)]
    count = int(index.notna().sum())
    return f" in {count:,} row{'s' * (count > 1)}, first at {', '.join(rows)}" if rows else ""


def _dtype(check: object) -> str | None:
    """int64, when the check is that of a dtype."""
    match = re.fullmatch(r"dtype\('(.+)'\)", str(check))
    return match[1].replace("string[pyarrow]", "str") if match else None


def _plain(value: Any) -> Any:
    """A cell as Python has it: 0 and not np.int64(0)."""
    return value.item() if hasattr(value, "item") else value
