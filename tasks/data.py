"""Workload → Dataset: load, validate, fingerprint and split rows, and store them where any machine can map them."""

import json
import shutil
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tasks.config import Data
from tasks.errors import UserError
from tasks.files import sync_folder
from tasks.fingerprint import fingerprint, row_hashes
from tasks.records import Dataset, TensorSpec
from tasks.workloads import Workload, load_workload

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd

SPLITS = ("train", "validation", "test")
_LAYOUT = 2
_COLUMN_CHECKS = {
    "column_in_dataframe": "there is no column {}",
    "column_in_schema": "column {} is not in the schema",
}


@dataclass(frozen=True)
class Rows:
    """One split's arrays, memory-mapped: `inputs` by name, each [n, ...], and `target` [n] (class codes or float32)."""

    inputs: "dict[str, np.ndarray[Any, Any]]"
    target: "np.ndarray[Any, Any]"

    def __len__(self) -> int:
        return len(self.target)


def prepare(reference: str, config: Data, root: Path, fetch: Callable[[Path], bool] | None = None) -> Dataset:
    """Load the workload's rows and store them, split, under `root`; the same rows and knobs give the same folder.

    `fetch` is asked for a folder that is not here, and says whether it has put it there.
    Raises UserError for rows that break the schema, a target that cannot be learned, and inputs that do not fit.
    """
    workload = load_workload(reference)
    frame = load_valid(workload, config)
    digest = fingerprint(frame)
    folder = root / workload.name / f"{digest[:16]}-{_split_key(workload, config)}"
    if not (folder / "dataset.json").exists() and not (fetch is not None and fetch(folder)):
        _store(workload, frame, config, digest, folder)
    dataset = Dataset.model_validate_json((folder / "dataset.json").read_text())
    return dataset.model_copy(update={"folder": folder.resolve()})


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
    frame = _validated(workload, frame)
    _check_target(workload, frame)
    return frame


def read_split(dataset: Dataset, split: str) -> Rows:
    """One split's arrays, mapped and not read: a step takes what it touches."""
    import numpy as np

    folder = dataset.folder / split
    inputs = {spec.name: np.load(folder / f"{spec.name}.npy", mmap_mode="r") for spec in dataset.inputs}
    return Rows(inputs, np.load(folder / "target.npy", mmap_mode="r"))


def read_frame(dataset: Dataset, split: str) -> "pd.DataFrame":
    """One split's rows as people know them."""
    import pandas as pd

    return pd.read_parquet(dataset.folder / split / "frame.parquet")


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


def _validated(workload: Workload, frame: "pd.DataFrame") -> "pd.DataFrame":
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


def _store(workload: Workload, frame: "pd.DataFrame", config: Data, digest: str, folder: Path) -> None:
    """Write every split beside its final place and rename: the folder is whole or not there."""
    parts = split(frame, config, workload.time)
    if empty := [name for name, rows in parts.items() if rows.empty]:
        raise UserError(
            f"Workload {workload.name}: {len(frame)} rows leave none for {', '.join(empty)}; more rows or larger data.{empty[0]} are needed."
        )
    classes = _classes(workload, frame)
    folder.parent.mkdir(parents=True, exist_ok=True)
    temporary = Path(tempfile.mkdtemp(dir=folder.parent, prefix=".new-"))
    try:
        for name, rows in parts.items():
            specs = _write_split(workload, rows, classes, temporary / name)
        dataset = Dataset(
            workload=workload.name,
            folder=folder,
            fingerprint=digest,
            rows={name: len(rows) for name, rows in parts.items()},
            inputs=specs[:-1],
            target=specs[-1],
            classes=classes,
            newest=None if workload.time is None else str(frame[workload.time].max()),
        )
        (temporary / "dataset.json").write_text(dataset.model_dump_json(indent=1))
        _rename(temporary, folder)
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise


def _rename(temporary: Path, folder: Path) -> None:
    try:
        temporary.rename(folder)
    except OSError:
        if not (folder / "dataset.json").exists():
            raise
        shutil.rmtree(temporary)  # another run stored the same rows first
    sync_folder(folder.parent)


def split(frame: "pd.DataFrame", config: Data, time: str | None) -> "dict[str, pd.DataFrame]":
    """Rows to train, validation and test: by a hash of each row's content, or in order of the `time` column.

    Hashed: a row stays in its split as data grows, and duplicates never straddle two. By time: the test rows are the
    newest, and rows of one instant stay together.
    """
    import numpy as np

    if time is None:
        position = row_hashes(frame, config.salt) / 2.0**64
        bounds = (1 - config.validation - config.test, 1 - config.test)
    else:
        position = (frame[time].rank(method="min").to_numpy() - 1) / len(frame)
        bounds = (1 - config.validation - config.test, 1 - config.test)
    which = np.digitize(position, bounds)
    return {name: frame[which == index].reset_index(drop=True) for index, name in enumerate(SPLITS)}


def _classes(workload: Workload, frame: "pd.DataFrame") -> tuple[str, ...] | None:
    if workload.kind != "classification":
        return None
    return tuple(str(value) for value in sorted(frame[workload.target].unique()))


def _write_split(
    workload: Workload, rows: "pd.DataFrame", classes: tuple[str, ...] | None, folder: Path
) -> tuple[TensorSpec, ...]:
    import numpy as np

    folder.mkdir(parents=True)
    inputs = to_inputs(workload, rows)
    if classes is None:
        target = rows[workload.target].to_numpy("float32")
    else:
        codes = {name: code for code, name in enumerate(classes)}
        target = rows[workload.target].map(lambda value: codes[str(value)]).to_numpy("int64")
    rows.to_parquet(folder / "frame.parquet", index=False)
    for name, array in {**inputs, "target": target}.items():
        np.save(folder / f"{name}.npy", array, allow_pickle=False)
    return (
        *(_spec(workload, name, array) for name, array in inputs.items()),
        _spec(workload, "target", target),
    )


def _spec(workload: Workload, name: str, array: "np.ndarray[Any, Any]") -> TensorSpec:
    dynamic = {0: "batch", **workload.dynamic.get(name, {})}
    shape = tuple(dynamic.get(axis, size) for axis, size in enumerate(array.shape))
    return TensorSpec(name=name, dtype=str(array.dtype), shape=shape)


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


def _split_key(workload: Workload, config: Data) -> str:
    """What else decides the stored arrays: the split's knobs and the code that makes inputs of rows."""
    import hashlib
    import inspect

    code = inspect.getsource(inspect.getmodule(workload.inputs) or workload.inputs)
    text = json.dumps([_LAYOUT, config.model_dump(mode="json"), workload.time, code])
    return hashlib.sha256(text.encode()).hexdigest()[:8]


def _some(columns: "pd.Index[Any]") -> str:
    names = [str(c) for c in columns[:8]]
    return ", ".join(names) + (f" and {len(columns) - 8} more" if len(columns) > 8 else "")
