"""Dots left and right of a line: a workload whose retraining takes three seconds, for drills that retrain a thousand times."""

from typing import Any

import numpy as np
import pandas as pd
import pandera.pandas as pa
from torch import nn

from tasks.config import Gates, Train
from tasks.workloads.workload import Workload


def load() -> pd.DataFrame:
    dots = np.random.default_rng(7).normal(size=(400, 2)).astype("float32")
    right = dots[:, 0] > 0
    return pd.DataFrame(
        {
            "x": dots[:, 0] + np.where(right, 2, -2).astype("float32"),
            "y": dots[:, 1],
            "side": right.astype("int64"),
        }
    )


def inputs(frame: pd.DataFrame) -> dict[str, np.ndarray[Any, Any]]:
    return {"dot": frame[["x", "y"]].to_numpy("float32")}


def schema() -> pa.DataFrameSchema:
    number = pa.Column("float32")
    return pa.DataFrameSchema({"x": number, "y": number, "side": pa.Column("int64", pa.Check.isin([0, 1]))})


class Line(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.line = nn.Linear(2, 2)

    def forward(self, dot):  # type: ignore[no-untyped-def]
        return self.line(dot)


workload = Workload(
    name="dots",
    kind="classification",
    load=load,
    schema=schema,
    target="side",
    inputs=inputs,
    model=Line,
    recipes=(),
    train=Train(epochs=2, patience=None, lr=0.5, batch_size=128, threads=1, checkpoint_seconds=0.0),
    gates=Gates(min_score=0.8, margin=0.1),
)
