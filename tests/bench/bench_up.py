"""What `slipway up` costs: seconds until everything answers, on an empty home and again; memory and CPU when idle."""

import tempfile
import time
from pathlib import Path

import psutil
from figures import cell, published, table
from platform_process import Platform

IDLE_SECONDS = 60
SETTLE_SECONDS = 30


def memory(processes: list[psutil.Process]) -> dict[str, float]:
    """MB: proportional (shared pages counted once) where the system tells, and the plain sum of resident sizes."""
    full = [process.memory_full_info() for process in processes]
    return {
        "MB, shared pages once": sum(getattr(one, "pss", one.uss) for one in full) / 1e6,
        "MB, resident": sum(one.rss for one in full) / 1e6,
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
        found = {"s until ready": ready, "CPU s of it": start_cpu, "share of a core when idle": share}
        found |= memory(processes)
        stopping = time.monotonic()
        platform.end()
        left = len(platform.processes())
    return {
        **found,
        "s to stop": time.monotonic() - stopping,
        "processes left behind": left,
        "processes": len(processes),
    }


def main() -> None:
    with published("up", "prefect", "mlflow") as lines, tempfile.TemporaryDirectory() as folder:
        first, again = (start(Path(folder) / "home", Path(folder)) for _ in range(2))
        rows = [(name, cell(value), cell(again[name])) for name, value in first.items()]
        lines += table(("`slipway up`", "in an empty home", "again"), rows)


if __name__ == "__main__":
    main()
