"""Rotary positions whose cosines are made in the first forward pass and kept, as many implementations do."""

import numpy as np
import pandas as pd
import pandera.pandas as pa
import torch
from torch import nn
from torch.nn import functional as F

from tasks.config import Gates, Train
from tasks.workloads import Workload

L = 8


def load():
    g = np.random.default_rng(4)
    t = g.integers(0, 20, (500, L))
    return pd.DataFrame(t, columns=[f"t{i}" for i in range(L)]).assign(y=(t[:, 0] > t[:, -1]).astype("int64"))


def inputs(f):
    return {"tokens": f[[f"t{i}" for i in range(L)]].to_numpy("int64")}


class Rotary(nn.Module):
    def __init__(self, d):
        super().__init__()
        self.d = d
        self.kept = None

    def forward(self, x):
        if self.kept is None or self.kept[0].shape[0] != x.shape[1]:
            angle = torch.outer(
                torch.arange(x.shape[1]).float(), 10000 ** (-torch.arange(0, self.d, 2).float() / self.d)
            ).repeat_interleave(2, 1)
            self.kept = (angle.cos(), angle.sin())
        cos, sin = self.kept
        turned = torch.stack([-x[..., 1::2], x[..., ::2]], -1).flatten(-2)
        return x * cos + turned * sin


class Net(nn.Module):
    def __init__(self, d=16):
        super().__init__()
        self.e = nn.Embedding(20, d)
        self.q = nn.Linear(d, 3 * d)
        self.r = Rotary(d)
        self.h = nn.Linear(d, 2)

    def forward(self, tokens):
        q, k, v = self.q(self.e(tokens)).chunk(3, -1)
        return self.h(F.scaled_dot_product_attention(self.r(q), self.r(k), v).mean(1))


class Causal(nn.Module):
    """The mask is made once and kept."""

    def __init__(self, d=16):
        super().__init__()
        self.e = nn.Embedding(20, d)
        self.q = nn.Linear(d, 3 * d)
        self.mask = None
        self.h = nn.Linear(d, 2)

    def forward(self, tokens):
        q, k, v = self.q(self.e(tokens)).chunk(3, -1)
        if self.mask is None:
            self.mask = torch.triu(torch.ones(L, L), 1) * -1e9
        return self.h((((q @ k.mT) / 4 + self.mask).softmax(-1) @ v)[:, -1])


base = dict(
    kind="classification",
    load=load,
    schema=pa.DataFrameSchema({"y": pa.Column("int64")}),
    target="y",
    inputs=inputs,
    train=Train(epochs=2, lr=1e-2),
    recipes=(),
    gates=Gates(),
)
workload = Workload(name="rope", model=Net, **base)
causal = Workload(name="causal", model=Causal, **base)
