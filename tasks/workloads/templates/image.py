"""Which shape is in a picture? Make it yours: replace load_frame, schema and build_model.

It runs as it stands, on pictures that it draws. A request brings a JPEG or PNG: as a body of image/jpeg, or in base64 as
{"inputs": {"photo": ["/9j/4AAQ…"]}}. It needs the package pillow: pip install 'slipway[image]'.
"""

from typing import TYPE_CHECKING, Any

from tasks.codecs import Image
from tasks.config import Gates, Train
from tasks.goals import Classify
from tasks.workloads import DEFAULT_RECIPES, Workload

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd
    import pandera.pandas as pa
    from torch import nn

SIZE = 32

SHAPES = ("circle", "square", "triangle")


def load_frame() -> "pd.DataFrame":
    """One row an example: the bytes of a JPEG or PNG, or its path, and what is on it."""
    import io

    import numpy as np
    import pandas as pd
    from PIL import Image as Pictures
    from PIL import ImageDraw

    draw, rows = np.random.default_rng(0), []
    for shape in draw.choice(SHAPES, 2000):
        light, dark = draw.integers(190, 256, 3), draw.integers(0, 90, 3)
        picture = Pictures.new("RGB", (64, 48), tuple(map(int, light)))
        left, top, wide = int(draw.integers(2, 30)), int(draw.integers(2, 14)), int(draw.integers(20, 32))
        box, colour = (left, top, left + wide, top + wide), tuple(map(int, dark))
        pen = ImageDraw.Draw(picture)
        if shape == "circle":
            pen.ellipse(box, fill=colour)
        elif shape == "square":
            pen.rectangle(box, fill=colour)
        else:
            pen.polygon([(left, top + wide), (left + wide // 2, top), (left + wide, top + wide)], fill=colour)
        file = io.BytesIO()
        picture.save(file, "JPEG", quality=80)
        rows.append((file.getvalue(), shape))
    return pd.DataFrame(rows, columns=["photo", "shape"])


def schema() -> "pa.DataFrameSchema":
    """What a valid row is: a run on rows that break it ends before anything is trained (pandera.readthedocs.io)."""
    import pandera.pandas as pa

    return pa.DataFrameSchema({"photo": pa.Column(object), "shape": pa.Column(str, pa.Check.isin(SHAPES))})


def build_model(inputs: "dict[str, np.ndarray[Any, Any]]") -> "nn.Module":
    """The module, from the training inputs: {"image": uint8[n, height, width, 3]}; scaling belongs in here."""
    import torch
    from torch import nn

    class Shapes(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layers = nn.Sequential(
                nn.Conv2d(3, 12, 3, stride=2, padding=1),
                nn.ReLU(),
                nn.Conv2d(12, 24, 3, stride=2, padding=1),
                nn.ReLU(),
                nn.Flatten(),
                nn.Linear(24 * (SIZE // 4) ** 2, 48),
                nn.ReLU(),
                nn.Dropout(0.1),
                nn.Linear(48, len(SHAPES)),
            )

        def forward(self, image: torch.Tensor) -> torch.Tensor:
            logits: torch.Tensor = self.layers(image.permute(0, 3, 1, 2).to(torch.float32) / 127.5 - 1)
            return logits

    return Shapes()


workload = Workload(
    name="template",  # the registered model's name
    load=load_frame,
    schema=schema,
    goal=Classify("shape"),  # the column to predict: an answer is its word, and the probability of each
    # what a request brings, by name; more may stand beside it: Text(…), Codes(…), or a function of the frame for numbers
    inputs={"photo": Image(column="photo", size=(SIZE, SIZE))},
    model=build_model,
    train=Train(epochs=12, lr=3e-3),
    recipes=DEFAULT_RECIPES,  # compression candidates to try; () ships the model as it is
    gates=Gates(min_score=0.8),  # what a version has to hold to be promoted
)
