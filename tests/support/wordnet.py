"""WordNet's nouns, made small."""

from pathlib import Path

from tasks.workloads.examples.glosses import KINDS

NUMBERS = {kind: number for number, kind in KINDS.items()}


def data_noun(folder: Path, rows: int = 60) -> Path:
    """A folder with a data.noun as WordNet has it."""
    kinds = list(KINDS.values())
    lines = ["  1 This software and database is being provided to you …".replace("…", "...")]
    lines += [
        f'0000{i:04} {NUMBERS[kinds[i % 10]]:02} n 01 word 0 000 | a {kinds[i % 10]} numbered {i}; "an example"  '
        for i in range(rows)
    ]
    lines.append("00009999 03 n 01 entity 0 000 | that which is perceived  ")
    (folder / "data.noun").write_text("\n".join(lines), encoding="ascii")
    return folder
