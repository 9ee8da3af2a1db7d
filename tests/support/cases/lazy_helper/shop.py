"""Helper modules lie beside the file and are imported inside functions, as the template does with heavy imports."""

from typing import Any

import pandas as pd
import pandera.pandas as pa

from tasks.config import Train
from tasks.workloads import Workload


def load() -> pd.DataFrame:
    from shop_rows import rows

    frame: pd.DataFrame = rows()
    return frame


def load_relatively() -> pd.DataFrame:
    from .shop_rows import rows

    frame: pd.DataFrame = rows()
    return frame


def build() -> Any:
    from shop_net.small import Net

    return Net()


def shop(name: str, load: Any) -> Workload:
    return Workload(
        name=name,
        kind="classification",
        load=load,
        schema=pa.DataFrameSchema({"y": pa.Column("int64")}),
        target="y",
        inputs=lambda frame: {"x": frame[["a", "b"]].to_numpy("float32")},
        model=build,
        train=Train(epochs=1, threads=1),
        recipes=(),
    )


workload = shop("shop", load)
relative = shop("shop-relative", load_relatively)
