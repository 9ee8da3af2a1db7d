import numpy as np
import pandas as pd


def rows() -> pd.DataFrame:
    x = np.random.default_rng(1).normal(size=(400, 2))
    return pd.DataFrame(x, columns=["a", "b"]).assign(y=(x.sum(1) > 0).astype("int64"))
