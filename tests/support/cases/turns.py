"""Recurrent classifier that hands its state back, and an attention pooling that returns None for its weights."""

import numpy as np
import pandas as pd
import pandera.pandas as pa
from torch import nn

from tasks.config import Gates, Train
from tasks.workloads import Workload


def load():
    g = np.random.default_rng(2)
    x = g.integers(0, 9, (400, 6))
    return pd.DataFrame(x, columns=[f"t{i}" for i in range(6)]).assign(y=(x[:, 0] > 4).astype("int64"))


def inputs(f):
    return {"tokens": f[[f"t{i}" for i in range(6)]].to_numpy("int64")}


class State(nn.Module):
    def __init__(self):
        super().__init__()
        self.e = nn.Embedding(9, 8)
        self.r = nn.LSTM(8, 8, batch_first=True)
        self.h = nn.Linear(8, 2)

    def forward(self, tokens):
        out, (h, c) = self.r(self.e(tokens))
        return self.h(out[:, -1]), (h[-1], c[-1])


class Attend(nn.Module):
    def __init__(self):
        super().__init__()
        self.e = nn.Embedding(9, 8)
        self.r = nn.MultiheadAttention(8, 2, batch_first=True)
        self.h = nn.Linear(8, 2)

    def forward(self, tokens):
        e = self.e(tokens)
        out, weights = self.r(e, e, e, need_weights=False)
        return self.h(out.mean(1)), weights


base = dict(
    kind="classification",
    load=load,
    schema=pa.DataFrameSchema({"y": pa.Column("int64")}),
    target="y",
    inputs=inputs,
    train=Train(epochs=1),
    recipes=(),
    gates=Gates(),
)
workload = Workload(name="turns", model=State, **base)
nothing = Workload(name="turns-none", model=Attend, **base)
