"""What this machine's processor does with 8-bit integers."""

import platform
from pathlib import Path

_CPUINFO = Path("/proc/cpuinfo")

_DOT_PRODUCTS = ("avx512_vnni", "avx_vnni", "amx_int8", "asimddp")


def multiplies_int8_exactly(cpuinfo: Path = _CPUINFO) -> bool:
    """Whether 8-bit products are added up in 32 bits (VNNI, AMX, ARM's dot products).

    Elsewhere x86 adds pairs of them in 16 bits, which overflow: weights then have to stay within 7 bits.
    """
    if not cpuinfo.exists():
        return platform.machine().lower() in ("arm64", "aarch64")
    return not set(cpuinfo.read_text().split()).isdisjoint(_DOT_PRODUCTS)
