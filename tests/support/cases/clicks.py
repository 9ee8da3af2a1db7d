"""A packed LSTM: the lengths come as an input of their own."""

import numpy as np
import pandas as pd
import pandera.pandas as pa
import torch
from torch import nn
from torch.nn.utils.rnn import pack_padded_sequence

from tasks.config import Gates, Train
from tasks.workloads import Workload

L = 10


def load():
    g = np.random.default_rng(4)
    n = 500
    lens = g.integers(1, L + 1, n)
    toks = [g.integers(1, 20, k).tolist() for k in lens]
    return pd.DataFrame(
        {"tokens": [" ".join(map(str, t)) for t in toks], "y": [int(t[-1] > 10) for t in toks]}
    )


def inputs(f):
    out = np.zeros((len(f), L), "int64")
    lens = np.zeros(len(f), "int64")
    for i, t in enumerate(f["tokens"]):
        v = [int(x) for x in t.split()][:L]
        out[i, : len(v)] = v
        lens[i] = len(v)
    return {"tokens": out, "lengths": lens}


class Net(nn.Module):
    def __init__(self, d=16):
        super().__init__()
        self.e = nn.Embedding(20, d, padding_idx=0)
        self.r = nn.LSTM(d, d, batch_first=True, bidirectional=True)
        self.h = nn.Linear(2 * d, 2)

    def forward(self, tokens, lengths):
        packed = pack_padded_sequence(self.e(tokens), lengths.cpu(), batch_first=True, enforce_sorted=False)
        _, (h, _) = self.r(packed)
        return self.h(torch.cat([h[0], h[1]], 1))


workload = Workload(
    name="clicks",
    kind="classification",
    load=load,
    schema=pa.DataFrameSchema({"y": pa.Column("int64")}),
    target="y",
    inputs=inputs,
    model=Net,
    train=Train(epochs=6, lr=1e-2),
    gates=Gates(),
)
