"""A workload's file carried over: `kind=`, `target=` and what goes with them written as the `goal=` that they are."""

import ast
from pathlib import Path
from typing import NamedTuple

from tasks.errors import UserError
from tasks.system.files import write_atomically
from tasks.workloads.places import is_path, source_file

OLDER = ("kind", "target", "output", "loss", "score", "score_name", "probabilities")

_MAKES = {"classification": "Classify", "regression": "Regress"}

_ASKED = {"classification": "code", "regression": "value"}


class Migrated(NamedTuple):
    """The file, the goal that it has now, and what whoever asks the model is to be told."""

    path: Path
    goal: str
    said: str


def migrate(file: str) -> Migrated:
    """Rewrite the workload's file in place. Raises UserError for a file that does not say its kind in so many words."""
    if not is_path(file):
        raise UserError(f"{file!r} is no file: give the path of a workload of yours, such as churn.py.")
    path = source_file(file)
    text = path.read_text("utf-8")
    try:
        tree = ast.parse(text)
    except SyntaxError as error:
        raise UserError(f"Workload file {path}, line {error.lineno}: {error.msg}.") from error
    call = _call(tree, path)
    given = {
        keyword.arg: keyword for keyword in call.keywords if keyword.arg is not None and keyword.arg in OLDER
    }
    goal, said = _goal(text, given, path)
    edits = [(_span(text, keyword), "") for name, keyword in given.items() if name != "kind"]
    edits.append((_span(text, given["kind"], whole=False), f"goal={goal}"))
    for (start, stop), new in sorted(edits, reverse=True):
        text = text[:start] + new + text[stop:]
    names = ", ".join(sorted({goal.partition("(")[0], *(["metric_of"] if "metric_of(" in goal else [])}))
    text = _with_import(text, f"from tasks.goals import {names}")
    write_atomically(path, text.encode())
    return Migrated(path, goal, said)


def _call(tree: ast.Module, path: Path) -> ast.Call:
    calls = [
        node
        for node in ast.walk(tree)
        if isinstance(node, ast.Call) and ast.unparse(node.func).rpartition(".")[2] == "Workload"
    ]
    older = [call for call in calls if any(keyword.arg == "kind" for keyword in call.keywords)]
    if len(older) != 1:
        why = "has no Workload(kind=…)" if not older else f"has {len(older)} of them, and one is carried over"
        raise UserError(f"{path} {why}: there is nothing to do, or split it.")
    return older[0]


def _goal(text: str, given: dict[str, ast.keyword], path: Path) -> tuple[str, str]:
    """The goal as source, and what changes for clients."""
    kind, target = (given[name].value if name in given else None for name in ("kind", "target"))
    if not isinstance(kind, ast.Constant) or kind.value not in _MAKES or target is None:
        raise UserError(f"{path} does not say kind= and target= in so many words: write goal= by hand.")
    source = {name: ast.get_source_segment(text, keyword.value) for name, keyword in given.items()}
    parts = [str(source["target"])]
    parts += [f"{name}={source[name]}" for name in ("output", "loss") if name in source]
    if "score" in source:
        asked = "probability" if source.get("probabilities") == "True" else _ASKED[str(kind.value)]
        named = f", name={source['score_name']}" if "score_name" in source else ""
        parts.append(f"score=metric_of({source['score']}, {asked!r}{named})")
    output = str(source.get("output") or "'logits'").strip("'\"")
    return f"{_MAKES[kind.value]}({', '.join(parts)})", _said(str(kind.value), output)


def _said(kind: str, output: str) -> str:
    """What changes for clients."""
    if kind == "regression":
        return "Nothing changes for clients: the answer is the same numbers under the same name."
    names = "label and probability" if output == "logits" else f"{output}_label and {output}_probability"
    return (
        f"The answer will have {names}; clients that read {output} must be told, and the first version needs "
        "`slipway promote … --new-signature`."
    )


def _span(text: str, keyword: ast.keyword, whole: bool = True) -> tuple[int, int]:
    """Where a keyword stands in the text; with its comma, a comment behind it and its line where it has one of its own."""
    lines = text.splitlines(keepends=True)
    starts = [0]
    for line in lines:
        starts.append(starts[-1] + len(line))

    def at(line: int, column: int) -> int:
        return starts[line - 1] + len(lines[line - 1].encode()[:column].decode())

    assert keyword.value.end_lineno is not None and keyword.value.end_col_offset is not None
    start, stop = (
        at(keyword.lineno, keyword.col_offset),
        at(keyword.value.end_lineno, keyword.value.end_col_offset),
    )
    if not whole:
        return start, stop
    if text[stop : stop + 1] == ",":
        stop += 1
    line_start, line_stop = text.rfind("\n", 0, start) + 1, text.find("\n", stop) + 1 or len(text)
    rest = text[stop:line_stop].strip()
    if not text[line_start:start].strip() and (not rest or rest.startswith("#")):
        return line_start, line_stop
    while text[stop : stop + 1] == " ":
        stop += 1
    return start, stop


def _with_import(text: str, statement: str) -> str:
    """The import behind the others of Slipway's own, or behind the last at the top."""
    tree = ast.parse(text)
    imports = [node for node in tree.body if isinstance(node, ast.Import | ast.ImportFrom)]
    ours = [
        node
        for node in imports
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("tasks")
    ]
    last = (ours or imports)[-1]
    lines = text.splitlines(keepends=True)
    place = (ours[0].lineno - 1) if ours and (ours[0].module or "") > "tasks.goals" else last.end_lineno or 0
    return "".join([*lines[:place], statement + "\n", *lines[place:]])
