"""pip as it is called here: quiet, asking nothing, and what it says as one sentence."""

import re
import subprocess
import sys
from pathlib import Path

from tasks.errors import StepError, UserError

_QUIET = ("--disable-pip-version-check", "--no-input", "--quiet")


def pip(file: Path, *words: str) -> None:
    """Run pip for a file of requirements, with the index that this machine has configured, of which nothing is shown.

    Raises UserError for what the index lacks or cannot be together, StepError when it does not come to an end.
    """
    done = subprocess.run(
        [sys.executable, "-m", "pip", words[0], *_QUIET, *words[1:]],
        capture_output=True,
        text=True,
        stdin=subprocess.DEVNULL,
    )
    if done.returncode == 0:
        return
    said = [
        re.sub(r"\S*://\S+", "…", line.removeprefix("ERROR: "))
        for line in done.stderr.splitlines()
        if line.startswith("ERROR: ")
    ]
    if "No module named pip" in done.stderr:
        raise StepError(
            "pip is not installed here, and a workload's requirements are: `python -m ensurepip`."
        )
    conflict = next((line for line in said if line.startswith("Cannot install ")), None)
    if conflict:
        raise UserError(
            f"{file}: {conflict.rstrip('.')}: it contradicts what Slipway itself is installed with, or another line of the file; ask for another version."
        )
    lacking = next((line for line in said if line.startswith("No matching distribution found for ")), None)
    if lacking:
        what = lacking.removeprefix("No matching distribution found for ")
        raise UserError(
            f"{file}: the package index has no {what} for this Python: ask for another version, or put it there."
        )
    raise StepError(
        f"{file}: pip did not come to an end ({(said or ['it says nothing'])[0].rstrip('.')}): check the package index and the network."
    )
