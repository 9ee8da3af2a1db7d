"""What data is, in 64 hex digits: columns, dtypes and every cell; the same on every machine."""

import hashlib
import json
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd


def fingerprint(frame: "pd.DataFrame") -> str:
    """SHA-256 over the columns' names and dtypes, and each column's cells in order, as 64 hex digits."""
    digest = hashlib.sha256()
    for name in frame.columns:
        column = frame[name]
        digest.update(json.dumps([str(name), str(column.dtype), len(column)]).encode())
        digest.update(_cells(column))
    return digest.hexdigest()


def row_hashes(frame: "pd.DataFrame", salt: str = "") -> "np.ndarray[Any, np.dtype[np.uint64]]":
    """A uint64 for each row, [n], from its content alone: not from its place, its index or the order of columns."""
    import numpy as np
    import pandas as pd

    key = hashlib.sha256(salt.encode()).hexdigest()[:16]
    hashes = np.zeros(len(frame), "uint64")
    for name in sorted(map(str, frame.columns)):
        column = frame[name] if name in frame.columns else frame[int(name)]
        cells = pd.util.hash_pandas_object(_plain(column), index=False, hash_key=key, categorize=True).to_numpy("uint64")
        hashes = _mix(hashes ^ cells)
    return hashes


def _mix(values: "np.ndarray[Any, np.dtype[np.uint64]]") -> "np.ndarray[Any, np.dtype[np.uint64]]":
    """splitmix64's finaliser, so that each column's bits reach all of the result (Steele et al. 2014)."""
    import numpy as np

    values = values + np.uint64(0x9E3779B97F4A7C15)
    values = (values ^ (values >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    values = (values ^ (values >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return values ^ (values >> np.uint64(31))


def _cells(column: "pd.Series[Any]") -> bytes:
    """A column's cells as bytes: numbers little-endian, everything else as length-prefixed UTF-8; missing ones apart."""
    import numpy as np

    plain = _plain(column)
    missing = plain.isna().to_numpy()
    if plain.dtype.kind in "iufb":
        array = plain.to_numpy()
        cells = np.where(missing, 0, array) if missing.any() else array
        return np.packbits(missing).tobytes() + np.ascontiguousarray(cells, dtype=array.dtype.newbyteorder("<")).tobytes()
    texts = [b"" if gone else str(value).encode() for value, gone in zip(plain, missing, strict=True)]
    lengths = np.array([len(text) for text in texts], "<i8")
    return np.packbits(missing).tobytes() + lengths.tobytes() + b"".join(texts)


def _plain(column: "pd.Series[Any]") -> "pd.Series[Any]":
    """The same values in a dtype whose bytes are defined: times in nanoseconds, categories and objects as text."""
    import pandas as pd

    if pd.api.types.is_datetime64_any_dtype(column.dtype):
        naive = column.dt.tz_convert("UTC").dt.tz_localize(None) if getattr(column.dtype, "tz", None) else column
        return naive.astype("datetime64[ns]").astype("int64")
    if isinstance(column.dtype, pd.CategoricalDtype) or column.dtype == object:
        return column.astype("string[python]")
    if pd.api.types.is_extension_array_dtype(column.dtype) and pd.api.types.is_numeric_dtype(column.dtype):
        return column.astype("float64") if column.isna().any() else column.astype(column.dtype.name.lower())
    return column
