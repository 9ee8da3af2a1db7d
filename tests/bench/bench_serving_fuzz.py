"""A hundred thousand requests that are nearly right: no 5xx, no crash, no memory kept. Schemathesis first, then our own mutations."""

import json
import os
import re
import shutil
import subprocess
import sys
import time
from collections import Counter

from hypothesis import HealthCheck, Phase, given, settings
from serving_mutations import VALID, mutated, targets
from serving_peers import HOME, environment
from serving_process import ServerProcess

REQUESTS, AT_ONCE, EXAMPLES = 100_000, 2_000, 400
LONGEST = 3600.0
QUIET = settings(
    max_examples=AT_ONCE,
    deadline=None,
    database=None,
    phases=[Phase.generate],
    suppress_health_check=list(HealthCheck),
)


def worker_memory(server: ServerProcess) -> float:
    """Resident MB of the one worker."""
    (worker,) = server.children("infra.serving.processes.worker")
    with open(f"/proc/{worker}/status") as file:
        return int(re.search(r"VmRSS:\s+(\d+)", file.read())[1]) / 1024  # type: ignore[index]


def by_schema(server: ServerProcess) -> dict[str, int | str]:
    """What schemathesis finds with our OpenAPI document: it knows how a server should refuse."""
    python = environment("schemathesis", "schemathesis")
    command = [str(python.parent / "schemathesis"), "run", f"{server.url}/openapi.json"]
    command += ["--checks", "not_a_server_error,response_schema_conformance,content_type_conformance"]
    command += ["--max-examples", str(EXAMPLES), "--phases", "examples,coverage,fuzzing", "--no-color"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=LONGEST, cwd=HOME)
    (HOME / "schemathesis.log").write_text(done.stdout + done.stderr)
    cases = re.search(r"(\d+) generated", done.stdout)
    failed = re.search(r"(\d+) found", done.stdout)
    return {
        "schemathesis cases": int(cases[1]) if cases else 0,
        "schemathesis findings": int(failed[1]) if failed else 0,
        "schemathesis exit code": done.returncode,
    }


def by_mutation(server: ServerProcess, wanted: int) -> Counter[int]:
    """Statuses of mutated requests."""
    statuses: Counter[int] = Counter()

    @QUIET
    @given(mutated())
    def attempt(request: tuple[str, bytes]) -> None:
        statuses[server.post(*request).status] += 1

    end = time.monotonic() + LONGEST
    while statuses.total() < wanted and time.monotonic() < end:
        attempt()
        if statuses.total() % 10_000 < AT_ONCE:
            print(f"{statuses.total():>8} {dict(statuses)}", flush=True)
    return statuses


def main() -> int:
    HOME.mkdir(parents=True, exist_ok=True)
    folder = HOME / "fuzz"
    shutil.rmtree(folder, ignore_errors=True)
    with ServerProcess(*targets(folder), home=folder / "home", log_level="error") as server:
        (worker,) = server.children("infra.serving.processes.worker")
        figures: dict[str, object] = dict(by_schema(server))
        by_mutation(server, 2 * AT_ONCE)
        before = worker_memory(server)
        statuses = by_mutation(server, REQUESTS)
        figures |= {f"answered {status}": count for status, count in sorted(statuses.items())}
        figures["mutated requests"] = statuses.total()
        figures["worker MB before"], figures["worker MB after"] = before, worker_memory(server)
        figures["worker died"] = server.children("infra.serving.processes.worker") != [worker]
        figures["valid ones still answered"] = all(server.post(*each).status == 200 for each in VALID)
    for name, value in figures.items():
        print(f"{name:40}{value!s:>12}")
    (HOME / "serving_fuzz.json").write_text(json.dumps({"load": os.getloadavg()[0], **figures}, indent=1))
    return int(any(status >= 500 for status in statuses) or bool(figures["worker died"]))


if __name__ == "__main__":
    sys.exit(main())
