"""An ordered category as target, and weights for the loss in the category's order: urgent cases are rare and count most."""

import numpy as np
import pandas as pd
import pandera.pandas as pa
import torch
from torch import nn

from tasks.config import Train
from tasks.workloads import Workload

ORDER = ["low", "medium", "high"]


def load() -> pd.DataFrame:
    random = np.random.default_rng(2)
    x = random.normal(size=(1500, 2))
    level = np.digitize(x[:, 0] + 0.8 * random.normal(size=1500), [0.3, 1.6])
    frame = pd.DataFrame(x, columns=[*"ab"])
    return frame.assign(level=pd.Categorical.from_codes(level, ORDER, ordered=True))


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(2, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        outputs: torch.Tensor = self.layer(x)
        return outputs


workload = Workload(
    name="triage",
    kind="classification",
    load=load,
    schema=pa.DataFrameSchema({"a": pa.Column("float64")}),
    target="level",
    inputs=lambda frame: {"x": frame[[*"ab"]].to_numpy("float32")},
    model=Net,
    loss=nn.CrossEntropyLoss(weight=torch.tensor([1.0, 1.0, 12.0])),
    train=Train(epochs=10, lr=3e-2, threads=1),
    recipes=(),
)
