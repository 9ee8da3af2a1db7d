"""What this machine's processor can do, as Linux lists it."""

import platform
from collections.abc import Iterable
from functools import cache
from pathlib import Path

CPUINFO = Path("/proc/cpuinfo")


def instructions(cpuinfo: Path = CPUINFO) -> frozenset[str]:
    """Every word of what Linux says of the processor, instruction sets such as avx512_bf16 among them; else what the architecture has."""
    return _read(cpuinfo) if cpuinfo.exists() else frozenset(_everywhere())


def first_of(names: Iterable[str], cpuinfo: Path = CPUINFO) -> str | None:
    """The first of these instruction sets that there is."""
    there = instructions(cpuinfo)
    return next((name for name in names if name in there), None)


def model(cpuinfo: Path = CPUINFO) -> str | None:
    """What Linux calls the processor; None where it does not say."""
    lines = cpuinfo.read_text().splitlines() if cpuinfo.exists() else []
    named = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(named, None) or None


@cache
def _read(cpuinfo: Path) -> frozenset[str]:
    return frozenset(cpuinfo.read_text().split())


def _everywhere() -> tuple[str, ...]:
    """Without /proc: Apple's and Microsoft's ARM machines have these."""
    return ("asimd", "asimddp") if platform.machine().lower() in ("arm64", "aarch64") else ()
