"""Regression with a robust loss given by the user; the module keeps the trailing axis of its last Linear: [n, 1]."""

from typing import Any

import numpy as np
import pandas as pd
import pandera.pandas as pa
import torch
from torch import nn

from tasks.config import Train
from tasks.workloads import Workload


def load() -> pd.DataFrame:
    random = np.random.default_rng(3)
    x = random.normal(size=(1500, 3))
    frame = pd.DataFrame(x, columns=[*"abc"])
    return frame.assign(demand=3 * x[:, 0] - 2 * x[:, 1] + 0.1 * random.normal(size=1500))


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.net = nn.Sequential(nn.Linear(3, 16), nn.ReLU(), nn.Linear(16, 1))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        outputs: torch.Tensor = self.net(x)
        return outputs


def demand(name: str, loss: Any = None) -> Workload:
    return Workload(
        name=name,
        kind="regression",
        load=load,
        schema=pa.DataFrameSchema({"demand": pa.Column("float64")}),
        target="demand",
        inputs=lambda frame: {"x": frame[[*"abc"]].to_numpy("float32")},
        model=Net,
        loss=loss,
        train=Train(epochs=8, lr=1e-2, threads=1),
        recipes=(),
    )


workload = demand("demand", nn.HuberLoss())
plain = demand("demand-plain")
l1 = demand("demand-l1", nn.L1Loss())
own = demand("demand-own", lambda outputs, target: ((outputs - target) ** 2).mean())
