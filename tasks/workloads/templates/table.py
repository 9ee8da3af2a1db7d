"""Which customers will leave? Make it yours: replace load_frame, schema, to_inputs and build_model.

It runs as it stands, on rows that it makes up. `slipway check` says in seconds what does not fit, `slipway run` trains,
proves and registers it, `slipway serve` answers.
"""

from typing import TYPE_CHECKING, Any

from tasks.config import Gates, Train
from tasks.workloads import DEFAULT_RECIPES, Workload

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd
    import pandera.pandas as pa
    from torch import nn

NUMBERS = ["months", "monthly_bill", "support_calls"]

PLANS = ["other", "basic", "plus", "family"]


def load_frame() -> "pd.DataFrame":
    """One row an example, the same rows every time.

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
            "plan": draw.choice(PLANS[1:], rows, p=[0.5, 0.3, 0.2]),
        }
    )
    risk = 1.6 * frame["support_calls"] - 0.09 * frame["months"] + 0.03 * frame["monthly_bill"]
    risk -= frame["plan"].map({"basic": 0.0, "plus": 0.8, "family": 1.6})
    return frame.assign(left=(risk + draw.logistic(0.0, 0.7, rows) > 0.5).astype("int64"))


def schema() -> "pa.DataFrameSchema":
    """What a valid row is: a run on rows that break it ends before anything is trained (pandera.readthedocs.io)."""
    import pandera.pandas as pa

    return pa.DataFrameSchema(
        {
            "months": pa.Column("int64", pa.Check.in_range(0, 1200)),
            "monthly_bill": pa.Column("float64", pa.Check.ge(0)),
            "support_calls": pa.Column("int64", pa.Check.ge(0)),
            "plan": pa.Column(str),
            "left": pa.Column("int64", pa.Check.isin([0, 1])),
        }
    )


def to_inputs(frame: "pd.DataFrame") -> "dict[str, np.ndarray[Any, Any]]":
    """{"numbers": float32[n, 3], "plan": int64[n]}: the names of `forward`, and of a request.

    Row by row, with nothing learned from the rows: what is fitted belongs into the model.
    """
    codes = {name: code for code, name in enumerate(PLANS)}
    return {
        "numbers": frame[NUMBERS].to_numpy("float32"),
        "plan": frame["plan"].map(lambda plan: codes.get(plan, 0)).to_numpy("int64"),
    }


def build_model(inputs: "dict[str, np.ndarray[Any, Any]]") -> "nn.Module":
    """The module, from the training inputs: it keeps their mean and scale, so that raw numbers can be sent to it."""
    import torch
    from torch import nn

    class Churn(nn.Module):
        mean: torch.Tensor
        scale: torch.Tensor

        def __init__(self) -> None:
            super().__init__()
            numbers = torch.tensor(inputs["numbers"])
            self.register_buffer("mean", numbers.mean(0))
            self.register_buffer("scale", numbers.std(0) + 1e-6)
            self.plans = nn.Embedding(len(PLANS), 8)
            self.layers = nn.Sequential(
                nn.Linear(len(NUMBERS) + 8, 64),
                nn.ReLU(),
                nn.Dropout(0.1),
                nn.Linear(64, 64),
                nn.ReLU(),
                nn.Linear(64, 2),
            )

        def forward(self, numbers: torch.Tensor, plan: torch.Tensor) -> torch.Tensor:
            plans = self.plans(plan.clamp(0, len(PLANS) - 1))
            logits: torch.Tensor = self.layers(torch.cat([(numbers - self.mean) / self.scale, plans], dim=1))
            return logits

    return Churn()


workload = Workload(
    name="template",  # the registered model's name
    kind="classification",  # or "regression"
    load=load_frame,
    schema=schema,
    target="left",  # the column to predict
    inputs=to_inputs,
    model=build_model,
    slices=("plan",),  # columns whose groups are scored, and gated, by themselves
    # time="signed_up",  # split by time and not at random: the newest rows judge
    # dynamic={"tokens": {1: "length"}},  # further axes whose size may differ between requests
    # score=roc_auc_score, probabilities=True,  # (truth, answers) -> float, higher is better; default: accuracy or R²
    train=Train(epochs=12, lr=2e-3),
    recipes=DEFAULT_RECIPES,  # compression candidates to try; () ships the model as it is
    gates=Gates(min_score=0.8),  # what a version has to hold to be promoted
)
