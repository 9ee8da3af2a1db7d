"""Workload → Dataset: load, validate, fingerprint and split rows, and store them where any machine can map them."""

import hashlib
import json
import shutil
import tempfile
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
from pyarrow import ArrowException

from tasks.config import Data
from tasks.data.arrays import (
    GROUP,
    WEIGHT,
    Samples,
    arrays_of,
    learn,
    look_at,
    sampling_arrays,
    spec_of,
    target_name,
)
from tasks.data.asked import CODEC, AskedRows, asked_values, store_codec, with_codec
from tasks.data.fingerprint import fingerprint
from tasks.data.schema import load_valid
from tasks.data.splits import SPLITS, split
from tasks.data.streaming import Written, stream_fingerprint, write_stream
from tasks.data.times import instants, newest_of, shared_instant
from tasks.errors import StepError, UserError
from tasks.records import Dataset
from tasks.system.files import sha256_of, sync_folder
from tasks.workloads.catalogue import load_workload
from tasks.workloads.dependencies import workload_sources
from tasks.workloads.sources import Stream
from tasks.workloads.workload import Workload

Write = Callable[[Path], Written]

_LAYOUT = 2

_CODE = "code.txt"


def prepare(
    reference: str,
    config: Data,
    root: Path,
    fetch: Callable[[Path], bool] | None = None,
    code: str = "",
    fresh: bool = False,
) -> Dataset:
    """Load the workload's rows and store them, split, under `root`; the same rows and knobs give the same folder.

    What other `code` has stored there is stored anew (without it, taken as it is), and so is anything when it is to be `fresh`.
    `fetch` is asked for a folder that is not here, and says whether it has put it there. A source that streams is
    never whole in memory. Raises UserError for rows that break the schema, a target that cannot be learned, and inputs
    that do not fit.
    """
    workload = load_workload(reference)
    digest, write = _source(workload, config, root)
    folder = root / workload.name / f"{digest[:16]}-{_split_key(reference, workload, config)}"
    made = _made_by(folder) or (_made_by(folder) if fetch is not None and fetch(folder) else "")
    if fresh or not made or (code and made != code):
        _store(workload, digest, folder, write, code or "unknown", fresh)
    dataset = Dataset.model_validate_json((folder / "dataset.json").read_text())
    return dataset.model_copy(update={"folder": folder.resolve()})


def data_fingerprint(workload: Workload, config: Data, root: Path) -> str:
    """The fingerprint that `prepare` would find, without storing any rows."""
    return _source(workload, config, root)[0]


def read_split(dataset: Dataset, split: str) -> Samples:
    """One split's arrays, mapped and not read: a step takes what it touches."""
    folder = _folder(dataset, split)
    inputs = {spec.name: np.load(folder / f"{spec.name}.npy", mmap_mode="r") for spec in dataset.inputs}
    names = [target_name(place) for place in range(len(dataset.fitted))]
    target, *others = (np.load(folder / f"{name}.npy", mmap_mode="r") for name in names)
    group, weight = (
        np.load(path, mmap_mode="r") if (path := folder / f"{name}.npy").exists() else None
        for name in (GROUP, WEIGHT)
    )
    return Samples(inputs, target, tuple(others), group, weight)


def read_frame(dataset: Dataset, split: str) -> pd.DataFrame:
    """One split's rows as people know them."""
    return pd.read_parquet(_folder(dataset, split) / "frame.parquet")


def _folder(dataset: Dataset, split: str) -> Path:
    """Raises StepError for rows that this record does not hand out: a search may not see those that judge."""
    if split not in dataset.rows:
        raise StepError(f"The {split} rows are not among those that this step may see.")
    return dataset.folder / split


def asked_rows(dataset: Dataset, split: str, most: int) -> AskedRows:
    """The first rows of a split as a request brings them, and as the tensors that it comes to."""
    inputs = read_split(dataset, split)[:most].inputs
    if dataset.codec is None:
        return AskedRows(inputs, specs=dataset.asked)
    decoder, values = asked_values(dataset, read_frame(dataset, split)[:most])
    return AskedRows(inputs, values, decoder, dataset.asked)


def _source(workload: Workload, config: Data, root: Path) -> tuple[str, Write]:
    """The fingerprint of the workload's rows, and what stores them."""
    if isinstance(workload.load, Stream):
        workload.check_data(config)
        digest = stream_fingerprint(workload.load, root)
        return with_codec(digest, workload.reading), partial(write_stream, workload, workload.load, config)
    frame = load_valid(workload, config)
    return with_codec(fingerprint(frame), workload.reading), partial(_write_frame, workload, frame, config)


def _made_by(folder: Path) -> str:
    """The code that stored a dataset here; "" when there is none, and a name that no code has when it did not say."""
    if not (folder / "dataset.json").exists():
        return ""
    note = folder / _CODE
    return note.read_text() if note.exists() else "unknown"


