"""A source larger than memory: synthetic Parquet to a prepared dataset, with the process's largest resident memory.

The size in GB is the first argument (default 10). Needs about three times that on disk, under the system's temporary folder, and
gives it back. The dataset is made in a process of its own, whose peak is the operating system's figure.
"""

import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from figures import listed, published

COLUMNS, GROUP = 40, 100_000
WORKLOAD = """
import pandera.pandas as pa
from tasks.workloads import Workload
from tasks.workloads.sources import parquet

NAMES = [f"x{{i}}" for i in range({columns})]
workload = Workload(
    name="large", kind="classification", load=parquet({url!r}, stream=True),
    schema=pa.DataFrameSchema({{**{{name: pa.Column("float32") for name in NAMES}}, "label": pa.Column("int64")}}),
    target="label", inputs=lambda rows: {{"x": rows[NAMES].to_numpy("float32")}}, model=lambda: None,
)
"""
PREPARE = """
import json, sys
from pathlib import Path
from tasks.config import Data
from tasks.data.dataset import prepare
print(json.dumps(prepare(sys.argv[1], Data(), Path(sys.argv[2])).rows))
"""


def main() -> None:
    with published("stream", "pyarrow", "pandas") as lines:
        lines += listed(streamed(float(sys.argv[1]) if len(sys.argv) > 1 else 10.0))


def streamed(size: float) -> dict[str, object]:
    with tempfile.TemporaryDirectory(prefix="slipway-stream-") as scratch:
        here = Path(scratch)
        stored = write(here / "rows", size * 1e9)
        (here / "large.py").write_text(WORKLOAD.format(url=str(here / "rows"), columns=COLUMNS))
        command = [
            sys.executable,
            "-W",
            "ignore",
            "-c",
            PREPARE,
            str(here / "large.py"),
            str(here / "datasets"),
        ]
        started = time.perf_counter()
        done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
        seconds = time.perf_counter() - started
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return {
        "GB of Parquet": round(stored / 1e9, 2),
        "rows": json.loads(done.stdout),
        "peak resident, MB": round(usage.ru_maxrss / 1000),
        "seconds": round(seconds),
        "CPU-seconds": round(usage.ru_utime + usage.ru_stime),
    }


def write(folder: Path, size: float) -> int:
    """Files of ten row groups of noise, which no compression makes smaller; the bytes that they came to have."""
    import pyarrow.parquet as pq

    folder.mkdir()
    stored, number = 0, 0
    while stored < size:
        random = np.random.default_rng(number)
        path = folder / f"part-{number:05}.parquet"
        with pq.ParquetWriter(
            path, _table(random, 1).schema, compression="none", use_dictionary=False
        ) as file:
            for _ in range(10):
                file.write_table(_table(random, GROUP))
                if stored + path.stat().st_size >= size:
                    break
        stored, number = stored + path.stat().st_size, number + 1
    return stored


def _table(random: np.random.Generator, rows: int):  # type: ignore[no-untyped-def]
    import pyarrow as pa

    columns = {f"x{i}": random.standard_normal(rows, dtype="float32") for i in range(COLUMNS)}
    return pa.table({**columns, "label": random.integers(0, 3, rows)})


if __name__ == "__main__":
    main()
