"""The command's scenarios, as they are read in the pages beside this file, are what happens."""

import os
from pathlib import Path

import pytest
from pages import plain
from transcripts import TRANSCRIPTS, desk, exchanges, typed_in


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_transcripts_are_what_happens(tmp_path: Path, prefect_server: str, program: Path) -> None:
    """All pages in one folder, in their order; numbers, digests and dates may differ, words may not."""
    environment = desk(tmp_path, prefect_server)
    assert TRANSCRIPTS
    environment["PATH"] = f"{program.parent}{os.pathsep}{environment['PATH']}"
    for page in TRANSCRIPTS:
        for exchange in exchanges(page):
            printed = typed_in(exchange.command, tmp_path, environment)
            assert plain(exchange.printed) == plain(printed), (
                f"{page}: {exchange.command}\nshown:\n{exchange.printed}\nprinted:\n{printed}"
            )