def _store(workload: Workload, digest: str, folder: Path, write: Write, code: str, fresh: bool) -> None:
    """Write every split beside its final place and rename: the folder is whole or not there."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    temporary = Path(tempfile.mkdtemp(dir=folder.parent, prefix=".new-"))
    try:
        written = write(temporary)
        if empty := [name for name in SPLITS if not written.rows.get(name)]:
            raise UserError(f"Workload {workload.name}: {_why_empty(workload, written, empty)}")
        specs = [spec_of(workload, name, array) for name, array in written.arrays.items()]
        inputs, targets = specs[: -len(written.fitted)], specs[-len(written.fitted) :]
        dataset = Dataset(
            workload=workload.name,
            folder=folder,
            fingerprint=digest,
            rows=written.rows,
            inputs=tuple(inputs),
            target=targets[0],
            classes=written.fitted[0].classes,
            others=tuple(zip(targets[1:], written.fitted[1:], strict=True)),
            newest=written.newest,
            codec=store_codec(workload.reading, temporary / CODEC),
            arrays_sha256=_digest_of_all(temporary),
        )
        (temporary / "dataset.json").write_text(dataset.model_dump_json(indent=1))
        (temporary / _CODE).write_text(code)
        _rename(temporary, folder, replacing=fresh or _made_by(folder) != code)
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise


def _write_frame(workload: Workload, frame: pd.DataFrame, config: Data, folder: Path) -> Written:
    """Every split's arrays and Parquet, from rows in memory."""
    fitted = learn(workload, [look_at(workload, frame)])
    cut = split(frame, config, workload.sampling, workload.train is not None)
    parts = {name: rows for name, rows in cut.items() if len(rows)}
    for name, rows in parts.items():
        (folder / name).mkdir()
        arrays = arrays_of(workload, rows, fitted)
        _write_parquet(workload, rows, folder / name / "frame.parquet")
        for array_name, array in {**arrays, **sampling_arrays(rows, workload.sampling)}.items():
            np.save(folder / name / f"{array_name}.npy", array, allow_pickle=False)
    rows = {name: len(part) for name, part in parts.items()}
    if workload.time is None:
        return Written(rows, arrays, fitted, None)
    times = frame[workload.time]
    return Written(rows, arrays, fitted, newest_of(times), shared_instant(instants(times)))


def _why_empty(workload: Workload, written: Written, empty: Sequence[str]) -> str:
    """Why splits have no rows: too few, or rows of one instant, which stay together."""
    total, shared = sum(written.rows.values()), written.shared
    if shared is not None and shared.rows > 1:
        return (
            f"{total} rows leave none for {', '.join(empty)}, for {shared.rows} of them are of one {workload.time!r} ({shared.instant}) "
            "and stay together: give a finer time, or leave out time= so that rows are split by a hash of their content."
        )
    return f"{total} rows leave none for {', '.join(empty)}; more rows or larger data.{empty[0]} are needed."


def _write_parquet(workload: Workload, rows: pd.DataFrame, path: Path) -> None:
    """For people, and for what is explained later. Raises UserError for cells that Parquet does not take."""
    rows = rows.copy(deep=False)
    rows.attrs = {}  # anything may be in them, and Parquet takes JSON alone
    try:
        rows.to_parquet(path, index=False)
    except ArrowException as error:
        reason = " ".join(" ".join(map(str, error.args)).split()).rstrip(".")
        raise UserError(
            f"Workload {workload.name}: load() gave cells that cannot be stored as Parquet ({reason[:300]}): give numbers, "
            "text, dates or one-dimensional arrays, and reshape them in inputs()."
        ) from error


def _digest_of_all(folder: Path) -> str:
    files = sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())
    parts = [[name, sha256_of(folder / name)] for name in files]
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()


def _rename(temporary: Path, folder: Path, replacing: bool) -> None:
    if replacing and (folder / "dataset.json").exists():
        (folder / "dataset.json").unlink()  # first: without it, what is half removed is no dataset
        shutil.rmtree(folder)
    try:
        temporary.rename(folder)
    except OSError:
        if not (folder / "dataset.json").exists():
            raise
        shutil.rmtree(temporary)  # another run stored the same rows first
    sync_folder(folder.parent)


def _split_key(reference: str, workload: Workload, config: Data) -> str:
    """What else decides the stored arrays: the split's knobs and the workload's code, which makes inputs of rows."""
    (_, own), *helpers = workload_sources(reference).items()
    rows = workload.sampling
    cut = rows.time if (rows.group, rows.gap, rows.weight) == (None, 0, None) else repr(rows)
    text = json.dumps([_LAYOUT, config.model_dump(mode="json"), cut, own, helpers])
    return hashlib.sha256(text.encode()).hexdigest()[:8]
