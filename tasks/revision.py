"""Which code made something: the commit, and whether files differ from it."""

import os
import subprocess
from functools import cache
from pathlib import Path

from tasks.records import Record


class Revision(Record):
    """A commit, or "unknown" outside a checkout; `dirty` when the working tree differs from it."""

    commit: str
    dirty: bool


@cache
def code_revision() -> Revision:
    """The revision of Slipway's checkout; an image without one names it in SLIPWAY_REVISION."""
    if given := os.environ.get("SLIPWAY_REVISION"):
        return Revision(commit=given, dirty=False)
    root = Path(__file__).parent.parent
    commit = _git(root, "rev-parse", "HEAD")
    if commit is None:
        return Revision(commit="unknown", dirty=True)
    return Revision(commit=commit, dirty=bool(_git(root, "status", "--porcelain", "--untracked-files=no")))


def _git(root: Path, *arguments: str) -> str | None:
    try:
        done = subprocess.run(["git", "-C", str(root), *arguments], capture_output=True, text=True, timeout=10)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() if done.returncode == 0 else None
