"""Ten months of flights, in order, on `slipway up`: each month's end a schedule of retrain / flights fires, and the gate decides.

What `slipway backfill` does, but for who retrains: here the worker runs the deployed flow, with the workload's own training and without
compression. What the gate is not sure of is answered by nobody. Begins where an interrupted replay ended (.slipway/replay; `--anew`
starts over). Writes docs/images/replay.svg.
"""

import datetime
import os
import shutil
import subprocess
import sys

from figures import published, table
from platform_process import ROOT, Platform

from tasks.monitoring.backfill import Replay, days_of
from tasks.monitoring.chart import replayed
from tasks.monitoring.past import Past
from tasks.registry.registry import Registry
from tasks.settings import load_settings
from tasks.workloads.catalogue import load_workload

FIRST, LAST = datetime.date(2013, 3, 1), datetime.date(2014, 1, 1)
HOME = ROOT / ".slipway" / "replay"
PICTURE = ROOT / "docs" / "images" / "replay.svg"
PATIENCE = 3600
LOOKS = {"PREFECT_SERVER_SERVICES_SCHEDULER_LOOP_SECONDS": "5"}


def main() -> None:
    if "--anew" in sys.argv:
        shutil.rmtree(HOME, ignore_errors=True)
    with published("replay", "prefect", "mlflow") as lines:
        lines += months()


def months() -> list[str]:
    with Platform(HOME, ROOT, **LOOKS) as platform:
        os.environ |= {"SLIPWAY_HOME": str(HOME), "MLFLOW_TRACKING_URI": platform.addresses["mlflow"]}
        registry = Registry(load_settings())
        replay = Replay(
            registry,
            Past(load_workload("flights")),
            days_of(FIRST, LAST, "month", LAST),
            lambda until: retrained(platform, registry, str(until)),
            HOME / "periods.json",
        )
        for period in replay.periods():
            print(period.model_dump_json(), flush=True)
        words = [sys.executable, "-m", "flows.cli", "history", "flights"]
        wide = os.environ | {"COLUMNS": "240"}
        ledger = subprocess.run(words, cwd=ROOT, env=wide, check=True, stdout=subprocess.PIPE, text=True)
    print(ledger.stdout)
    PICTURE.write_text(replayed(replay.done, "AUC", "Will it arrive more than 15 minutes late?"))
    rows = [period.model_dump(mode="json", exclude={"why", "difference"}) for period in replay.done]
    return table(list(rows[0]), [list(map(str, row.values())) for row in rows])


def retrained(platform: Platform, registry: Registry, until: str) -> int:
    """Let the schedule fire on all rows before the month; the version that came of it."""
    run = platform.ended(fire(platform, until), PATIENCE)
    if run["state_type"] != "COMPLETED":
        raise SystemExit(f"The run until {until} ended as {run['state_name']}: {run['state']['message']}")
    return max(int(entry.version) for entry in registry.client.search_model_versions("name='flights'"))


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


if __name__ == "__main__":
    main()
