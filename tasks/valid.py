"""What a workload's rows must be before anything is learned from them: their columns, their target, their arrays."""

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tasks.config import Data
from tasks.errors import UserError
from tasks.schema_failures import describe_failures, some
from tasks.workloads import Workload

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd

    Array = np.ndarray[Any, Any]


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
    _check_target_and_time(workload, frame)
    return frame


def _load(workload: Workload) -> "pd.DataFrame":
    import pandas as pd

    try:
        frame = workload.load()
    except UserError:
        raise
    except Exception as error:
        if isinstance(error, FileNotFoundError) and error.filename is not None:
            raise UserError(
                f"Workload {workload.name}: load() finds no file {error.filename!r}{_relative(error.filename)}."
            ) from error
        raise UserError(
            f"Workload {workload.name}: load() failed: {type(error).__name__}: {str(error).rstrip('.')}."
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
            f"Workload {workload.name}: load() gave no column {', '.join(map(repr, missing))}; it has {some(frame.columns)}."
        )
    return frame


def _relative(name: object) -> str:
    """What to do about a path that depends on where a command, or a worker, was started."""
    if not isinstance(name, str) or Path(name).is_absolute():
        return ""
    return f" in {Path.cwd()}: Path(__file__).with_name({Path(name).name!r}) finds it beside the workload's file from anywhere"


def validated(workload: Workload, frame: "pd.DataFrame") -> "pd.DataFrame":
    import pandera.pandas as pa

    schema = workload.schema if isinstance(workload.schema, pa.DataFrameSchema) else workload.schema()
    try:
        return schema.validate(frame, lazy=True)
    except pa.errors.SchemaErrors as error:
        raise UserError(
            f"Workload {workload.name}: its rows break its schema: {describe_failures(error.failure_cases, frame, schema.columns)}."
        ) from error


def _check_target_and_time(workload: Workload, frame: "pd.DataFrame") -> None:
    target = frame[workload.target]
    if missing := int(target.isna().sum()):
        raise UserError(
            f"Workload {workload.name}: target {workload.target!r} is empty in {missing} of {len(frame)} rows: drop or fill them in load()."
        )
    if workload.time is not None and (missing := int(frame[workload.time].isna().sum())):
        raise UserError(
            f"Workload {workload.name}: the time {workload.time!r} is empty in {missing} of {len(frame)} rows, which belong to no split: drop or fill them in load()."
        )
    if workload.kind == "classification" and target.nunique() < 2:
        raise UserError(
            f"Workload {workload.name}: target {workload.target!r} is always {target.iloc[:1].tolist()[0]!r}; a classifier needs two classes."
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
