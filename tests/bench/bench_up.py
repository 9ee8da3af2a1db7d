"""What `slipway up` costs: seconds until everything answers, on an empty home and again; memory and CPU when idle."""

import json
import os
import tempfile
import time
from pathlib import Path

import psutil
from platform_process import ROOT, Platform

IDLE_SECONDS = 60
SETTLE_SECONDS = 30


def memory(processes: list[psutil.Process]) -> dict[str, float]:
    """MB: proportional (shared pages counted once) where the system tells, and the plain sum of resident sizes."""
    full = [process.memory_full_info() for process in processes]
    return {
        "pss_mb": sum(getattr(one, "pss", one.uss) for one in full) / 1e6,
        "rss_mb": sum(one.rss for one in full) / 1e6,
    }


def cpu(processes: list[psutil.Process]) -> float:
    return sum(sum(process.cpu_times()[:2]) for process in processes)


def start(home: Path, folder: Path) -> dict[str, object]:
    started = time.monotonic()
    with Platform(home, folder) as platform:
        ready = time.monotonic() - started
        processes = platform.processes()
        start_cpu = cpu(processes)
        time.sleep(SETTLE_SECONDS)
        before = cpu(processes)
        time.sleep(IDLE_SECONDS)
        share = (cpu(processes) - before) / IDLE_SECONDS
        found = {"ready_seconds": ready, "start_cpu_seconds": start_cpu, "idle_cpu_share": share}
        found |= memory(processes)
        stopping = time.monotonic()
        platform.end()
        left = len(platform.processes())
    return {
        **found,
        "stop_seconds": time.monotonic() - stopping,
        "left_behind": left,
        "processes": len(processes),
    }


def main() -> None:
    results: dict[str, object] = {"load": os.getloadavg()}
    with tempfile.TemporaryDirectory() as folder:
        for name in ("first", "again"):
            results[name] = start(Path(folder) / "home", Path(folder))
    for name in ("first", "again"):
        print(name, json.dumps(results[name], default=lambda value: round(value, 2)))
    path = ROOT / ".slipway" / "bench" / "up.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(results, indent=1))


if __name__ == "__main__":
    main()
