"""How much memory this process took at its highest, how much it may take, and what it keeps of it."""

import ctypes
import resource
import sys
from contextlib import suppress
from pathlib import Path

MEMORY, MEMORY_A_BYTE = 4 * 1024**3, 8
"""What any model may take in bytes of address space: so many, and so many more for each byte of its folder."""

_TRIM, _MAP = -1, -3
"""glibc's names of two of its settings: from how much freed memory on it is given back, and how large a block is mapped by itself."""

_KEPT, _LARGEST = 256 * 2**20, 32 * 2**20


def keep_freed_memory() -> None:
    """Have the allocator keep up to 256 MB of what is freed, where it is glibc's.

    Else every step of a training gives its pages back and has them made anew: a tenth of its time.
    """
    with suppress(OSError, AttributeError):
        allocator = ctypes.CDLL(None)
        allocator.mallopt(_MAP, _LARGEST)
        allocator.mallopt(_TRIM, _KEPT)


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


def bound_memory(size: int) -> int:
    """Let this process take no more than so many bytes of address space, or what it may have already where that is less; which it is."""
    limits = [size, *resource.getrlimit(resource.RLIMIT_AS)]
    least = min(limit for limit in limits if limit != resource.RLIM_INFINITY)
    resource.setrlimit(resource.RLIMIT_AS, (least, limits[2]))
    return least
