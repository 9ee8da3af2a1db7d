"""What every bench says beside its figures, which machine, when and under what load, and the table that it writes into docs/benchmarks.md.

A table stands between `<!-- NAME -->` and `<!-- /NAME -->`; what is said around it is written by hand. Every bench takes `--write`, and only
prints without it.
"""

import datetime
import os
import platform
import statistics
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path

WRITES = "--write" in sys.argv
"""Whether tables go into the page. The word is taken away, so that benches read what else they were told."""

if WRITES:
    sys.argv.remove("--write")

PAGE = Path(__file__).resolve().parents[2] / "docs" / "benchmarks.md"

INSTRUCTIONS = {"amx_bf16": "AMX", "avx512_vnni": "AVX512-VNNI", "avx512f": "AVX512", "avx2": "AVX2"}
"""From what says most of a CPU's speed to what says least; the first that it has is named."""


def machine(*libraries: str) -> dict[str, str]:
    """This machine and today, and the versions of what is measured."""
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    said = {name.strip(): text.strip() for name, _, text in (line.partition(":") for line in lines)}
    flags = said.get("flags", "").split()
    best = next((word for flag, word in INSTRUCTIONS.items() if flag in flags), "neither AVX512 nor AVX2")
    today = datetime.date.today()
    return {
        "date": f"{today.day} {today:%B %Y}",
        "cpu": f"{len(os.sched_getaffinity(0))} cores of an {said.get('model name', platform.machine())} with {best}",
        "python": platform.python_version(),
        **{name: version(name) for name in libraries},
    }


def sentence(said: dict[str, str]) -> str:
    """The same for a line over a table."""
    versions = [f"{name} {text}" for name, text in said.items() if name not in ("date", "cpu")]
    return f"{said['date']}, {said['cpu']}; {', '.join(versions)}."


@contextmanager
def surroundings() -> Iterator[dict[str, float]]:
    """Filled at the end: the load a minute before and after (our own is in it), and the share of time that the host gave to other machines."""
    said = {"load_before": os.getloadavg()[0]}
    total, stolen = _ticks()
    yield said
    total, stolen = (now - then for now, then in zip(_ticks(), (total, stolen), strict=True))
    said |= {"load_after": os.getloadavg()[0], "steal": stolen / max(total, 1)}


def loaded(said: dict[str, float]) -> str:
    """What stood around a row, for its cell."""
    return f"{said['load_before']:.0f} to {said['load_after']:.0f}, {said['steal']:.0%}"


def _ticks() -> tuple[int, int]:
    """All of the machine's time so far, and what of it the host gave to others."""
    fields = [int(word) for word in Path("/proc/stat").read_text().splitlines()[0].split()[1:9]]
    return sum(fields), fields[7]


def table(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    """In Markdown."""
    return [f"| {' | '.join(cells)} |" for cells in (heads, ["---"] * len(heads), *rows)]


def listed(figures: Mapping[str, object]) -> list[str]:
    """Figures by name as a table."""
    return table(("what", "seen"), [(name, cell(value)) for name, value in figures.items()])


def cell(value: object) -> str:
    """A number to three places, and as it is where it counts something."""
    if not isinstance(value, int | float) or isinstance(value, bool) or value != value:
        return str(value)
    return f"{value:,.0f}" if abs(value) >= 100 or value == int(value) else f"{value:.3g}"


def spread(values: Sequence[float]) -> str:
    """The median of what was measured again and again, and its quartiles."""
    low, middle, high = statistics.quantiles(values, n=4) if len(values) > 1 else [*values] * 3
    return f"{middle:.3g} ({low:.3g} to {high:.3g})"


@contextmanager
def published(name: str, *libraries: str) -> Iterator[list[str]]:
    """The lines of a bench's table, filled by whoever measures; then shown, and written with `--write`, under what stood around them."""
    lines: list[str] = []
    with surroundings() as around:
        yield lines
    lines[:0] = [f"{sentence(machine(*libraries))} Load and steal: {loaded(around)}.", ""]
    print("\n".join(lines), flush=True)
    if WRITES:
        write(name, lines)


def write(name: str, lines: Sequence[str], page: Path = PAGE) -> None:
    """Put lines between a table's marks on the page, in the place of what stood there."""
    first, last = f"<!-- {name} -->\n", f"<!-- /{name} -->\n"
    before, opened, rest = page.read_text().partition(first)
    _, closed, after = rest.partition(last)
    if not (opened and closed):
        raise SystemExit(
            f"{page.name} has no place for {name!r}: put {first.strip()} and {last.strip()} into it"
        )
    part = page.with_suffix(".part")
    part.write_text("\n".join([f"{before}{first}", *lines, "", f"{last}{after}"]))
    part.replace(page)
