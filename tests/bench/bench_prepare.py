"""What preparing a million rows costs beside plain pandas and numpy, which check nothing, know no fingerprint and split by chance.

CPU seconds, by turns in one process; both write the splits' arrays and Parquet.
"""

import os
import tempfile
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pandera.pandas as pa
from figures import published, spread, table
from torch import nn

from tasks.config import Data, Gates, Train
from tasks.data.dataset import prepare
from tasks.workloads.workload import Workload

ROUNDS, SIZES, MOST = 3, (10_000, 100_000, 1_000_000), 2.0

NAMES = [f"x{place}" for place in range(8)]

VARIABLE = "SLIPWAY_BENCH_ROWS"


def load() -> pd.DataFrame:
    random = np.random.default_rng(0)
    numbers = random.normal(size=(int(os.environ[VARIABLE]), len(NAMES))).astype("float32")
    return pd.DataFrame(numbers, columns=NAMES).assign(side=(numbers[:, 0] > 0).astype("int64"))


def inputs(frame: pd.DataFrame) -> dict[str, np.ndarray[Any, Any]]:
    return {"x": frame[NAMES].to_numpy("float32")}


def schema() -> pa.DataFrameSchema:
    columns = {name: pa.Column("float32") for name in NAMES}
    return pa.DataFrameSchema({**columns, "side": pa.Column("int64", pa.Check.isin([0, 1]))})


workload = Workload(
    name="million",
    kind="classification",
    load=load,
    schema=schema,
    target="side",
    inputs=inputs,
    model=lambda: nn.Linear(len(NAMES), 2),
    train=Train(epochs=1),
    gates=Gates(),
)


def plain(folder: Path) -> None:
    """What people write first."""
    frame = load()
    chance = np.random.default_rng(1).random(len(frame))
    for name, low, high in (("train", 0, 0.7), ("validation", 0.7, 0.85), ("test", 0.85, 1)):
        part = frame[(chance >= low) & (chance < high)]
        (folder / name).mkdir(parents=True)
        part.to_parquet(folder / name / "frame.parquet", index=False)
        np.save(folder / name / "x.npy", inputs(part)["x"])
        np.save(folder / name / "target.npy", part["side"].to_numpy())


def cpu_seconds(work: Callable[[], object]) -> float:
    began = time.process_time()
    work()
    return time.process_time() - began


def main() -> None:
    with published("prepare", "pandas", "numpy", "pandera") as lines:
        rows = [(f"{size:,}", *map(spread, zip(*turns, strict=True))) for size, turns in measured()]
        lines += table(("rows", "plain, CPU s", "slipway, CPU s", f"times (at most {MOST:g} wanted)"), rows)


def measured() -> Iterator[tuple[int, list[tuple[float, float, float]]]]:
    with tempfile.TemporaryDirectory() as scratch:
        for rows in SIZES:
            os.environ[VARIABLE], taken = str(rows), []
            for turn in range(ROUNDS + 1):
                folder = Path(scratch) / f"{rows}-{turn}"
                ours = cpu_seconds(partial(prepare, f"{__file__}:workload", Data(), folder / "ours"))
                theirs = cpu_seconds(partial(plain, folder / "theirs"))
                taken.append((theirs, ours, ours / theirs))
            yield rows, taken[1:]


if __name__ == "__main__":
    main()
