"""Ten months of flights in order: each month's end brings new rows and a retraining, and the gate decides; a ledger of ten decisions.

After each decision the champion is scored on the month that follows, which no training has seen, and so is the first champion,
as if nobody had trained again. Small settings of the same code: three epochs, no compression. Writes replay.svg beside this file.
"""

import datetime
import json
import os
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from tasks.config import Data
from tasks.data import load_valid, to_inputs
from tasks.parity import run_rows
from tasks.records import Version
from tasks.registry import Registry
from tasks.score import score
from tasks.session import open_session
from tasks.settings import Settings, load_settings
from tasks.workloads import load_workload

FIRST, RETRAININGS = 3, 10
SETTINGS = ("train.epochs=3", "recipes=[]", "data.validation=0.1", "data.test=0.1")
PICTURE = Path(__file__).with_name("replay.svg")


def main() -> None:
    with tempfile.TemporaryDirectory(prefix="slipway-replay-") as home:
        os.environ["SLIPWAY_HOME"] = home
        months, ledger = replay(Path(home))
    for row in months:
        print("  ".join(f"{value:>10}" for value in row.values()))
    draw(months)
    target = Path(".slipway/bench/replay.json")
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text(json.dumps({"months": months, "ledger": ledger}, indent=1))


def replay(home: Path) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Each month's scores, and the ledger's entries in order."""
    from flows.embedded import EmbeddedServer, client_environment
    from tasks.history import history

    os.environ.update(client_environment(home))
    settings = load_settings()
    frame = load_valid(load_workload("flights"), Data())
    server = EmbeddedServer(home)
    server.start()
    try:
        server.wait()
        months = [one_month(settings, frame, FIRST + number) for number in range(RETRAININGS)]
    finally:
        server.stop()
    found = history(settings, "flights")
    assert found.problems == ()
    return months, [entry.model_dump(mode="json") for entry in found.entries]


def one_month(settings: Settings, frame: pd.DataFrame, month: int) -> dict[str, Any]:
    """Retrain on all before the month, then score the champion and version 1 on the month itself."""
    from flows.run import run_here

    until = datetime.date(2013, month, 1)
    outcome = run_here("flights", (f"data.until={until}", *SETTINGS), force=False, promote=True, quiet=True)
    registry = Registry(settings)
    champion = registry.by_alias("flights", "champion")
    first = registry.version("flights", 1)
    assert champion is not None and first is not None
    rows = frame[frame["month"] == f"2013-{month:02}"]
    row = {
        "month": f"2013-{month:02}",
        "rows": len(rows),
        "version": outcome.version,
        "decision": outcome.decision,
        "champion": champion.version,
        "retrained": round(auc_of(registry, champion, rows), 4),
        "never": round(auc_of(registry, first, rows), 4),
    }
    print(json.dumps(row), outcome.reasons[0][:120], flush=True)
    return row


def auc_of(registry: Registry, version: Version, rows: pd.DataFrame) -> float:
    workload = load_workload("flights")
    with tempfile.TemporaryDirectory() as folder:
        session = open_session(registry.download(version, Path(folder) / "model") / "model.onnx")
        outputs = run_rows(session, to_inputs(workload, rows))
    return score(workload, np.asarray(rows["late"]), outputs)


def draw(months: list[dict[str, Any]]) -> None:
    """The champion's score on each unseen month against the first champion's."""
    import matplotlib

    matplotlib.use("svg")
    matplotlib.rcParams["svg.hashsalt"] = "slipway"
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(figsize=(8, 3.6))
    names = [row["month"] for row in months]
    axes.plot(
        names,
        [row["retrained"] for row in months],
        "o-",
        color="#0b5fa5",
        label="retrained monthly, as the gate decided",
    )
    axes.plot(
        names, [row["never"] for row in months], "s--", color="#b0541f", label="version 1, never retrained"
    )
    for row in months:
        mark = f"v{row['champion']}" if row["decision"] == "promoted" else f"v{row['champion']} stays"
        axes.annotate(mark, (row["month"], row["retrained"]), textcoords="offset points", xytext=(0, 7), ha="center", fontsize=7)  # fmt: skip
    axes.set(ylabel="AUC on that month, unseen", xlabel="flights of", title="Late flights: score by month")
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False)
    figure.tight_layout()
    figure.savefig(PICTURE, metadata={"Date": None})


if __name__ == "__main__":
    main()
