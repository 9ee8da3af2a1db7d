"""The row's id goes through the module so that answers can be joined; a computed class goes with it."""

import numpy as np
import pandas as pd
import pandera.pandas as pa
from torch import nn

from tasks.config import Gates, Train
from tasks.workloads import Workload


def load():
    g = np.random.default_rng(2)
    x = g.normal(size=(500, 3))
    return pd.DataFrame(x, columns=list("abc")).assign(row_id=np.arange(500), y=(x[:, 0] > 0).astype("int64"))


def inputs(f):
    return {"x": f[list("abc")].to_numpy("float32"), "row_id": f["row_id"].to_numpy("int64")}


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.l = nn.Linear(3, 2)

    def forward(self, x, row_id):
        z = self.l(x)
        return {"logits": z, "row_id": row_id, "label": z.argmax(1)}


class Net2(Net):
    def forward(self, x, row_id):
        z = self.l(x)
        return {"logits": z, "id_out": row_id, "label": z.argmax(1)}


base = dict(
    kind="classification",
    load=load,
    schema=pa.DataFrameSchema({"y": pa.Column("int64")}),
    target="y",
    inputs=inputs,
    train=Train(epochs=1),
    recipes=(),
    gates=Gates(),
)
workload = Workload(name="scored", model=Net, **base)
other = Workload(name="scored-other", model=Net2, **base)
