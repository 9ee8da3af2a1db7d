"""Frames as they come: no header, a nested column, gaps in whole numbers, one instant for most rows, anything in attrs."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pandera.pandas as pa
import torch
from torch import nn

from tasks.config import Train
from tasks.workloads import Workload

ROWS = 300
random = np.random.default_rng(3)
X = random.normal(size=(ROWS, 2))
PLAIN = pd.DataFrame({"a": X[:, 0], "b": X[:, 1], "y": (X.sum(1) > 0).astype("int64")})


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(2, 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        outputs: torch.Tensor = self.layer(x)
        return outputs


def workload(name: str, load: Callable[[], pd.DataFrame], columns: Any = ("a", "b"), **more: Any) -> Workload:
    def inputs(frame: pd.DataFrame) -> "dict[str, np.ndarray[Any, Any]]":
        values = frame[[*columns]].to_numpy("float32") if len(columns) > 1 else np.stack([*frame[columns[0]]])
        return {"x": values.astype("float32")}

    given = {
        "schema": pa.DataFrameSchema({}),
        "target": "y",
        "train": Train(epochs=1, threads=1),
        "recipes": (),
    }
    return Workload(
        name=name, kind="classification", load=load, inputs=inputs, model=Net, **{**given, **more}
    )


def with_attrs() -> pd.DataFrame:
    frame = PLAIN.copy()
    frame.attrs["source"] = Path("/data/rows.csv")
    return frame


def with_durations() -> pd.DataFrame:
    took, month = pd.to_timedelta(np.arange(ROWS), "s"), pd.period_range("2020-01", periods=ROWS, freq="M")
    return PLAIN.assign(took=took, month=month)


def with_gaps() -> pd.DataFrame:
    k = pd.array(random.integers(0, 5, ROWS), dtype="Int64")
    k[::9] = pd.NA
    return PLAIN.assign(k=k)


day = pd.to_datetime(np.where(np.arange(ROWS) < 60, "2025-01-01", "2025-01-02"))
headless = workload("headless", lambda: PLAIN.set_axis([0, 1, 2], axis=1), (0, 1), target=2)
mixed = workload("mixed", lambda: PLAIN.set_axis([0, 1, "y"], axis=1), (0, 1))
attrs = workload("attrs", with_attrs)
instants = workload("instants", lambda: PLAIN.assign(day=day), time="day")
durations = workload("durations", with_durations, time="month")
nested = workload("nested", lambda: PLAIN.assign(a=[*X.tolist()], tags=[[["x"], ["y", "z"]]] * ROWS), ("a",))
gaps = workload("gaps", with_gaps, ("a", "k"))
