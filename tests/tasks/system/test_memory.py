"""What a process does with memory that it has freed."""

import platform
import subprocess
import sys

import pytest

FAULTS = """
import resource, sys
from tasks.system.memory import keep_freed_memory
if "keep" in sys.argv:
    keep_freed_memory()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(20):
    blocks = [b"x" * (16 << 20) for _ in range(3)]
    del blocks
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


@pytest.mark.slow
@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="another allocator has no such settings")
def test_pages_that_were_freed_are_not_made_anew_for_what_comes_next() -> None:
    given_back, kept = (
        int(subprocess.check_output([sys.executable, "-c", FAULTS, *words])) for words in ([], ["keep"])
    )
    assert kept < 20_000 < 100_000 < given_back
