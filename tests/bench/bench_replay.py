"""Ten months of flights, in order, on `slipway up`: each month's end a schedule of retrain / flights fires, and the gate decides.

Nothing is made easier but the compression, which is left out: the worker runs the deployed flow with the workload's own
training. What the gate is not sure of is asked in Prefect, as always, and nobody answers: the deployment that ends such
questions refuses it before the next month. After each decision the champion is scored on the month that follows, which no
training has seen, and so is the first champion, as if nobody had trained again. Begins where an interrupted replay ended
(.slipway/replay; `--anew` starts over). Writes docs/images/replay.svg.
"""

import datetime
import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from platform_process import ROOT, Platform

from tasks.config import Data
from tasks.data.arrays import to_inputs
from tasks.data.schema import load_valid
from tasks.onnx.session import open_session, run_rows
from tasks.promotion.ledger import read_ledger
from tasks.registry.registry import Registry
from tasks.registry.tags import VERDICT_TAG
from tasks.settings import load_settings
from tasks.workloads.catalogue import load_workload
from tasks.workloads.scoring import score

FIRST, RETRAININGS = 3, 10
HOME = ROOT / ".slipway" / "replay"
MONTHS = HOME / "months.jsonl"
PICTURE = ROOT / "docs" / "images" / "replay.svg"
PATIENCE = 3600
LOOKS = {"PREFECT_SERVER_SERVICES_SCHEDULER_LOOP_SECONDS": "5"}
DECISIONS = {"pass": "promoted", "inconclusive": "inconclusive", "fail": "refused"}


def main() -> None:
    if "--anew" in sys.argv:
        shutil.rmtree(HOME, ignore_errors=True)
    with Platform(HOME, ROOT, **LOOKS) as platform:
        os.environ |= {"SLIPWAY_HOME": str(HOME), "MLFLOW_TRACKING_URI": platform.addresses["mlflow"]}
        registry = Registry(load_settings())
        frame = load_valid(load_workload("flights"), Data())
        for month in range(FIRST + len(done()), FIRST + RETRAININGS):
            row = one_month(platform, registry, frame, month)
            with MONTHS.open("a") as file:
                file.write(json.dumps(row) + "\n")
            print(json.dumps(row), flush=True)
        words = [sys.executable, "-m", "flows.cli", "history", "flights"]
        wide = os.environ | {"COLUMNS": "240"}
        ledger = subprocess.run(words, cwd=ROOT, env=wide, check=True, stdout=subprocess.PIPE, text=True)
    months = done()
    print("  ".join(f"{name:>12}" for name in months[0]))
    for row in months:
        print("  ".join(f"{value:>12}" for value in row.values()))
    print(ledger.stdout)
    draw(months)
    target = ROOT / ".slipway" / "bench" / "replay.json"
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text(json.dumps({"months": months, "history": ledger.stdout.splitlines()}, indent=1))


def done() -> list[dict[str, Any]]:
    return [json.loads(line) for line in MONTHS.read_text().splitlines()] if MONTHS.exists() else []


def one_month(platform: Platform, registry: Registry, frame: pd.DataFrame, month: int) -> dict[str, Any]:
    """Let the schedule fire on all rows before the month; then score the champion and the first one on the month itself."""
    until = f"2013-{month:02}-01"
    run = platform.ended(fire(platform, until), PATIENCE)
    if run["state_type"] != "COMPLETED":
        raise SystemExit(f"The run until {until} ended as {run['state_name']}: {run['state']['message']}")
    version = max(int(entry.version) for entry in registry.client.search_model_versions("name='flights'"))
    decision = DECISIONS[registry.tags(registry.version("flights", version))[VERDICT_TAG]]
    if decision == "inconclusive" and not decided(registry, version):
        reason = "nobody answered within the month"
        refusal = platform.start(
            "refuse/refuse", {"model": "flights", "version": version, "reason": reason, "who": "time-out"}
        )
        assert platform.ended(refusal, PATIENCE)["state_type"] == "COMPLETED"
    ledger = read_ledger(registry, "flights")
    assert ledger.problems == () and decided(registry, version)
    first = next(entry.to_version for entry in ledger.entries if entry.moved)
    rows = frame[frame["month"] == until[:7]]
    return {
        "month": until[:7],
        "rows": len(rows),
        "challenger": version,
        "decision": decision,
        "champion": ledger.serving,
        "retrained": auc_of(registry, ledger.serving, rows),
        "never": auc_of(registry, first, rows),
        "refused one": auc_of(registry, version, rows) if ledger.serving != version else "",
        "seconds": round(run["total_run_time"]),
    }


