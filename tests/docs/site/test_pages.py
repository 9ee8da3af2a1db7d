"""The pages are a site without a broken link, and nothing in it is fetched from elsewhere."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from checkout import ROOT


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("site")
    words = [
        "build",
        "--quiet",
        "--strict",
        "--config-file",
        "docs/site/mkdocs.yml",
        "--site-dir",
        str(folder),
    ]
    done = subprocess.run(
        [sys.executable, "-m", "mkdocs", *words],
        cwd=ROOT, capture_output=True, text=True, env={**os.environ, "NO_MKDOCS_2_WARNING": "1"},
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    return folder


@pytest.mark.slow
def test_every_page_is_there_with_its_pictures_and_a_search(site: Path) -> None:
    pages = {path.stem for path in (ROOT / "docs").glob("*.md")} | {
        "index",
        "contributing",
        "security",
        "changelog",
    }
    assert pages <= {path.stem for path in site.glob("*.html")}
    assert {path.name for path in (ROOT / "docs" / "images").iterdir()} == {
        path.name for path in (site / "images").iterdir()
    }
    assert (site / "search" / "search_index.json").stat().st_size > 10_000
    assert not (site / "site").exists()


@pytest.mark.slow
def test_nothing_is_fetched_from_elsewhere(site: Path) -> None:
    for path in site.glob("*.html"):
        fetched = re.findall(
            r'<(?:script|img|link|iframe)[^>]+(?:src|href)="(https?:[^"]+)"', path.read_text()
        )
        assert fetched == [], path.name


def test_pictures_are_small() -> None:
    assert [path.name for path in (ROOT / "docs" / "images").iterdir() if path.stat().st_size > 150_000] == []


def test_a_page_begins_with_what_it_is_for() -> None:
    for path in (ROOT / "docs").glob("*.md"):
        title, empty, first, *_ = path.read_text().splitlines()
        assert title.startswith("# ") and not empty and first[:1].isupper(), path.name
