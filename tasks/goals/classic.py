"""Columns whose cells are the same are read alike, whether numpy, pandas' nullable types or Arrow hold them."""

from typing import Any

import pandas as pd
import pyarrow as pa

_NULLABLE = {"bool": "boolean", "float32": "Float32", "float64": "Float64"}
_NULLABLE |= {f"{u}int{bits}": f"{u.upper()}Int{bits}" for u in ("", "u") for bits in (8, 16, 32, 64)}


def classic(column: "pd.Series[Any]") -> "pd.Series[Any]":
    """An Arrow or sparse column as pandas' own types hold it; whole numbers with gaps stay whole. Others are as they are."""
    dtype = column.dtype
    if isinstance(dtype, pd.SparseDtype):
        return column.sparse.to_dense()
    if not isinstance(dtype, pd.ArrowDtype):
        return column
    if not pa.types.is_decimal(dtype.pyarrow_dtype) and (nullable := _NULLABLE.get(str(dtype.numpy_dtype))):
        return column.astype(nullable)
    return pd.Series(pa.array(column.array).to_pandas().array, index=column.index, name=column.name)


def dtype_name(column: "pd.Series[Any]") -> str:
    """What a column's type is called in a fingerprint: int64, whichever of the three holds it, and Int64 where it has gaps."""
    plain = classic(column)
    dtype = plain.dtype
    if isinstance(dtype, pd.StringDtype):
        return "str"
    if not (pd.api.types.is_numeric_dtype(dtype) and pd.api.types.is_extension_array_dtype(dtype)):
        return str(dtype)
    return str(dtype if dtype.kind != "f" and plain.hasnans else dtype.numpy_dtype)
