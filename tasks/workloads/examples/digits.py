"""Handwritten digits: 1,797 images of 8 by 8 pixels that ship inside scikit-learn, and a small CNN."""

from typing import TYPE_CHECKING, Any

from tasks.config import Gates, Train
from tasks.workloads.sources import packaged_file
from tasks.workloads.workload import Workload

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd
    import pandera.pandas as pa
    from torch import nn

PIXELS = [f"pixel_{row}_{column}" for row in range(8) for column in range(8)]


def load_frame() -> "pd.DataFrame":
    """One row an image: 64 pixels from 0 to 16, and the digit. Read by path: importing scikit-learn takes seconds."""
    import pandas as pd

    path = packaged_file("sklearn", "datasets/data/digits.csv.gz", "pipeline")
    return pd.read_csv(path, header=None, names=[*PIXELS, "label"], dtype="float32").astype(
        {"label": "int64"}
    )


def schema() -> "pa.DataFrameSchema":
    import pandera.pandas as pa

    pixels = {name: pa.Column("float32", pa.Check.in_range(0, 16)) for name in PIXELS}
    return pa.DataFrameSchema({**pixels, "label": pa.Column("int64", pa.Check.isin(range(10)))}, strict=True)


def to_inputs(frame: "pd.DataFrame") -> "dict[str, np.ndarray[Any, Any]]":
    """{"image": float32[n, 1, 8, 8]}, values as they are: the model scales."""
    return {"image": frame[PIXELS].to_numpy("float32").reshape(-1, 1, 8, 8)}


def build_model() -> "nn.Module":
    """Two convolutions and two linear layers, 127 thousand parameters."""
    import torch
    from torch import nn

    class DigitsNet(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.features = nn.Sequential(
                nn.Conv2d(1, 32, 3, padding=1),
                nn.ReLU(),
                nn.Conv2d(32, 64, 3, padding=1),
                nn.ReLU(),
                nn.MaxPool2d(2),
            )
            self.head = nn.Sequential(
                nn.Flatten(), nn.Linear(64 * 4 * 4, 100), nn.ReLU(), nn.Dropout(0.2), nn.Linear(100, 10)
            )

        def forward(self, image: torch.Tensor) -> torch.Tensor:
            logits: torch.Tensor = self.head(self.features(image / 16.0))
            return logits

    return DigitsNet()


workload = Workload(
    name="digits",
    kind="classification",
    load=load_frame,
    schema=schema,
    target="label",
    inputs=to_inputs,
    model=build_model,
    slices=("label",),
    train=Train(epochs=25, lr=2e-3, batch_size=64),
    gates=Gates(min_score=0.95),
)
