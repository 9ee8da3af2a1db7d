"""What made a result: which code, which libraries, which machine."""

import os
import platform
import subprocess
from pathlib import Path

from pydantic import Field

from tasks.errors import LostError
from tasks.system.files import sha256_of
from tasks.system.frozen import Frozen
from tasks.system.libraries import AROUND, COMPUTING, installed


class Code(Frozen):
    """Which source made it: the git revision, and whether files differed from it."""

    revision: str | None
    dirty: bool
    lock: str | None = Field(
        None, description="SHA-256 of requirements.lock beside it; None where there is none."
    )


def code_state(root: Path | None = None) -> Code:
    """The git revision of Slipway's source (or of `root`) and whether files differ from it.

    Outside a checkout there is none; an image names its own in SLIPWAY_REVISION.
    """
    own = Path(__file__)
    checkout = root or own.parent.parent.parent
    path = checkout / "requirements.lock"
    lock = sha256_of(path) if path.is_file() else None
    if root is None and (given := os.environ.get("SLIPWAY_REVISION")):
        return Code(revision=given, dirty=False, lock=lock)

    def git(*words: str) -> str:
        command = ["git", "-C", str(checkout), *words]
        return subprocess.run(command, capture_output=True, text=True, check=True, timeout=30).stdout.strip()

    try:
        if root is None:  # installed inside another project's folder, that one's revision is not ours
            git("ls-files", "--error-unmatch", str(own))
        return Code(revision=git("rev-parse", "HEAD"), dirty=bool(git("status", "--porcelain")), lock=lock)
    except (OSError, subprocess.SubprocessError) as error:
        if isinstance(error, subprocess.TimeoutExpired) or getattr(error, "returncode", 0) < 0:
            raise LostError("git did not get to say which code this is: it was ended. Run again.") from error
        return Code(revision=None, dirty=True, lock=lock)


def library_versions() -> dict[str, str]:
    """The versions of Python and of what a result depends on, as installed."""
    versions = {name: installed(name) for name in (*COMPUTING, *AROUND)}
    return {"python": platform.python_version()} | {n: v for n, v in versions.items() if v is not None}


def machine() -> str:
    """What it ran on, in a few words."""
    return f"{platform.system()} {platform.machine()}, {os.cpu_count()} CPUs"
