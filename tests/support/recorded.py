"""Recorded requests and pairs as servers write them, with the moments and answers that a test wants."""

import gzip
import json
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any
from uuid import uuid4

from tasks.records import Version

PAIRS = ".pairs.jsonl.gz"


def said(digit: int) -> list[float]:
    """Logits of a model that is sure of a digit."""
    return [5.0 if code == digit else 0.0 for code in range(10)]


def request(version: Version, digits: Iterable[int], at: float, id: str | None = None) -> dict[str, Any]:
    """A line of the record: the digits that a version answered."""
    answers = [said(digit) for digit in digits]
    named = {} if id is None else {"id": id}
    return {
        "time": at,
        "version": str(version.version),
        "digest": version.sha256,
        "latency_ms": 1.0,
        **named,
        "inputs.image": [[0.0] * 64 for _ in answers],
        "outputs.logits": answers,
    }


def pair(
    new: Version, old: Version, says: tuple[int, int], at: float, id: str, run: str = "run"
) -> dict[str, Any]:
    """A line of a pair that differs: what the new version said and what the old one did, which answered the client."""
    new_digit, old_digit = says
    line = request(old, [old_digit], at, id)
    about = {
        "row": 0,
        "new": new.version,
        "old": old.version,
        "agreed": False,
        "other": {"logits": said(new_digit)},
    }
    return {**line, "rollout": run, "pair": about}


def counted(old: Version, pairs: int, agreed: int, at: float, run: str = "run") -> dict[str, Any]:
    return {"time": at, "rollout": run, "version": str(old.version), "pairs": pairs, "agreed": agreed}


def write(home: Path, lines: Iterable[Mapping[str, Any]], ending: str = ".jsonl.gz") -> Path:
    """A file of the digits' record; it belongs to the hour of its last line."""
    written = [*lines]
    hour = time.strftime("%Y-%m-%d/%H", time.gmtime(written[-1]["time"]))
    path = home / "traffic" / "digits" / hour / f"{time.time_ns()}-{uuid4().hex[:6]}{ending}"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(gzip.compress("".join(f"{json.dumps(line)}\n" for line in written).encode()))
    return path
