"""Modules whose export people report on: each is one attribute (ops.py:NAME)."""

import numpy as np
import pandas as pd
import pandera.pandas as pa
import torch
from torch import nn
from torch.nn import functional as F

from tasks.config import Gates, Train
from tasks.workloads import Workload


def load():
    g = np.random.default_rng(2)
    n = 400
    y = g.integers(0, 2, n)
    x = g.normal(size=(n, 144))
    x[y == 1, :40] += 0.7
    f = pd.DataFrame({"pixels": [a.astype("float32") for a in x], "y": y})
    for i in range(4):
        f[f"w{i}"] = g.integers(0, 12, n)
    return f


def image(f):
    return {"image": np.stack(f["pixels"].to_list()).reshape(-1, 1, 12, 12).astype("float32")}


def words(f):
    return {"words": f[[f"w{i}" for i in range(4)]].to_numpy("int32")}


base = dict(
    kind="classification",
    load=load,
    schema=pa.DataFrameSchema({"y": pa.Column("int64")}),
    target="y",
    train=Train(epochs=1),
    recipes=(),
    gates=Gates(),
)


class Branch(nn.Module):
    """A cheap way out for dark pictures: decided by the values of the whole batch."""

    def __init__(self):
        super().__init__()
        self.a = nn.Linear(144, 2)
        self.b = nn.Sequential(nn.Linear(144, 8), nn.ReLU(), nn.Linear(8, 2))

    def forward(self, image):
        flat = image.flatten(1)
        if flat.mean() > 0.1:
            return self.a(flat)
        return self.b(flat)


class Antialias(nn.Module):
    def __init__(self):
        super().__init__()
        self.c = nn.Conv2d(1, 4, 3)
        self.h = nn.Linear(4, 2)

    def forward(self, image):
        x = F.interpolate(image, size=(20, 20), mode="bicubic", align_corners=False, antialias=True)
        return self.h(self.c(x).mean((2, 3)))


class Spatial(nn.Module):
    """A spatial transformer: affine_grid and grid_sample."""

    def __init__(self):
        super().__init__()
        self.loc = nn.Linear(144, 6)
        nn.init.zeros_(self.loc.weight)
        self.loc.bias.data.copy_(torch.tensor([1.0, 0, 0, 0, 1, 0]))
        self.c = nn.Conv2d(1, 4, 3)
        self.h = nn.Linear(4, 2)

    def forward(self, image):
        grid = F.affine_grid(self.loc(image.flatten(1)).view(-1, 2, 3), image.size(), align_corners=False)
        return self.h(self.c(F.grid_sample(image, grid, align_corners=False)).amax((2, 3)))


class MaxNorm(nn.Module):
    def __init__(self):
        super().__init__()
        self.e = nn.Embedding(12, 8, max_norm=1.0)
        self.h = nn.Linear(8, 2)

    def forward(self, words):
        return self.h(self.e(words).mean(1))


class Counter(nn.Module):
    """Counts its calls in a buffer, in evaluation too."""

    def __init__(self):
        super().__init__()
        self.register_buffer("calls", torch.zeros(()))
        self.e = nn.Embedding(12, 8)
        self.h = nn.Linear(8, 2)

    def forward(self, words):
        self.calls += 1
        return self.h(self.e(words).mean(1))


class NoStats(nn.Module):
    """Batch normalisation without running statistics: a row's answer hangs on its neighbours."""

    def __init__(self):
        super().__init__()
        self.n = nn.BatchNorm1d(144, track_running_stats=False)
        self.h = nn.Linear(144, 2)

    def forward(self, image):
        return self.h(self.n(image.flatten(1)))


class Lazy(nn.Module):
    def __init__(self):
        super().__init__()
        self.c = nn.LazyConv2d(6, 3)
        self.n = nn.LazyBatchNorm2d()
        self.h = nn.LazyLinear(2)

    def forward(self, image):
        return self.h(self.n(self.c(image)).flatten(1))


class Unique(nn.Module):
    """Distances to each other: an output that is not a row a row inside."""

    def __init__(self):
        super().__init__()
        self.p = nn.Parameter(torch.randn(5, 144))
        self.h = nn.Linear(5, 2)

    def forward(self, image):
        return self.h(torch.cdist(image.flatten(1), self.p).softmax(-1))


branch = Workload(name="branch", inputs=image, model=Branch, **base)
antialias = Workload(name="antialias", inputs=image, model=Antialias, **base)
spatial = Workload(name="spatial", inputs=image, model=Spatial, **base)
maxnorm = Workload(name="maxnorm", inputs=words, model=MaxNorm, **base)
counter = Workload(name="counter", inputs=words, model=Counter, **base)
nostats = Workload(name="nostats", inputs=image, model=NoStats, **base)
lazy = Workload(name="lazy", inputs=image, model=Lazy, **base)
cdist = Workload(name="cdist", inputs=image, model=Unique, **base)
