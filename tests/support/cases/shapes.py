"""Transfer learning: a frozen body and a head that learns; pruning must leave the body's weights what they were."""

import numpy as np
import pandas as pd
import pandera.pandas as pa
from torch import nn

from tasks.config import Gates, Recipe, Train
from tasks.workloads import Workload


def load():
    g = np.random.default_rng(2)
    n = 600
    y = g.integers(0, 2, n)
    x = g.normal(size=(n, 1, 12, 12)).astype("float32")
    x[y == 1, :, 3:6, 3:6] += 1.5
    return pd.DataFrame({"pixels": [a.reshape(-1) for a in x], "y": y})


def inputs(f):
    return {"image": np.stack(f["pixels"].to_list()).reshape(-1, 1, 12, 12).astype("float32")}


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(1, 16, 3),
            nn.BatchNorm2d(16),
            nn.ReLU(),
            nn.Conv2d(16, 16, 3, groups=16),
            nn.Conv2d(16, 32, 1),
            nn.BatchNorm2d(32),
            nn.ReLU(),
            nn.AdaptiveAvgPool2d(1),
            nn.Flatten(),
        )
        for p in self.body.parameters():
            p.requires_grad_(False)
        self.head = nn.Sequential(nn.Linear(32, 32), nn.ReLU(), nn.Linear(32, 2))

    def forward(self, image):
        return self.head(self.body(image))


workload = Workload(
    name="shapes",
    kind="classification",
    load=load,
    schema=pa.DataFrameSchema({"y": pa.Column("int64")}),
    target="y",
    inputs=inputs,
    model=Net,
    train=Train(epochs=2, lr=5e-3),
    gates=Gates(),
    recipes=(
        Recipe.model_validate({"name": "pruned-50", "steps": [{"kind": "prune", "ratio": 0.5}]}),
        Recipe.model_validate(
            {"name": "sparse", "steps": [{"kind": "prune", "method": "unstructured", "ratio": 0.5}]}
        ),
    ),
)
