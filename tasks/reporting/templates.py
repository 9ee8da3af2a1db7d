"""What the pages here are read by: templates whose values are escaped, and numbers as people write them."""

from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from tasks.measured import Comparison, Interval
from tasks.reporting.candidates import number, numbers


def pages_environment() -> Any:
    """Every value is escaped, and one that is not there is an error."""
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent), autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )  # fmt: skip
    environment.filters |= {"number": _number, "megabytes": _megabytes, "numbers": numbers, "beside": _beside}
    return environment


def _number(value: float | Interval | None, digits: int = 4, sign: str = "") -> str:
    return number(value, f"{{:{sign}.{digits}f}}")


def _megabytes(size: int | None) -> str:
    return "–" if size is None else f"{size / 1e6:,.2f} MB" if size >= 1e6 else f"{size / 1e3:,.0f} kB"


def _beside(comparison: Comparison) -> str:
    """The comparison's standing in one line."""
    if comparison.problem is not None:
        return comparison.problem
    return f"{_number(comparison.difference, sign='+')} ({_number(comparison.interval)}) on the same {comparison.rows} rows"
