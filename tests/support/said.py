"""All that a home's pages say to people: Prefect's artifacts, runs and logs, MLflow's descriptions and notes, reports, the first page."""

import re
import sqlite3
from collections.abc import Callable, Iterator
from html import unescape
from pathlib import Path
from typing import Any

_QUERIES = {
    "MLflow's page of {}": "select name, description from registered_models where description != ''",
    "MLflow's version {}": "select name || ' ' || version, description from model_versions where description != ''",
    "MLflow's run {}": "select run_uuid || ' ' || key, value from tags where key like 'slipway.%' or key = 'mlflow.note.content'",
    "MLflow's tag of {}": "select name || ' ' || key, value from registered_model_tags",
    "MLflow's tag of version {}": "select name || ' ' || version || ' ' || key, value from model_version_tags",
}

_PAGES = ("*.html", "*.md")


def said(home: Path, ask: Callable[..., Any], first_page: str) -> Iterator[tuple[str, str]]:
    """(where, text); `ask`: Prefect's API by path and body, `first_page`: its HTML."""
    for kind, parts in (
        ("artifacts", ("key", "description", "data")),
        ("flow_runs", ("name",)),
        ("logs", ("message",)),
    ):
        for found in _all(ask, kind):
            if (
                kind == "artifacts" and found.get("key") is None
            ):  # Prefect's own, of where it keeps what a step gave: on no page
                continue
            texts = [found[part] for part in parts] + [(found.get("state") or {}).get("message")]
            yield f"Prefect's {kind}, {found['id']}", "\n".join(str(text) for text in texts if text)
    with sqlite3.connect(f"file:{home / 'mlflow.db'}?mode=ro", uri=True) as database:
        for where, query in _QUERIES.items():
            for name, text in database.execute(query):
                yield where.format(name), text
    database.close()
    yield "the first page", text_of(first_page)
    for folder in (home / "work", home / "mlartifacts"):
        for page in (path for pattern in _PAGES for path in folder.rglob(pattern)):
            yield str(page.relative_to(home)), text_of(page.read_text())


def text_of(page: str) -> str:
    """What a browser shows of HTML."""
    shown = re.sub(r"<(style|script|svg)\b.*?</\1>|<[^>]*>", " ", page, flags=re.S)
    return unescape(shown)


def stumbles(text: str, paths: list[str]) -> list[str]:
    """What no sentence should have: two full stops at its end, or a path of the machine that made it; with what is around it."""
    wrong = [r"[^\s./]\.\.(?![./\w])", *(re.escape(path) for path in paths)]
    return [
        text[max(0, found.start() - 60) : found.end() + 40]
        for each in wrong
        for found in re.finditer(each, text)
    ]


def _all(ask: Callable[..., Any], kind: str) -> Iterator[Any]:
    seen = 0
    while found := ask(f"/{kind}/filter", {"limit": 200, "offset": seen}):
        yield from found
        seen += len(found)
