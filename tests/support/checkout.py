"""Where things are in this checkout."""

from pathlib import Path

SUPPORT = Path(__file__).parent

TESTS = SUPPORT.parent

BENCH = TESTS / "bench"

ROOT = TESTS.parent
