"""How many visitors will come in the next hours? Make it yours: replace load_frame, schema, to_inputs and build_model.

It runs as it stands, on a year of hours that it makes up. A request brings the last 48 hours, and the answer is, for each of the
next 12, what nine in ten hours are above, what half are, and what one in ten is.
"""

from typing import TYPE_CHECKING, Any

from tasks.config import Gates, Train
from tasks.goals import Forecast
from tasks.workloads import DEFAULT_RECIPES, Rows, Workload

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd
    import pandera.pandas as pa
    from torch import nn

PAST, NEXT, EVERY = 48, 12, 3
"""Hours that are known, hours that are asked for, and hours from one window to the next."""

QUANTILES = (0.1, 0.5, 0.9)


def load_frame() -> "pd.DataFrame":
    """One row a window: `past` [48] and `next` [12], the hour `at` which they part, and its day. The same rows every time.

    Of a table with one row an hour, yours may make windows in the same loop.
    """
    import numpy as np
    import pandas as pd

    draw, hours = np.random.default_rng(0), pd.date_range("2025-01-01", periods=365 * 24, freq="h")
    usual = 60 + 40 * np.sin((hours.hour.to_numpy() - 9) * np.pi / 12) - 15 * (hours.day_of_week >= 5)
    swing = np.zeros(len(hours))
    for hour in range(1, len(hours)):  # what is unusual now is unusual in an hour, too
        swing[hour] = 0.9 * swing[hour - 1] + draw.normal(0, 4)
    visitors = np.maximum(usual + swing, 0).round().astype("float32")
    cuts = range(PAST, len(hours) - NEXT, EVERY)
    return pd.DataFrame(
        {
            "at": hours[[*cuts]],
            "day": hours[[*cuts]].strftime("%Y-%m-%d"),
            "past": [visitors[cut - PAST : cut] for cut in cuts],
            "next": [visitors[cut : cut + NEXT] for cut in cuts],
        }
    )


def schema() -> "pa.DataFrameSchema":
    """What a valid row is: a run on rows that break it ends before anything is trained (pandera.readthedocs.io)."""
    import pandera.pandas as pa

    return pa.DataFrameSchema(
        {
            "at": pa.Column("datetime64[us]", coerce=True),
            "day": pa.Column(str),
            "past": pa.Column(object),
            "next": pa.Column(object),
        }
    )


def to_inputs(frame: "pd.DataFrame") -> "dict[str, np.ndarray[Any, Any]]":
    """{"past": float32[n, 48]}, the oldest hour first; more may stand beside it, such as the hour of the day."""
    import numpy as np

    return {"past": np.stack([np.asarray(hours, "float32") for hours in frame["past"]])}


def build_model(inputs: "dict[str, np.ndarray[Any, Any]]") -> "nn.Module":
    """The module, from the training inputs: [n, 12, 3], yesterday at that hour and what the last two days change of it."""
    import torch
    from torch import nn

    mean, deviation = float(inputs["past"].mean()), float(inputs["past"].std()) + 1e-6

    class Visitors(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layers = nn.Sequential(
                nn.Linear(PAST, 96), nn.ReLU(), nn.Dropout(0.1), nn.Linear(96, NEXT * len(QUANTILES))
            )

        def forward(self, past: torch.Tensor) -> torch.Tensor:
            change = self.layers((past - mean) / deviation).reshape(-1, NEXT, len(QUANTILES))
            yesterday = past[:, -24 : -24 + NEXT].unsqueeze(2)
            forecast: torch.Tensor = yesterday + change * deviation
            return forecast

    return Visitors()


workload = Workload(
    name="template",  # the registered model's name
    # without quantiles: one number an hour; errors are also told in those of saying what was a day before
    goal=Forecast("next", horizon=NEXT, quantiles=QUANTILES, past="past", season=24),
    load=load_frame,
    schema=schema,
    inputs=to_inputs,
    model=build_model,
    # the newest judge; no window reaches over a cut; windows of a day are alike, so that a score's interval draws days
    rows=Rows(time="at", gap=f"{PAST + NEXT}h", group="day"),
    train=Train(epochs=15, lr=2e-3, batch_size=128),
    recipes=DEFAULT_RECIPES,  # compression candidates to try; () ships the model as it is
    gates=Gates(
        min_score=-4
    ),  # what a version has to hold to be promoted: the pinball loss, negative, in visitors
)
