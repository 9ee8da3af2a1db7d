"""What this machine's processor does with 8-bit integers."""

from pathlib import Path

from tasks.system.processor import CPUINFO, first_of

_DOT_PRODUCTS = ("avx512_vnni", "avx_vnni", "amx_int8", "asimddp")


def multiplies_int8_exactly(cpuinfo: Path = CPUINFO) -> bool:
    """Whether 8-bit products are added up in 32 bits (VNNI, AMX, ARM's dot products).

    Elsewhere x86 adds pairs of them in 16 bits, which overflow: weights then have to stay within 7 bits.
    """
    return first_of(_DOT_PRODUCTS, cpuinfo) is not None