def fire(platform: Platform, until: str) -> str:
    """Give retrain / flights a schedule that fires once, in less than a minute, on the rows before `until`; its run."""
    when = datetime.datetime.now(datetime.UTC).replace(microsecond=0) + datetime.timedelta(seconds=40)
    parameters = {"data": {"until": until, "validation": 0.1, "test": 0.1}, "recipes": ["fp32"]}
    schedule = {"rrule": f"DTSTART:{when:%Y%m%dT%H%M%SZ}\nRRULE:FREQ=DAILY;COUNT=1", "timezone": "UTC"}
    deployment = platform.deployment("retrain/flights")["id"]
    made = {
        "schedule": schedule,
        "active": True,
        "parameters": parameters,
        "slug": f"until-{until}-{when:%H%M%S}",
    }
    platform.ask(f"/deployments/{deployment}/schedules", [made])

    def scheduled() -> str | None:
        runs = platform.runs("retrain/flights")
        fired = [run for run in runs if datetime.datetime.fromisoformat(run["expected_start_time"]) == when]
        return str(fired[0]["id"]) if fired else None

    return str(platform.until(scheduled, f"the schedule of {until} to fire"))


def decided(registry: Registry, version: int) -> bool:
    return any(entry.to_version == version for entry in read_ledger(registry, "flights").entries)


def auc_of(registry: Registry, number: int | None, rows: pd.DataFrame) -> float:
    workload = load_workload("flights")
    assert number is not None
    version = registry.version("flights", number)
    assert version is not None
    with tempfile.TemporaryDirectory() as folder:
        session = open_session(registry.download(version, Path(folder) / "model") / "model.onnx")
        outputs = run_rows(session, to_inputs(workload, rows))
    return round(score(workload, np.asarray(rows["late"]), outputs), 4)


def draw(months: list[dict[str, Any]]) -> None:
    """The champion's score on each unseen month against the first champion's, with what the gate decided."""
    import matplotlib

    matplotlib.use("svg")
    matplotlib.rcParams |= {"svg.hashsalt": "slipway", "font.size": 10}
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(figsize=(9, 4.4))
    blue, brown = "#0b5fa5", "#b0541f"
    places = range(len(months))
    scores = [row["retrained"] for row in months]
    axes.plot(places, scores, "-", color=blue, label="retrained each month: the champion that the gate kept")
    never = [row["never"] for row in months]
    axes.plot(places, never, "--", color=brown, marker="s", ms=4, label="never retrained: the first champion")
    looks = {"promoted": ("o", "#0b7a3e"), "inconclusive": ("D", "#c98a00"), "refused": ("X", "#b3261e")}
    for decision, (marker, colour) in looks.items():
        chosen = [place for place in places if months[place]["decision"] == decision]
        heights = [scores[place] for place in chosen]
        label = f"{decision} ({len(chosen)} of {len(months)})"
        axes.plot(chosen, heights, marker, color=colour, ms=8, label=label, zorder=3)
    for place, row in enumerate(months):
        mark = f"v{row['champion']}" if row["decision"] == "promoted" else f"v{row['champion']} stays"
        above = row["retrained"] >= row["never"]
        offset = (0, 9) if above else (0, -16)
        axes.annotate(mark, (place, scores[place]), textcoords="offset points", xytext=offset, ha="center", fontsize=8)  # fmt: skip
    axes.set_xticks(places, [row["month"] for row in months])
    axes.set(
        ylabel="AUC on that month, unseen",
        xlabel="flights of",
        title="Will it arrive more than 15 minutes late?",
    )
    axes.margins(y=0.16)
    axes.grid(axis="y", alpha=0.25)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False, fontsize=9, loc="upper center", bbox_to_anchor=(0.5, -0.16), ncols=2)
    figure.tight_layout()
    figure.savefig(PICTURE, metadata={"Date": None})


if __name__ == "__main__":
    main()
