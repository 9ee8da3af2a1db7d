"""What data is, in 64 hex digits: columns, dtypes and every cell; the same on every machine."""

import hashlib
import json
from typing import Any

import numpy as np
import pandas as pd

from tasks.goals.classic import classic, dtype_name


def fingerprint(frame: pd.DataFrame) -> str:
    """SHA-256 over the columns' names and types, and each column's cells in order, as 64 hex digits.

    Numpy's, pandas' nullable and Arrow's column of the same cells count the same.
    """
    digest = hashlib.sha256()
    for name in frame.columns:
        column = frame[name]
        digest.update(json.dumps([str(name), dtype_name(column), len(column)]).encode())
        digest.update(_cells(column))
    return digest.hexdigest()


def row_hashes(frame: pd.DataFrame, salt: str = "") -> np.ndarray[Any, np.dtype[np.uint64]]:
    """A uint64 for each row, [n], from its content alone: not from its place, its index or the order of columns."""
    digest = hashlib.sha256(salt.encode()).hexdigest()
    # pandas has its key in the hashes of text alone, so a salt is in what every row begins with, too.
    hashes = np.full(len(frame), int(digest[16:32], 16) if salt else 0, np.uint64)
    for name in sorted(frame.columns, key=str):
        values, missing = _plain(frame[name])
        cells = pd.util.hash_pandas_object(values, index=False, hash_key=digest[:16], categorize=True)
        hashes = _mix(np.bitwise_xor(hashes, np.where(missing, np.uint64(0), cells)))
    return hashes


def _mix(values: np.ndarray[Any, np.dtype[np.uint64]]) -> np.ndarray[Any, np.dtype[np.uint64]]:
    """splitmix64's finaliser, so that each column's bits reach all of the result (Steele et al. 2014)."""
    values = values + np.uint64(0x9E3779B97F4A7C15)
    values = (values ^ (values >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    values = (values ^ (values >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return values ^ (values >> np.uint64(31))


def _cells(column: "pd.Series[Any]") -> bytes:
    """A column's cells as bytes: which are missing, then numbers little-endian or length-prefixed UTF-8."""
    values, missing = _plain(column)
    mask = np.packbits(missing).tobytes()
    array = values.to_numpy()
    if array.dtype.kind in "iufb":
        return mask + np.ascontiguousarray(array, dtype=array.dtype.newbyteorder("<")).tobytes()
    texts = [str(value).encode() for value in array]
    return mask + np.array([len(text) for text in texts], "<i8").tobytes() + b"".join(texts)


def _plain(column: "pd.Series[Any]") -> "tuple[pd.Series[Any], np.ndarray[Any, np.dtype[np.bool_]]]":
    """A column as numbers or text whose bytes are defined, and which cells are missing (zero or empty in the first).

    A cell's bytes do not depend on other cells, so that a row keeps its hash when rows with gaps come in.
    """
    column = classic(column)
    missing = column.isna().to_numpy(bool)
    dtype = column.dtype
    if pd.api.types.is_datetime64_any_dtype(dtype):
        naive = column.dt.tz_convert("UTC").dt.tz_localize(None) if getattr(dtype, "tz", None) else column
        return _nanoseconds(naive.fillna(pd.Timestamp(0))), missing
    if pd.api.types.is_numeric_dtype(dtype):
        plain = dtype.numpy_dtype if pd.api.types.is_extension_array_dtype(dtype) else dtype
        return (column.fillna(plain.type(0)) if missing.any() else column).astype(plain), missing
    texts = column.map(_text, na_action="ignore") if pd.api.types.is_object_dtype(dtype) else column
    return texts.astype("str").fillna("").where(~missing, ""), missing


def _nanoseconds(moments: "pd.Series[Any]") -> "pd.Series[Any]":
    """Since 1970, as int64; a moment beyond the 292 years that it holds wraps around, and stays one of its own."""
    return moments.astype("int64") * {"s": 10**9, "ms": 10**6, "us": 10**3, "ns": 1}[moments.dt.unit]


def _text(value: Any) -> str:
    """A cell as text that has all of it: numpy's own leaves out the middle of a long array."""
    nested = isinstance(value, bytes | bytearray | list | tuple | dict | np.ndarray)
    return _whole(value) if nested else str(value)


def _whole(value: Any) -> str:
    if isinstance(value, bytes | bytearray):
        return hashlib.sha256(value).hexdigest()
    if isinstance(value, dict):
        return f"{{{', '.join(f'{key!r}: {_whole(inner)}' for key, inner in value.items())}}}"
    if isinstance(value, list | tuple) or (isinstance(value, np.ndarray) and value.dtype == object):
        return f"[{', '.join(map(_whole, value))}]"
    if isinstance(value, np.ndarray):
        return f"{value.dtype}{list(value.shape)}{hashlib.sha256(np.ascontiguousarray(value).tobytes()).hexdigest()}"
    return repr(value)
