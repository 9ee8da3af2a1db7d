"""What a workload's rows must be before anything is learned from them: their columns, their target, their arrays."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from tasks.config import Data
from tasks.data.arrays import learn, look_at, said_of
from tasks.data.schema_errors import describe_failures
from tasks.data.times import moments
from tasks.errors import UserError
from tasks.goals.target import distinct
from tasks.system.sentences import as_user_error, some
from tasks.workloads.sources import Stream
from tasks.workloads.workload import Workload

if TYPE_CHECKING:
    import pandera.pandas as pa


def load_valid(workload: Workload, config: Data) -> pd.DataFrame:
    """The workload's rows, up to `config.until`, checked against its schema; all failures in one message."""
    workload.check_data(config)
    frame = rows_before(_load(workload), workload.time, config)
    if frame.empty:
        raise UserError(
            f"Workload {workload.name}: load() gave no rows{f' before {config.until}' if config.until else ''}; check its source."
        )
    frame = validated(workload, frame)
    check_filled(workload, frame)
    learn(workload, [look_at(workload, frame)])
    return frame


def check_filled(workload: Workload, frame: pd.DataFrame) -> None:
    """Raise UserError for rows whose target or time is empty, for a time that is none, and for lists where groups are cut."""
    source = "the source" if isinstance(workload.load, Stream) else "load()"
    rows = workload.sampling
    checked = [
        *(("target", column, "") for column in workload.targets),
        ("the time", rows.time, ", which belong to no split"),
        ("the group", rows.group, ", which belong to none"),
        ("the weight", rows.weight, ""),
    ]
    for what, column, why in checked:
        if column is not None and (missing := int(frame[column].isna().sum())):
            raise UserError(
                f"Workload {workload.name}: {what} {column!r} is empty in {missing} of {len(frame)} rows{why}: drop or fill them in {source}."
            )
    if rows.time is not None:
        moments(frame[rows.time])
    cut = [("slice", column) for column in rows.slices] + [("group", rows.group)]
    with said_of(workload):
        for what, column in cut:
            if column in frame:
                distinct(frame[column], f"the {what} {column!r}")


def rows_before(frame: pd.DataFrame, time: str | None, config: Data) -> pd.DataFrame:
    """The rows before `config.until`, midnight where the time says a zone. Raises UserError for a time that is no date."""
    if config.until is None or time is None:
        return frame
    times = moments(frame[time])
    if not pd.api.types.is_datetime64_any_dtype(times.dtype):
        raise UserError(
            f"data.until={config.until} cannot be held against the time {time!r}, which is {frame[time].dtype}: "
            "make it dates with pd.to_datetime in load()."
        )
    until = pd.Timestamp(config.until, tz=getattr(times.dtype, "tz", None))
    return frame[times < until].reset_index(drop=True)


def _load(workload: Workload) -> pd.DataFrame:
    with as_user_error(f"Workload {workload.name}: load() failed"):
        try:
            frame = workload.load()
        except FileNotFoundError as error:
            if error.filename is None:
                raise
            raise UserError(
                f"Workload {workload.name}: load() finds no file {error.filename!r}{_relative(error.filename)}."
            ) from error
    if not isinstance(frame, pd.DataFrame):
        raise UserError(
            f"Workload {workload.name}: load() returned {type(frame).__name__}; return a pandas DataFrame."
        )
    if twice := [*frame.columns[frame.columns.duplicated()]]:
        raise UserError(
            f"Workload {workload.name}: load() gave more than one column {twice[0]!r}: drop or rename all but one."
        )
    _check_columns(workload, frame, "load() gave")
    return frame


def _check_columns(workload: Workload, frame: pd.DataFrame, who: str) -> None:
    wanted = dict.fromkeys((*workload.targets, *workload.sampling.columns))
    if missing := [name for name in wanted if name not in frame.columns]:
        raise UserError(
            f"Workload {workload.name}: {who} no column {', '.join(map(repr, missing))}; it has {some([*frame.columns])}."
        )


def _relative(name: object) -> str:
    """What to do about a path that depends on where a command, or a worker, was started."""
    if not isinstance(name, str) or Path(name).is_absolute():
        return ""
    return f" in {Path.cwd()}: Path(__file__).with_name({Path(name).name!r}) finds it beside the workload's file from anywhere"


def validated(workload: Workload, frame: pd.DataFrame) -> pd.DataFrame:
    """The rows as the schema has them.

    Raises UserError for all that breaks it, for a schema that is none, and for a target of a type that cannot be learned.
    """
    import pandera.pandas as pa

    schema = _schema(workload)
    try:
        valid = schema.validate(frame, lazy=True)
    except pa.errors.SchemaErrors as error:
        raise UserError(
            f"Workload {workload.name}: its rows break its schema: {describe_failures(error.failure_cases, frame, schema.columns)}."
        ) from error
    _check_columns(workload, valid, "its schema leaves")
    with said_of(workload):
        for goal in workload.goals:
            goal.target.check(valid)
    return valid


def _schema(workload: Workload) -> "pa.DataFrameSchema":
    import pandera.pandas as pa

    given: Any = workload.schema
    with as_user_error(f"Workload {workload.name}: its schema was not made"):
        schema = given if isinstance(given, pa.DataFrameSchema) else given()
    if not isinstance(schema, pa.DataFrameSchema):
        raise UserError(
            f"Workload {workload.name}: its schema is a {type(schema).__name__}; give a pandera DataFrameSchema, "
            "or a function that returns one."
        )
    return schema
