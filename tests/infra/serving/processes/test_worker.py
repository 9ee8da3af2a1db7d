"""The worker's server knows all that it leans on in uvicorn's, and gives way to it where a uvicorn has that otherwise."""

import ast
import inspect
import logging
import re
from types import ModuleType
from typing import Any

import pytest
from uvicorn import config, server

from infra.serving.http.fast_path_check import first, lacks
from infra.serving.processes.worker import ATTRIBUTES, METHODS, Server, server_for

OVERRIDDEN = {signature.partition("(")[0] for signature in METHODS}
READ = {name for names in ATTRIBUTES.values() for name in names}


def uvicorn_with(name: str, replacement: str) -> ModuleType:
    """uvicorn's server as another release might have it."""
    copies = {}
    for module in (config, server):
        copies[module] = ModuleType(module.__name__)
        text = re.sub(rf"(self\.|def ){name}\b", rf"\1{replacement}", inspect.getsource(module))
        exec(text, copies[module].__dict__)
    vars(copies[server]).update(Config=copies[config].Config)
    return copies[server]


def misfit(module: ModuleType) -> str | None:
    return first(lacks(module, "Server", METHODS, ATTRIBUTES))


def test_the_installed_uvicorn_fits() -> None:
    assert misfit(server) is None


@pytest.mark.parametrize("name", sorted(OVERRIDDEN | READ))
def test_a_uvicorn_that_names_anything_otherwise_does_not_fit(name: str) -> None:
    assert name in str(misfit(uvicorn_with(name, f"{name}_now")))


def test_the_list_holds_all_that_the_server_reads_of_uvicorn_and_no_more() -> None:
    tree = ast.parse(inspect.getsource(Server))
    dotted = [ast.unparse(node) for node in ast.walk(tree) if isinstance(node, ast.Attribute)]
    read = {text.split(".")[1] for text in dotted if text.startswith("self.")}
    read |= set(re.findall(r"setattr\(self, '(\w+)'", ast.unparse(tree))) | {
        "connections",
        "http_protocol_class",
    }
    assert read - {"worker", "_protocol"} == READ
    functions = {name for name, value in vars(Server).items() if inspect.isfunction(value)} - {"__init__"}
    assert {name for name in functions if hasattr(server.Server, name)} == OVERRIDDEN


def test_on_another_uvicorn_its_own_server_serves_and_it_is_said(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(logging.getLogger("slipway"), "propagate", True)
    worker: Any = None
    other = uvicorn_with("handle_exit", "on_signal")
    assert type(server_for(worker, config.Config(""))) is Server and not caplog.records
    assert type(server_for(worker, config.Config(""), other)) is server.Server
    assert "handle_exit" in caplog.text
