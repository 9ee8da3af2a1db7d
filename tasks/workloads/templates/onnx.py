"""Which customers will leave? Asked of an ONNX file that exists. Make it yours: replace the file, load_frame, schema and to_inputs.

It runs as it stands, on rows that it makes up and a file of numbers that were written down. Nothing is trained: `slipway check` says
whether the file can be served, `slipway run` judges it on your rows, compresses it, proves and registers it, `slipway serve` answers.
"""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from tasks.config import Gates
from tasks.goals import Classify
from tasks.workloads import DEFAULT_RECIPES, Files, Onnx, Rows, Workload

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd
    import pandera.pandas as pa

NUMBERS = ["months", "monthly_bill", "support_calls"]


def load_frame() -> "pd.DataFrame":
    """Rows whose truth is known, which the file has never seen: what it is judged on.

    Yours may be `return pd.read_csv(Path(__file__).with_name("customers.csv"))`: found from any folder, and by a worker.
    """
    import numpy as np
    import pandas as pd

    draw = np.random.default_rng(0)
    rows = 4000
    frame = pd.DataFrame(
        {
            "months": draw.integers(1, 73, rows),
            "monthly_bill": draw.gamma(4.0, 15.0, rows).round(2),
            "support_calls": draw.poisson(1.2, rows),
            "plan": draw.choice(["basic", "plus", "family"], rows),
        }
    )
    risk = 1.6 * frame["support_calls"] - 0.09 * frame["months"] + 0.03 * frame["monthly_bill"]
    left = risk + draw.logistic(0.0, 0.7, rows) > 0.0
    return frame.assign(left=np.where(left, "leaves", "stays"))


def schema() -> "pa.DataFrameSchema":
    """What a valid row is: a run on rows that break it ends before anything is measured (pandera.readthedocs.io)."""
    import pandera.pandas as pa

    return pa.DataFrameSchema(
        {
            "months": pa.Column("int64", pa.Check.in_range(0, 1200)),
            "monthly_bill": pa.Column("float64", pa.Check.ge(0)),
            "support_calls": pa.Column("int64", pa.Check.ge(0)),
            "left": pa.Column(str, pa.Check.isin(["leaves", "stays"])),
        }
    )


def to_inputs(frame: "pd.DataFrame") -> "dict[str, np.ndarray[Any, Any]]":
    """{"numbers": float32[n, 3]}: the names, kinds and sizes of the file's inputs, prepared as they were for its training."""
    return {"numbers": frame[NUMBERS].to_numpy("float32")}


workload = Workload(
    name="template",  # the registered model's name
    load=load_frame,
    schema=schema,
    # Classes are in the order of their values, and the file's outputs have to be: give an ordered category if yours are in another.
    goal=Classify("left", output="logits"),  # output: the file's own name for what is scored
    inputs=to_inputs,
    # or Weights("weights.pt", build_model), or Exported("model.pt2")
    model=Onnx(Files(path=Path(__file__).with_name("template.onnx"), licence="yours to state")),
    rows=Rows(slices=("plan",)),
    train=None,  # nothing is trained: all rows but the test rows choose among the candidates
    recipes=DEFAULT_RECIPES,  # what needs training is left out, and said
    gates=Gates(min_score=0.8),
)
