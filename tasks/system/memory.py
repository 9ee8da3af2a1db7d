"""How much memory this process took at its highest."""

import resource
import sys
from contextlib import suppress
from pathlib import Path


def reset_peak() -> None:
    """Begin anew, where the system can."""
    with suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")


def peak_bytes() -> int:
    """Resident memory at its highest since the reset; where that cannot be set back, since the process began."""
    with suppress(OSError, StopIteration):
        status = Path("/proc/self/status").read_text()
        return next(int(line.split()[1]) * 1024 for line in status.splitlines() if line.startswith("VmHWM"))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss  # on Linux it begins with that of the parent
    return peak if sys.platform == "darwin" else peak * 1024
