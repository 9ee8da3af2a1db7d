"""The digits as people would send them: 1,797 JPEGs of 32 by 32 pixels, made of scikit-learn's, and a small CNN.

A request brings a file, as a body of image/jpeg or in base64, and is answered with the digit's word.
"""

from typing import TYPE_CHECKING, Any

from tasks.codecs import Image
from tasks.config import Gates, Train
from tasks.errors import UserError
from tasks.goals import Classify
from tasks.recipes import Recipe
from tasks.workloads.sources import packaged_file
from tasks.workloads.workload import Workload

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd
    import pandera.pandas as pa
    from torch import nn

WORDS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")

SIZE = 16


def load_frame() -> "pd.DataFrame":
    """One row a picture: a JPEG's bytes, and the digit's word."""
    import pandas as pd

    path = packaged_file("sklearn", "datasets/data/digits.csv.gz", "pipeline")
    table = pd.read_csv(path, header=None, dtype="float32").to_numpy()
    pictures = (255 - table[:, :64].reshape(-1, 8, 8) * (255 / 16)).astype("uint8")
    words = [WORDS[int(digit)] for digit in table[:, 64]]
    return pd.DataFrame({"scan": [jpeg(picture) for picture in pictures], "digit": words})


def jpeg(pixels: "np.ndarray[Any, Any]") -> bytes:
    """uint8[8, 8] as a file of 32 by 32: ink on paper, a little blurred, as a scanner has it."""
    import io

    try:
        from PIL import Image as Pictures
    except ImportError as error:
        raise UserError(
            "The package 'pillow', which writes the pictures of scans, is not installed: pip install 'slipway[image]'."
        ) from error
    file = io.BytesIO()
    picture = Pictures.fromarray(pixels).resize((32, 32), Pictures.Resampling.BICUBIC)
    picture.convert("RGB").save(file, "JPEG", quality=75)
    return file.getvalue()


def schema() -> "pa.DataFrameSchema":
    import pandera.pandas as pa

    return pa.DataFrameSchema(
        {"scan": pa.Column(object), "digit": pa.Column(str, pa.Check.isin(WORDS))}, strict=True
    )


def build_model() -> "nn.Module":
    """Two convolutions and two linear layers."""
    import torch
    from torch import nn

    class ScansNet(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layers = nn.Sequential(
                nn.Conv2d(1, 16, 3, padding=1),
                nn.ReLU(),
                nn.MaxPool2d(2),
                nn.Conv2d(16, 32, 3, padding=1),
                nn.ReLU(),
                nn.MaxPool2d(2),
                nn.Flatten(),
                nn.Linear(32 * (SIZE // 4) ** 2, 64),
                nn.ReLU(),
                nn.Dropout(0.2),
                nn.Linear(64, len(WORDS)),
            )

        def forward(self, image: torch.Tensor) -> torch.Tensor:
            ink = 1 - image.to(torch.float32).mean(3).unsqueeze(1) / 255
            logits: torch.Tensor = self.layers(ink)
            return logits

    return ScansNet()


workload = Workload(
    name="scans",
    goal=Classify("digit"),
    load=load_frame,
    schema=schema,
    inputs={"scan": Image(column="scan", size=(SIZE, SIZE))},
    model=build_model,
    train=Train(epochs=20, lr=2e-3, threads=1),
    recipes=(
        Recipe.model_validate({"name": "int8-static", "steps": [{"kind": "quantize", "mode": "static"}]}),
    ),
    gates=Gates(min_score=0.95),
)
