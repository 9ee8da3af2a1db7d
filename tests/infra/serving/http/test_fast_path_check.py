"""The fast path knows all that it leans on, and stays off where a uvicorn has it otherwise."""

import ast
import inspect
import json
import logging
import re
import socket
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
from both_protocols import BODY, HEAD, LAST, post
from serving_process import PATIENCE, ServerProcess
from uvicorn import server
from uvicorn.protocols.http import flow_control, httptools_impl

from infra.serving.http import bounded_connection, fast_path, fast_path_check, fast_reply
from infra.serving.http.fast_path_check import ATTRIBUTES, METHODS, PARSER, misfit, protocol_for
from infra.serving.http.fast_reply import FastReply

NAMES = [signature.partition("(")[0] for signature in METHODS]
OWNERS = {"self": "HttpToolsProtocol", "cycle": "RequestResponseCycle", "flow": "FlowControl"} | {
    "server_state": "ServerState"
}
OF = {
    owner: {name for (kind, _), names in ATTRIBUTES.items() if kind == owner for name in names}
    for owner in OWNERS.values()
}


def uvicorn_with(pattern: str, replacement: str) -> ModuleType:
    """uvicorn's protocol as another release might have it: its source, and that of what it stands on, with a change."""
    made = []
    for module in (flow_control, server, httptools_impl):
        copy = ModuleType(module.__name__)
        copy.__file__ = module.__file__
        exec(re.sub(pattern, replacement, inspect.getsource(module)), copy.__dict__)
        made.append(copy)
    flow, state, implementation = made
    vars(implementation).update(FlowControl=flow.FlowControl, ServerState=state.ServerState)
    return implementation


def test_the_installed_uvicorn_fits_and_so_does_its_source_unchanged() -> None:
    assert misfit(httptools_impl) is None
    assert misfit(uvicorn_with("nothing of this", "")) is None


@pytest.mark.parametrize("name", sorted({*NAMES, *(name for names in ATTRIBUTES.values() for name in names)}))
def test_a_uvicorn_that_names_anything_otherwise_does_not_fit(name: str) -> None:
    assert name in str(misfit(uvicorn_with(rf"\b{name}\b", f"{name}_now")))


@pytest.mark.parametrize("name", NAMES)
def test_a_uvicorn_that_passes_more_to_a_method_does_not_fit(name: str) -> None:
    assert name in str(misfit(uvicorn_with(rf"(def {name}\([^)]*?self)", r"\1, more")))


@pytest.mark.parametrize("name", PARSER)
def test_a_parser_that_answers_less_does_not_fit(name: str) -> None:
    changed = uvicorn_with("nothing of this", "")
    parser = type("Parser", (), dict.fromkeys(set(PARSER) - {name}))
    vars(changed).update(httptools=SimpleNamespace(HttpRequestParser=parser))
    assert name in str(misfit(changed))


def test_other_status_lines_do_not_fit() -> None:
    assert "status lines" in str(misfit(uvicorn_with(r"HTTP/1\.1 ", "HTTP/2 ")))


class Reads(ast.NodeVisitor):
    """What a module reads or sets on uvicorn's protocol: dotted names behind `root`, or behind a local name for it."""

    def __init__(self, module: ModuleType, root: str = "self") -> None:
        self.root = root
        self.locals: dict[str, str] = {}
        self.paths: set[str] = set()
        self.above: set[str] = set()
        self.visit(ast.parse(inspect.getsource(module)))

    def visit_FunctionDef(self, node: ast.FunctionDef) -> None:
        self.locals = {}
        self.generic_visit(node)

    def visit_Assign(self, node: ast.Assign) -> None:
        for target in node.targets:
            self.assigned(target, node.value)
        self.generic_visit(node)

    def visit_AnnAssign(self, node: ast.AnnAssign) -> None:
        self.assigned(node.target, node.value)
        self.generic_visit(node)

    def assigned(self, target: ast.expr, value: ast.expr | None) -> None:
        if isinstance(target, ast.Name) and isinstance(value, ast.Attribute):
            self.locals[target.id] = self.full(value)

    def full(self, node: ast.expr) -> str:
        start, dot, rest = ast.unparse(node).partition(".")
        return self.locals.get(start, start) + dot + rest

    def visit_Attribute(self, node: ast.Attribute) -> None:
        name = self.full(node)
        if name.startswith("super()."):
            self.above.add(node.attr)
        elif name.startswith(f"{self.root}."):
            self.paths.add(name.removeprefix(f"{self.root}."))
        self.generic_visit(node)


