"""The page to start from is short, its tree is the tree, and what it links is there; its commands are run in tests/docs."""

import re
from pathlib import Path

from checkout import ROOT

README = (ROOT / "README.md").read_text()

TREE = README.split("## The tree")[1].split("```text\n")[1].split("```")[0]


def rooms(top: str) -> set[str]:
    folders = {path.parent.name for path in (ROOT / top).glob("*/*") if path.is_file()}
    return {name for name in folders if not name.startswith(("_", "."))}


def named() -> dict[str, set[str]]:
    """The folders of the tree by the folder above them, as the page has them."""
    found: dict[str, set[str]] = {}
    top = ""
    for line in TREE.splitlines():
        names = re.findall(r"([\w.]+)/(?= )", line.split("    ")[0] + " ")
        if not line.startswith(" "):
            top = names[0]
            found[top] = set()
        else:
            found[top] |= set(names)
    return found


def test_it_is_short() -> None:
    assert len(README.splitlines()) <= 150


def test_its_tree_names_every_room_and_nothing_else() -> None:
    tree = named()
    assert {top for top in tree if not (ROOT / top).is_dir()} == set()
    assert {top: tree[top] for top in ("flows", "tasks", "infra")} == {
        top: rooms(top) for top in ("flows", "tasks", "infra")
    }


def test_its_links_lead_somewhere() -> None:
    links = re.findall(r"\]\(([^)#]+)[^)]*\)", README)
    assert links and [link for link in links if not (ROOT / Path(link)).exists()] == []
