"""How MLflow's pages show what is ours: as machine learning, and runs with the columns that say what came of them."""

import json

from tasks.registry.tags import DECISION_TAG, PICKED_TAG, VERDICT_TAG

_COLUMNS = (
    "metrics.`score`",
    *(f"tags.`{tag}`" for tag in (VERDICT_TAG, DECISION_TAG, PICKED_TAG)),
)

_VIEW = "slipway"

OPENS_AS = {
    "mlflow.experimentKind": "custom_model_development",
    f"mlflow.sharedViewState.{_VIEW}": json.dumps(
        {
            "name": "What came of each run",
            "createdAt": 1_795_651_200_000,
            "state": json.dumps({"selectedColumns": _COLUMNS}),
        }
    ),
}
"""Of an experiment: its kind, and a view that links open and the page offers under Views."""

AS_MACHINE_LEARNING = "?workflowType=machine_learning"
"""On every link: a browser that was here before this version, or is at a server of a team, may open what is for prompts."""

AS_RUNS = f"{AS_MACHINE_LEARNING}&viewStateShareKey={_VIEW}"
