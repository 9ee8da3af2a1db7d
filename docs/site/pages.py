"""A hook of mkdocs: the pages at the top of the repository are pages of the site too, their links rewritten, nothing copied."""

import re
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files

ROOT = Path(__file__).parents[2]

PAGES = {
    "README.md": "index.md",
    "CONTRIBUTING.md": "contributing.md",
    "SECURITY.md": "security.md",
    "CHANGELOG.md": "changelog.md",
}


def on_files(files: Files, config: MkDocsConfig) -> Files:
    for source, page in PAGES.items():
        files.append(File.generated(config, page, content=as_page((ROOT / source).read_text())))
    files.append(File.generated(config, "wide.css", content=".md-grid { max-width: 82rem }"))
    return files


def on_page_markdown(markdown: str, **_: object) -> str:
    """`../README.md` of a page in docs/ is a page beside it."""
    return re.sub(r"\]\(\.\./(\w+\.md)", lambda link: f"]({PAGES.get(link[1], '../' + link[1])}", markdown)


def as_page(text: str) -> str:
    """Links of a page at the top, as they are from within docs/."""
    text = text.replace("](docs/", "](")
    return re.sub(r"\]\((\w+\.md)", lambda link: f"]({PAGES.get(link[1], link[1])}", text)