def own(kind: type) -> set[str]:
    """What a class of ours defines itself: methods, annotations, and what its __init__ sets."""
    body = ast.parse(inspect.getsource(kind)).body[0]
    assert isinstance(body, ast.ClassDef)
    names = {name for name in vars(kind) if not name.startswith("__")} | set(inspect.get_annotations(kind))
    for node in ast.walk(next(n for n in body.body if getattr(n, "name", "") == "__init__")):
        if isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store):
            names.add(node.attr)
    return names


@pytest.mark.slow
def test_the_list_holds_all_that_the_fast_path_reads_of_uvicorn_and_no_more() -> None:
    ours = own(fast_path.FastPathProtocol) | own(bounded_connection.BoundedConnection)
    overridden = {name for name in ours if hasattr(httptools_impl.HttpToolsProtocol, name)}
    reads = [Reads(fast_path), Reads(bounded_connection), Reads(fast_reply, "self.connection")]
    above = {name for module in reads for name in module.above} - {"__init__", "take"}
    paths = {path for module in reads for path in module.paths}
    leaned = {path for path in paths if path.partition(".")[0] not in ours}
    direct = {path.partition(".")[0] for path in leaned}
    assert direct == OF["HttpToolsProtocol"]
    for start in ("flow", "server_state", "cycle"):
        there = {path.split(".")[1] for path in leaned if path.startswith(f"{start}.")}
        there |= set(FastReply.__slots__) - {"connection", "id", "ids"} if start == "cycle" else set()
        assert there == OF[OWNERS[start]], start
    assert {path.split(".")[1] for path in leaned if path.startswith("parser.")} == set(PARSER)
    assert overridden | above | {"on_url"} == set(NAMES), "on_url is uvicorn's own, and fills `url`"


def test_a_reply_has_all_that_uvicorn_reads_of_a_cycle_where_we_let_it() -> None:
    """Its other methods run with our reply as the cycle."""
    theirs = ast.parse(inspect.getsource(httptools_impl.HttpToolsProtocol)).body[0]
    assert isinstance(theirs, ast.ClassDef)
    ours = own(fast_path.FastPathProtocol) | own(bounded_connection.BoundedConnection)
    for method in theirs.body:
        if isinstance(method, ast.FunctionDef) and method.name not in ours:
            text = ast.unparse(method)
            assert set(re.findall(r"self\.cycle\.(\w+)", text)) <= set(FastReply.__slots__), method.name


def test_a_misfit_turns_the_fast_path_off_with_one_line(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(logging.getLogger("slipway"), "propagate", True)
    monkeypatch.setattr(fast_path_check, "implementation", lambda: uvicorn_with("on_header", "on_field"))
    service: Any = SimpleNamespace(options=SimpleNamespace(fast_path=True))
    with caplog.at_level("WARNING", logger="slipway.serving"):
        assert protocol_for(service) == "h11"
    assert len(caplog.records) == 1 and "the fast path is off" in caplog.text and "on_header" in caplog.text


ANOTHER = """
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
plain = HttpToolsProtocol.on_url
HttpToolsProtocol.on_url = lambda self, address: plain(self, address)
"""

ASKED = [
    post(extra=b""),
    post(json.dumps({"inputs": [[1, 2]]}).encode(), extra=b""),
    post(b"{", extra=b""),
    post(extra=b"X-Request-Id: 7\r\n"),
    post(path=b"/v2/models/digits/infer", extra=b""),
    HEAD + b"Transfer-Encoding: chunked\r\n\r\n%x\r\n%b\r\n0\r\n\r\n" % (len(BODY), BODY),
    b"GET /v2/models/digits HTTP/1.1\r\nHost: localhost\r\n\r\n",
]


def answered(process: ServerProcess) -> bytes:
    with socket.create_connection(process.address, timeout=PATIENCE) as connection:
        connection.sendall(b"".join(ASKED) + LAST)
        answer = b""
        while data := connection.recv(1 << 16):
            answer += data
    answer = answer.replace(
        b"Connection: close", b"connection: close"
    )  # the one header that h11 writes itself
    return re.sub(rb"(date|x-request-id): [^\r]+", rb"\1: now", answer)


@pytest.mark.slow
def test_a_server_on_another_uvicorn_answers_the_same_and_says_that_it_costs_more(
    folder: Path, tmp_path: Path
) -> None:
    (tmp_path / "another").mkdir()
    (tmp_path / "another" / "sitecustomize.py").write_text(ANOTHER)
    answers, logs = [], []
    for ahead in (None, tmp_path / "another"):
        with ServerProcess(f"digits={folder}", home=tmp_path / "home", ahead=ahead) as process:
            answers.append(answered(process))
            logs.append(process.log.read_text())
        process.log.unlink()
    assert answers[0] == answers[1] and answers[0].count(b"HTTP/1.1 200") == 5
    assert [log.count("the fast path is off") for log in logs] == [0, 1]
    assert "no on_url(self, url)" in logs[1]
