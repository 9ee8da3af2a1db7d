"""tests/transcripts/: what somebody types and what is printed, page by page in one folder. Run as a script, it records them anew.

In a `console` block a line with a $ is typed (a > goes on with it) and what follows is printed; `[2]` is an exit code other than 0.
"""

import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from checkout import BENCH, ROOT, TESTS
from pages import blocks

TRANSCRIPTS = sorted(path.relative_to(ROOT).as_posix() for path in (TESTS / "transcripts").glob("*.md"))

_TYPED = re.compile(r"^\$ (?P<command>.*\n(?:> .*\n)*)(?P<printed>(?:(?!\$ ).*\n)*)", re.M)


@dataclass(frozen=True)
class Exchange:
    """A command, and what it prints on both streams, with its exit code."""

    page: str
    command: str
    printed: str


def exchanges(page: str) -> Iterator[Exchange]:
    for block in blocks(page):
        for typed in _TYPED.finditer(block.text) if block.language == "console" else ():
            yield Exchange(page, typed["command"].replace("\n> ", "\n"), typed["printed"])


def typed_in(command: str, folder: Path, environment: dict[str, str]) -> str:
    """What a terminal shows after the command."""
    done = subprocess.run(
        ["bash", "-c", command], cwd=folder, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )  # fmt: skip
    shown = done.stdout.replace(str(folder), "/home/ada").replace(str(ROOT), "/opt/slipway")
    lines = [
        line.rstrip() for line in shown.splitlines() if "EventsWorker" not in line
    ]  # of Prefect, on a busy machine
    return "".join(f"{line}\n" for line in [*lines, *([f"[{done.returncode}]"] if done.returncode else [])])


def desk(folder: Path, prefect: str | None) -> dict[str, str]:
    """A folder to type in, with a small workload in it, and the environment of who types there."""
    (folder / "tiny.py").write_text((BENCH / "tiny_digits.py").read_text())
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("SLIPWAY_", "MLFLOW_"))}
    address = {"PREFECT_API_URL": prefect} if prefect else {}
    return {**kept, **address, "PATH": path, "PYTHONPATH": str(ROOT), "SLIPWAY_USER": "ada", "COLUMNS": "100"}


def main() -> None:
    """Record; faster with a Prefect server in PREFECT_API_URL."""
    with tempfile.TemporaryDirectory() as temporary:
        environment = desk(Path(temporary), os.environ.get("PREFECT_API_URL"))
        for page in TRANSCRIPTS:
            done, rest = "", (ROOT / page).read_text()
            for exchange in exchanges(page):
                typed = "$ " + exchange.command.removesuffix("\n").replace("\n", "\n> ") + "\n"
                before, rest = rest.split(f"{typed}{exchange.printed}", 1)
                done += before + typed + typed_in(exchange.command, Path(temporary), environment)
            (ROOT / page).write_text(done + rest)


if __name__ == "__main__":
    main()
