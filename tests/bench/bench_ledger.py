"""What a decision's look at the ledger costs, by how many entries it has: from this home, which has seen them, and from one that has not.

On SQLite; medians of CPU seconds and of wall time.
"""

import datetime
import os
import statistics
import tempfile
import time
from pathlib import Path

import promotions
from figures import published, table

from tasks.promotion.entries import FIRST, LedgerEntry
from tasks.promotion.head import Head, write_head
from tasks.promotion.ledger import read_ledger
from tasks.registry.registry import Registry
from tasks.settings import load_settings
from tasks.system.signing import private_key, sign_text

ENTRIES, ROUNDS, MOST_SECONDS = (10, 100, 1000), 9, 0.2


def write_ledger(registry: Registry, model: str, count: int) -> None:
    """A ledger of promotions from one version to the next and back, as decisions leave it but for MLflow's table."""
    promotions.register_bare(registry, model, 2)
    key, previous, values = private_key(), FIRST, {}
    for sequence in range(1, count + 1):
        entry = LedgerEntry(
            sequence=sequence,
            at=datetime.datetime.now(datetime.UTC),
            model=model,
            action="promote",
            from_version=None if sequence == 1 else 1 + (sequence - 1) % 2,
            to_version=1 + sequence % 2,
            who="bench",
            why="score 0.9812 on 3,000 test rows, at least 0.01 better than the champion's",
            verdict="pass",
            evidence="e" * 64,
            previous=previous,
        )
        signed = f'{{"entry":{entry.model_dump_json()},"signature":"{sign_text(entry.canonical, key)}"}}'
        values |= {f"entry-{sequence}": signed, f"done-{sequence}": entry.digest}
        previous = entry.digest
    registry.begin_claims(model, values)
    write_head(registry.settings, model, Head(sequence=count, digest=previous))


def measure(registry: Registry, model: str) -> tuple[float, float]:
    """Median CPU and wall seconds of a read."""
    times = []
    for _ in range(ROUNDS):
        cpu, wall = time.process_time(), time.perf_counter()
        ledger = read_ledger(registry, model)
        times.append((time.process_time() - cpu, time.perf_counter() - wall))
        assert ledger.problems == (), ledger.problems
    return statistics.median(cpu for cpu, _ in times), statistics.median(wall for _, wall in times)


def main() -> None:
    rows = []
    with published("ledger", "mlflow") as lines, tempfile.TemporaryDirectory() as scratch:
        os.environ["SLIPWAY_HOME"] = scratch
        os.environ.pop("MLFLOW_TRACKING_URI", None)
        registry = Registry(load_settings())
        for count in ENTRIES:
            model = f"m{count}"
            write_ledger(registry, model, count)
            seen = measure(registry, model)
            for head in (Path(scratch) / "ledgers").glob(f"{model}-*"):
                head.unlink()
            rows.append([f"{count:,}", *(f"{value:.3f}" for value in (*seen, *measure(registry, model)))])
        wanted = f"s (at most {MOST_SECONDS} wanted)"
        lines += table(["entries", "seen before: CPU s", wanted, "never seen: CPU s", "s"], rows)


if __name__ == "__main__":
    main()
