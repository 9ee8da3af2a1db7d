"""A hundred thousand requests that are nearly right: no 5xx, no crash, no memory kept. Schemathesis first, then our own mutations.

Then as many whose bytes are wrong, heads included, torn anywhere and sent both ways: with the fast path and without it, they have to be
answered and counted alike.
"""

import logging
import random
import re
import shutil
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import psutil
import serving_models as models
import uvloop
from both_protocols import LAST, ROW, BothProtocols, torn
from both_protocols import mutated as mutated_bytes
from figures import listed, published
from hypothesis import HealthCheck, Phase, given, settings
from raw_requests import REQUESTS as REQUESTS_AS_BYTES
from raw_requests import VERDICTS
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


def by_bytes(folder: Path, wanted: int, seed: int) -> dict[str, object]:
    """Whole connections of one to five requests of the corpus, mutated and torn, through both ways in this process."""
    hostile = [request for request, _ in VERDICTS.values() if len(request) < 2_000]
    corpus = [*REQUESTS_AS_BYTES.values(), *hostile]
    dice = random.Random(seed)
    logging.getLogger("uvicorn.error").setLevel(logging.CRITICAL)
    folder.mkdir()
    model = models.save(folder / "digits", models.mlp(), {"x": [ROW]})

    async def run() -> dict[str, object]:
        protocols, process = BothProtocols(model, folder), psutil.Process()
        sent, statuses, differ, before = 0, Counter[str](), list[str](), 0
        while sent < wanted:
            requests = [
                mutated_bytes(dice, dice.choice(corpus), dice.choice((0, 1, 1, 2, 5)))
                for _ in range(dice.randint(1, 5))
            ]
            pieces = torn(dice, b"".join(requests) + LAST)
            fast, plain = await protocols.both(
                pieces, patient=True
            )  # else an early answer races with what is wrong behind it
            statuses.update(status.decode() for status in re.findall(rb"HTTP/1.1 (\d+)", fast[0]))
            if fast != plain:
                differ.append(repr(pieces))
            sent += len(requests)
            before = before or (process.memory_info().rss if sent > wanted // 10 else 0)
        return {
            "raw requests, both ways": sent,
            **{f"raw: answered {status}": count for status, count in sorted(statuses.items())},
            "raw: answered otherwise without the fast path": differ[:3] or 0,
            "raw: MB that the last nine tenths took": round((process.memory_info().rss - before) / 2**20, 1),
        }

    return uvloop.run(run())


def main() -> int:
    HOME.mkdir(parents=True, exist_ok=True)
    folder = HOME / "fuzz"
    shutil.rmtree(folder, ignore_errors=True)
    with published("serving fuzz", "uvicorn", "onnxruntime") as lines:
        figures, wrong = tried(folder)
        lines += listed(figures)
    return int(wrong)


def tried(folder: Path) -> tuple[dict[str, object], bool]:
    """What came of it, and whether anything of that must not be."""
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
    raw = by_bytes(folder / "raw", REQUESTS, seed=20261126)
    figures |= raw
    wrong = any(status >= 500 for status in statuses) or any("answered 5" in name for name in raw)
    wrong |= bool(figures["worker died"]) or raw["raw: answered otherwise without the fast path"] != 0
    return figures, wrong


if __name__ == "__main__":
    sys.exit(main())
