"""What commands cost on the digits: CPU seconds of each with all its processes, by turns in a new home each; and a run's, by what it spends them on.

CPU time, for a machine is seldom idle; the median and the range of the turns. `--turns 5` for more of them.
"""

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from figures import PAGE, published, table

COMMANDS = {
    "`slipway run digits` in a new home": ("run", "digits", "--json"),
    "the same when nothing has changed": ("run", "digits", "--json"),
    "`slipway history digits`": ("history", "digits"),
    "`slipway verify digits`": ("verify", "digits"),
    "`slipway --help`": ("--help",),
}

ALONE = ("run", "digits", "--set", 'engines=["onnxruntime"]')

ELSEWHERE = ("MLFLOW_TRACKING_URI", "PREFECT_API_URL", "SLIPWAY_STORE", "SLIPWAY_SIGNER", "SLIPWAY_SETTINGS")

IMPORTS = (
    "import time; from tasks.system.imports import importing, import_less\n"
    "import_less()\n"
    "with importing():\n"
    "    from flows.cli.run import _HEAVY; from flows.retrain import retrain\n"
    "    [__import__(name) for name in _HEAVY]\n"
    "print(time.process_time())"
)
"""What a run imports before its first step."""


class Spent(NamedTuple):
    """CPU seconds of a process and of all that it started and waited for, its seconds by the clock, and what it said."""

    cpu: float
    wall: float
    said: str


def spent(words: Sequence[str], environment: Mapping[str, str]) -> Spent:
    before, began = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    done = subprocess.run([sys.executable, *words], env=environment, capture_output=True, text=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    if done.returncode not in (0, 3):  # 3: the gate said no, which costs the same
        raise SystemExit(done.stderr)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return Spent(cpu, time.perf_counter() - began, done.stdout)


def stages(outcome: str) -> dict[str, float]:
    """A run's CPU seconds by the kind of step."""
    costs: dict[str, float] = defaultdict(float)
    for step in json.loads(outcome)["steps"]:
        if step["cost"] is not None:
            around = step["name"].startswith("around")
            costs[step["name"] if around else step["name"].split()[0]] += step["cost"]["cpu_seconds"]
    return costs


def environment_of(home: str) -> dict[str, str]:
    elsewhere = {name: value for name, value in os.environ.items() if name not in ELSEWHERE}
    return elsewhere | {"SLIPWAY_HOME": home, "PYTHONPATH": str(PAGE.parents[1])}


def turn(seen: dict[str, list[float]], clock: dict[str, list[float]], within: dict[str, list[float]]) -> None:
    with tempfile.TemporaryDirectory() as home:
        environment = environment_of(home)
        for place, (name, words) in enumerate(COMMANDS.items()):
            done = spent(["-m", "flows.cli", *words], environment)
            seen[name].append(done.cpu)
            clock[name].append(done.wall)
            for stage, cost in stages(done.said).items() if place == 0 else ():
                within[stage].append(cost)
        within["of what is around: imports in the command's process"].append(
            spent(["-c", IMPORTS], environment).cpu
        )
    with tempfile.TemporaryDirectory() as home:
        done, name = (
            spent(["-m", "flows.cli", *ALONE], environment_of(home)),
            "a first run that tries no other engine",
        )
        seen[name].append(done.cpu)
        clock[name].append(done.wall)


def shown(values: Sequence[float]) -> str:
    middle = statistics.median(values)
    return f"{middle:.2g}" if max(values) < 10 else f"{middle:.1f}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--turns", type=int, default=3)
    seen, clock, within = (defaultdict[str, list[float]](list) for _ in range(3))
    turns = parser.parse_args().turns
    with published("commands", "torch", "prefect", "mlflow") as lines:
        for _ in range(turns):
            turn(seen, clock, within)
        by_stage = dict(sorted(within.items(), key=lambda each: -statistics.median(each[1])))
        rows = [
            (name, shown(values), f"{min(values):.3g} to {max(values):.3g}", shown(clock[name]))
            for name, values in seen.items()
        ]
        lines += [f"Medians of {turns} turns:", "", *table(("command", "CPU s", "from, to", "s"), rows), ""]
        steps = [
            (name, shown(values), f"{min(values):.3g} to {max(values):.3g}")
            for name, values in by_stage.items()
        ]
        lines += table(("of the run: steps of a kind", "CPU s", "from, to"), steps)


if __name__ == "__main__":
    main()
