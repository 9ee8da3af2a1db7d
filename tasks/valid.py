"""What a workload's rows must be before anything is learned from them: their columns, their target, their arrays."""

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from tasks.config import Data
from tasks.errors import UserError
from tasks.workloads import Workload

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd

    Array = np.ndarray[Any, Any]

_COLUMN_CHECKS = {
    "column_in_dataframe": "there is no column {}",
    "column_in_schema": "column {} is not in the schema",
}


def load_valid(workload: Workload, config: Data) -> "pd.DataFrame":
    """The workload's rows, up to `config.until`, checked against its schema; all failures in one message."""
    workload.check_data(config)
    frame = _load(workload)
    if config.until is not None:
        frame = frame[frame[workload.time] < str(config.until)].reset_index(drop=True)
    if frame.empty:
        raise UserError(
            f"Workload {workload.name}: load() gave no rows{f' before {config.until}' if config.until else ''}; check its source."
        )
    frame = validated(workload, frame)
    _check_target(workload, frame)
    return frame


def _load(workload: Workload) -> "pd.DataFrame":
    import pandas as pd

    try:
        frame = workload.load()
    except UserError:
        raise
    except Exception as error:
        raise UserError(
            f"Workload {workload.name}: load() failed: {type(error).__name__}: {error}."
        ) from error
    if not isinstance(frame, pd.DataFrame):
        raise UserError(
            f"Workload {workload.name}: load() returned {type(frame).__name__}; return a pandas DataFrame."
        )
    missing = [
        c
        for c in (workload.target, workload.time, *workload.slices)
        if c is not None and c not in frame.columns
    ]
    if missing:
        raise UserError(
            f"Workload {workload.name}: load() gave no column {', '.join(map(repr, missing))}; it has {_some(frame.columns)}."
        )
    return frame


def validated(workload: Workload, frame: "pd.DataFrame") -> "pd.DataFrame":
    import pandera.pandas as pa

    schema = workload.schema if isinstance(workload.schema, pa.DataFrameSchema) else workload.schema()
    try:
        return schema.validate(frame, lazy=True)
    except pa.errors.SchemaErrors as error:
        raise UserError(
            f"Workload {workload.name}: its rows break its schema: {_failures(error.failure_cases)}."
        ) from error


def _failures(cases: "pd.DataFrame") -> str:
    """Every kind of failure once, with how many cells and the first of them."""
    lines = []
    for (column, check), group in cases.groupby(["column", "check"], dropna=False, sort=False):
        rows = [str(int(i)) for i in group["index"].dropna().head(3)]
        where = f" in {len(group)} row{'s' * (len(group) > 1)}, first at {', '.join(rows)}" if rows else ""
        value = _plain(group["failure_case"].iloc[0])
        if check in _COLUMN_CHECKS:
            lines.append(_COLUMN_CHECKS[check].format(", ".join(map(repr, group["failure_case"]))))
            continue
        lines.append(
            f"{column if column == column else 'the frame'}: {check} fails{where} (such as {value!r})"
        )
    return "; ".join(lines)


def _plain(value: Any) -> Any:
    """A cell as Python has it: 0 and not np.int64(0)."""
    return value.item() if hasattr(value, "item") else value


def _check_target(workload: Workload, frame: "pd.DataFrame") -> None:
    target = frame[workload.target]
    if missing := int(target.isna().sum()):
        raise UserError(
            f"Workload {workload.name}: target {workload.target!r} is empty in {missing} of {len(frame)} rows: drop or fill them in load()."
        )
    if workload.kind == "classification" and target.nunique() < 2:
        raise UserError(
            f"Workload {workload.name}: target {workload.target!r} is always {_plain(target.iloc[0])!r}; a classifier needs two classes."
        )
    if workload.kind == "regression" and not _is_number(target):
        raise UserError(
            f"Workload {workload.name}: target {workload.target!r} is {target.dtype}; a regression needs numbers."
        )


def _is_number(series: "pd.Series[Any]") -> bool:
    import pandas as pd

    return pd.api.types.is_numeric_dtype(series) and not pd.api.types.is_bool_dtype(series)


def to_inputs(workload: Workload, rows: "pd.DataFrame") -> "dict[str, np.ndarray[Any, Any]]":
    """The workload's named arrays for these rows. Raises UserError when their names, lengths or dtypes cannot be used."""
    import numpy as np

    try:
        arrays = workload.inputs(rows)
    except UserError:
        raise
    except Exception as error:
        raise UserError(
            f"Workload {workload.name}: inputs() failed: {type(error).__name__}: {error}."
        ) from error
    if not isinstance(arrays, dict) or not arrays:
        raise UserError(
            f"Workload {workload.name}: inputs() returned {type(arrays).__name__}; return a dict of named numpy arrays."
        )
    for name, array in arrays.items():
        if name == "target" or not name.isidentifier():
            raise UserError(
                f"Workload {workload.name}: inputs() names an array {name!r}; use a Python name other than 'target'."
            )
        if not isinstance(array, np.ndarray) or array.dtype.kind not in "fiub":
            raise UserError(
                f"Workload {workload.name}: inputs()[{name!r}] is {getattr(array, 'dtype', type(array).__name__)}; give a numeric numpy array."
            )
        if len(array) != len(rows):
            raise UserError(
                f"Workload {workload.name}: inputs()[{name!r}] has {len(array)} rows where the frame has {len(rows)}."
            )
    return {name: np.ascontiguousarray(array) for name, array in arrays.items()}


def _some(columns: "pd.Index[Any]") -> str:
    names = [str(c) for c in columns[:8]]
    return ", ".join(names) + (f" and {len(columns) - 8} more" if len(columns) > 8 else "")


def classes_of(values: "Iterable[Any]") -> tuple[str, ...]:
    """The classes' names in the order of their codes."""
    return tuple(str(value) for value in sorted(values))


def arrays_of(
    workload: Workload, rows: "pd.DataFrame", classes: tuple[str, ...] | None
) -> "dict[str, Array]":
    """The inputs by name, and last the target: class codes, int64[n], or values, float32[n]."""
    if classes is None:
        target = rows[workload.target].to_numpy("float32")
    else:
        codes = {name: code for code, name in enumerate(classes)}
        target = rows[workload.target].map(lambda value: codes[str(value)]).to_numpy("int64")
    return {**to_inputs(workload, rows), "target": target}
