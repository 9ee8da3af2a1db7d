"""A model that exists, as an .onnx file, judged on rows of one's own. Make it yours: replace the file, load_frame and to_inputs.

It runs as it stands: the file beside it is a linear model whose weights are written by hand, and the rows are made up. Nothing is
trained: all rows but the test rows choose thresholds and candidates. Weights("weights.pt", build_model) and
Exported("model.pt2") stand in the same place as Onnx(…).
"""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from tasks.config import Gates
from tasks.goals import Classify
from tasks.recipes import Recipe
from tasks.workloads import Onnx, Workload

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd
    import pandera.pandas as pa

NUMBERS = ["months", "monthly_bill", "support_calls"]


def load_frame() -> "pd.DataFrame":
    """One row an example, the same rows every time: what the model was not trained on.

    Yours may be `return pd.read_csv(Path(__file__).with_name("customers.csv"))`: found from any folder, and by a worker.
    """
    import numpy as np
    import pandas as pd

    draw = np.random.default_rng(0)
    rows = 3000
    frame = pd.DataFrame(
        {
            "months": draw.integers(1, 73, rows),
            "monthly_bill": draw.gamma(4.0, 15.0, rows).round(2),
            "support_calls": draw.poisson(1.2, rows),
        }
    )
    risk = 1.6 * frame["support_calls"] - 0.09 * frame["months"] + 0.03 * frame["monthly_bill"]
    gone = risk + draw.logistic(0.0, 0.7, rows) > 0.5
    return frame.assign(customer=np.where(gone, "leaves", "stays"))


def schema() -> "pa.DataFrameSchema":
    """What a valid row is: a run on rows that break it ends before anything is judged (pandera.readthedocs.io)."""
    import pandera.pandas as pa

    return pa.DataFrameSchema(
        {
            "months": pa.Column("int64", pa.Check.in_range(0, 1200)),
            "monthly_bill": pa.Column("float64", pa.Check.ge(0)),
            "support_calls": pa.Column("int64", pa.Check.ge(0)),
            "customer": pa.Column(str, pa.Check.isin(["leaves", "stays"])),
        }
    )


def to_inputs(frame: "pd.DataFrame") -> "dict[str, np.ndarray[Any, Any]]":
    """{"numbers": float32[n, 3]}: the names and types of the file's inputs, and of a request."""
    return {"numbers": frame[NUMBERS].to_numpy("float32")}


workload = Workload(
    name="template",  # the registered model's name
    goal=Classify("customer"),  # its output is `logits`; another's name is output="…". Classes in the order of their words
    load=load_frame,
    schema=schema,
    inputs=to_inputs,
    model=Onnx(Path(__file__).with_name("template.onnx")),
    train=None,  # nothing is trained
    # compression candidates to try, of those that need no torch module; () ships the file as it is
    recipes=(Recipe.model_validate({"name": "int8-static", "steps": [{"kind": "quantize", "mode": "static"}]}),),
    gates=Gates(min_score=0.8),  # what a version has to hold to be promoted
)
