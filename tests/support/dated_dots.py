"""Dots of six months, of which the side that is right moves: a past whose retrainings take seconds; in April nobody could learn it."""

import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pandera.pandas as pa

sys.path.insert(0, str(Path(__file__).parents[1] / "bench"))
from dots import workload as dots

from tasks.config import Gates, Train

A_DAY = 8


def load() -> pd.DataFrame:
    days = pd.date_range("2026-01-01", "2026-06-30", freq="D").repeat(A_DAY)
    random = np.random.default_rng(5)
    x, y = random.normal(size=(2, len(days))).astype("float32")
    turned = (days.month - 1) * 0.3
    side = (x * np.cos(turned) + y * np.sin(turned) > 0).astype("int64")
    drawn = random.integers(0, 2, len(days))
    return pd.DataFrame({"x": x, "y": y, "side": np.where(days.month == 4, drawn, side), "day": days})


def schema() -> pa.DataFrameSchema:
    number = pa.Column("float32")
    return pa.DataFrameSchema({"x": number, "y": number, "side": pa.Column("int64", pa.Check.isin([0, 1]))})


workload = replace(
    dots,
    name="dated-dots",
    load=load,
    schema=schema,
    time="day",
    train=Train(epochs=8, patience=None, lr=0.05, batch_size=32, threads=1, weight_decay=0.0),
    gates=Gates(min_score=0.7, margin=0.2),
)
