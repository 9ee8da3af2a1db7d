"""Rows read with Arrow-backed dtypes; the time column has a zone; a column of whole numbers has gaps."""

import io

import numpy as np
import pandas as pd
import pandera.pandas as pa
import torch
from torch import nn

from tasks.config import Train
from tasks.workloads import Workload


def parquet() -> io.BytesIO:
    random, rows = np.random.default_rng(7), 800
    quantity = pd.array(random.integers(1, 9, rows), dtype="Int64")
    quantity[::17] = pd.NA
    frame = pd.DataFrame(
        {
            "at": pd.date_range("2025-01-01", periods=rows, freq="h", tz="Europe/Berlin"),
            "quantity": quantity,
            "price": random.gamma(2, 5, rows),
            "late": random.random(rows) > 0.7,
        }
    )
    return io.BytesIO(frame.to_parquet())


def arrow() -> pd.DataFrame:
    return pd.read_parquet(parquet(), dtype_backend="pyarrow")


def arrow_without_zone() -> pd.DataFrame:
    frame = arrow()
    return frame.assign(at=frame["at"].dt.tz_localize(None))


def inputs(frame: pd.DataFrame) -> "dict[str, np.ndarray]":
    quantity = frame["quantity"]
    columns = [quantity.fillna(0), frame["price"], quantity.isna()]
    return {"x": np.stack([column.to_numpy("float32") for column in columns], 1)}


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(3, 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        outputs: torch.Tensor = self.layer(x)
        return outputs


def orders(name: str, load: "object", time: str | None = "at") -> Workload:
    return Workload(
        name=name,
        kind="classification",
        load=load,  # type: ignore[arg-type]
        schema=pa.DataFrameSchema({"late": pa.Column(nullable=False)}),
        target="late",
        time=time,
        inputs=inputs,
        model=Net,
        train=Train(epochs=1, threads=1),
        recipes=(),
    )


workload = orders("orders", arrow)
hashed = orders("orders-hashed", arrow, time=None)
without_zone = orders("orders-without-zone", arrow_without_zone)
nullable = orders("orders-nullable", lambda: pd.read_parquet(parquet(), dtype_backend="numpy_nullable"))
classic = orders("orders-classic", lambda: pd.read_parquet(parquet()))
