"""What a hundred thousand labels cost: taken from a file, held to as many recorded rows, and held to the pairs of a rollout.

On SQLite, with versions of the digits; CPU and wall seconds. At most 10 s by the clock are wanted of `labels add` and `score`.
"""

import datetime
import os
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import digit_versions
import numpy as np
import proved
from figures import published, table

sys.path.append(str(Path(__file__).parents[1] / "support"))

from recorded import PAIRS, counted, pair, request, write

from tasks.promotion.champion import promote
from tasks.records import Version
from tasks.registry.registry import Registry
from tasks.rollout.policy import RolloutPolicy
from tasks.rollout.record import RolloutRecord
from tasks.settings import load_settings
from tasks.traffic.label_file import add_labels
from tasks.traffic.label_queue import wanted
from tasks.traffic.pairs import labelled
from tasks.traffic.score import score

ROWS, FILES = 100_000, 100

NOW = datetime.datetime.now(datetime.UTC)


def measure(what: str, work: Callable[[], object]) -> tuple[str, str, str]:
    """Seconds of the CPU, and by the clock."""
    cpu, wall = time.process_time(), time.perf_counter()
    work()
    return what, f"{time.process_time() - cpu:.2f}", f"{time.perf_counter() - wall:.2f}"


def record(home: Path, old: Version, new: Version | None = None) -> None:
    """Two days ago: requests of one row; or, with `new`, rows on which two versions differ, of twenty times as many pairs."""
    digits = np.random.default_rng(0).integers(0, 10, ROWS)
    began, a_file = NOW.timestamp() - 2 * 86_400, ROWS // FILES
    for start in range(0, ROWS, a_file):
        rows = [(f"r{row}", int(digits[row]), began + row / 10) for row in range(start, start + a_file)]
        if new is None:
            write(home, [request(old, [digit], at, id) for id, digit, at in rows])
            continue
        differ = [pair(new, old, ((digit + 1) % 10, digit), at, f"p{id}") for id, digit, at in rows]
        write(home, [*differ, counted(old, 20 * a_file, 19 * a_file, rows[-1][2])], PAIRS)


def label(path: Path, prefix: str) -> Path:
    digits = np.random.default_rng(0).integers(0, 10, ROWS)
    lines = (f"{prefix}r{row},{digit}\n" for row, digit in enumerate(digits))
    path.write_text("id,label\n" + "".join(lines))
    return path


def main() -> None:
    with published("labels", "mlflow", "pandas") as lines:
        lines += table(("what", "CPU s", "s"), measured())


def measured() -> Iterator[tuple[str, str, str]]:
    with tempfile.TemporaryDirectory() as scratch:
        home = Path(scratch)
        os.environ["SLIPWAY_HOME"] = scratch
        os.environ.pop("MLFLOW_TRACKING_URI", None)
        settings = load_settings()
        registry, made = Registry(settings), proved.make_digits(home / "made")
        old = digit_versions.register(registry, *made)
        promote(registry, old, against=None, why="the first")
        new = digit_versions.register(registry, *made, noise=0.1)
        record(home, old)
        rollout = RolloutRecord(
            model="digits", run="run", old=old.version, new=new.version, old_sha256=old.sha256,
            new_sha256=new.sha256, salt="s", step=0, weight=0.0, sequence=1,
        )  # fmt: skip
        policy = RolloutPolicy(horizon="72h")  # type: ignore[arg-type]
        hundred = f"{ROWS:,}"
        asked = label(home / "labels.csv", "")
        yield measure(f"labels add, {hundred} in a CSV", lambda: add_labels(settings, "digits", asked))
        yield measure(
            f"score --by day, {hundred} rows and labels", lambda: score(settings, "digits", "day", NOW)
        )
        record(home, old, new)
        yield measure(f"labels wanted, {hundred} rows that differ", lambda: wanted(settings, "digits", NOW))
        add_labels(settings, "digits", label(home / "labels.csv", "p"))
        later = NOW + datetime.timedelta(days=2)
        counting = f"a rollout's counts, {hundred} of {20 * ROWS:,} pairs differ"
        for what in (counting, "and again, as the next look does"):
            yield measure(what, lambda: labelled(settings, "digits", rollout, policy, later).counts)
        assert labelled(settings, "digits", rollout, policy, later).counts.worse == ROWS


if __name__ == "__main__":
    main()
