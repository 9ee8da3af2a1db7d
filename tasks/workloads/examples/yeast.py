"""Which of 14 functional classes a yeast gene belongs to, any number of them: 2,417 genes, 103 measurements each.

Elisseeff & Weston 2001, as the package river ships it (BSD-3). The answer names the classes; their thresholds are fitted on
validation rows, for each file anew.
"""

from typing import TYPE_CHECKING, Any

from tasks.config import Gates, Train
from tasks.goals import MultiLabel
from tasks.recipes import Recipe
from tasks.workloads.sources import packaged_file
from tasks.workloads.workload import Workload

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd
    import pandera.pandas as pa
    from torch import nn

LEVELS = [f"Att{number}" for number in range(1, 104)]

KINDS = [f"Class{number}" for number in range(1, 15)]


def load_frame() -> "pd.DataFrame":
    """One row a gene. Read by path: importing river takes seconds."""
    import pandas as pd

    return pd.read_csv(packaged_file("river", "datasets/yeast.csv.gz", "yeast"), dtype="float32")


def schema() -> "pa.DataFrameSchema":
    import pandera.pandas as pa

    levels = {name: pa.Column("float32", pa.Check.in_range(-2, 2)) for name in LEVELS}
    kinds = {name: pa.Column("float32", pa.Check.isin([0, 1])) for name in KINDS}
    return pa.DataFrameSchema({**levels, **kinds}, strict=True)


def to_inputs(frame: "pd.DataFrame") -> "dict[str, np.ndarray[Any, Any]]":
    """{"levels": float32[n, 103]}"""
    return {"levels": frame[LEVELS].to_numpy("float32")}


def build_model() -> "nn.Module":
    """One hidden layer, much of it left out of each step: there are few genes."""
    import torch
    from torch import nn

    class YeastNet(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layers = nn.Sequential(
                nn.BatchNorm1d(len(LEVELS)),
                nn.Dropout(0.1),
                nn.Linear(len(LEVELS), 256),
                nn.ReLU(),
                nn.Dropout(0.5),
                nn.Linear(256, len(KINDS)),
            )

        def forward(self, levels: torch.Tensor) -> torch.Tensor:
            logits: torch.Tensor = self.layers(levels)
            return logits

    return YeastNet()


workload = Workload(
    name="yeast",
    goal=MultiLabel(*KINDS),
    load=load_frame,
    schema=schema,
    inputs=to_inputs,
    model=build_model,
    train=Train(epochs=40, lr=2e-3, weight_decay=0.1, patience=10, threads=1),
    recipes=(
        Recipe.model_validate({"name": "int8-static", "steps": [{"kind": "quantize", "mode": "static"}]}),
    ),
    gates=Gates(min_score=0.38, max_score_drop=0.02),
)
