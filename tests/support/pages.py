"""README and docs/ as what a reader copies from them: fenced blocks, and the commands in those."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from checkout import ROOT

PAGES = (
    "README.md",
    "CONTRIBUTING.md",
    "SECURITY.md",
    *sorted(f"docs/{path.name}" for path in (ROOT / "docs").glob("*.md")),
)

_BLOCK = re.compile(r"^```(\w*)\n(.*?)^```$", re.S | re.M)

_COMMENT = re.compile(r"\s+# .*$")


@dataclass(frozen=True)
class Block:
    """One fenced block of a page."""

    page: str
    line: int
    language: str
    text: str

    @property
    def commands(self) -> list[str]:
        """As typed: `console` has them behind a $, every line of `sh` is one; comments are left out."""
        lines = [_COMMENT.sub("", line) for line in self.text.replace("\\\n", " ").splitlines()]
        if self.language == "console":
            return [line[2:] for line in lines if line.startswith("$ ")]
        return [line for line in lines if line] if self.language == "sh" else []


def blocks(page: str, root: Path = ROOT) -> Iterator[Block]:
    text = (root / page).read_text()
    for fenced in _BLOCK.finditer(text):
        yield Block(page, text.count("\n", 0, fenced.start()) + 1, fenced[1], fenced[2])


def plain(text: str) -> str:
    """Without what differs from run to run: numbers, digests, and the space that they take."""
    return re.sub(r"\s+", "", re.sub(r"-?\d[\d.,]*", "#", re.sub(r"[0-9a-f]{32,}", "#", text)))
