"""Whether this uvicorn has all that our connections lean on; if not, it reads requests its own way, and we say so."""

import logging
from asyncio import Protocol
from collections.abc import Iterable, Iterator
from types import ModuleType

from infra.serving.http.service import Service

logger = logging.getLogger("slipway.serving")

BY_H11 = "h11"
"""uvicorn's other protocol: slow, but with limits of its own, and no part of a request's head behind its body."""

Attributes = dict[tuple[str, str], tuple[str, ...]]

METHODS = (
    *("connection_made(self, transport)", "data_received(self, data)", "eof_received(self)"),
    *("on_message_begin(self)", "on_url(self, url)", "on_header(self, name, value)"),
    *("on_headers_complete(self)", "on_body(self, body)", "on_message_complete(self)"),
    *("on_response_complete(self)", "shutdown(self)"),
    *("connection_lost(self, exc)", "pause_writing(self)", "resume_writing(self)"),
)
"""Methods of uvicorn's protocol that ours override or count on."""

ATTRIBUTES: Attributes = {
    ("HttpToolsProtocol", "__init__"): (
        *("connections", "cycle", "flow", "headers", "logger", "loop", "parser", "pipeline", "server_state"),
        *("timeout_keep_alive_task", "transport"),
    ),
    ("HttpToolsProtocol", "on_message_begin"): ("scope", "url"),
    ("HttpToolsProtocol", "data_received"): ("_unset_keepalive_if_required",),
    ("RequestResponseCycle", "__init__"): (
        *("disconnected", "keep_alive", "message_event", "response_complete"),
    ),
    ("FlowControl", "__init__"): ("read_paused", "write_paused"),
    ("FlowControl", "pause_reading"): ("pause_reading",),
    ("FlowControl", "resume_reading"): ("resume_reading",),
    ("ServerState", "__init__"): ("default_headers", "total_requests"),
}
"""Attributes that they read or set, by the class and the method that make or use them."""

PARSER = (
    *("feed_data", "get_http_version", "get_method", "set_dangerous_leniencies", "should_keep_alive"),
    "should_upgrade",
)
"""What they ask the parser."""


def implementation() -> ModuleType:
    """uvicorn's protocol on httptools, as it is installed."""
    from uvicorn.protocols.http import httptools_impl

    return httptools_impl


def misfit(uvicorn: ModuleType) -> str | None:
    """Why our connections cannot stand on this implementation, or None."""
    return first(differences(uvicorn))


def first(differences: Iterator[str]) -> str | None:
    """What is first found to differ, or None."""
    try:
        return next(differences, None)
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        return f"it has another shape: {error}"


def lacks(module: ModuleType, kind: str, methods: Iterable[str], attributes: Attributes) -> Iterator[str]:
    """Which of these methods a class of uvicorn's has not, and which attributes it and others in its module."""
    for signature in methods:
        name = signature.partition("(")[0]
        code = vars(getattr(module, kind))[name].__code__
        if f"{name}({', '.join(code.co_varnames[: code.co_argcount])})" != signature:
            yield f"its {kind} has no {signature}"
    for (owner, method), names in attributes.items():
        named = getattr(getattr(module, owner), method).__code__.co_names
        yield from (f"its {owner} has no attribute {name}" for name in names if name not in named)


def differences(uvicorn: ModuleType) -> Iterator[str]:
    """What our connections lean on and this implementation has not, or has otherwise."""
    yield from lacks(uvicorn, "HttpToolsProtocol", METHODS, ATTRIBUTES)
    for name in PARSER:
        if not hasattr(uvicorn.httptools.HttpRequestParser, name):
            yield f"its parser has no {name}"
    if uvicorn.STATUS_LINE[200] != b"HTTP/1.1 200 OK\r\n":
        yield "its status lines are others"


def protocol_for(service: Service) -> type[Protocol] | str:
    """What uvicorn is to answer with for `service`: a class of ours, or the name of its own."""
    try:
        reason = misfit(implementation())
    except ImportError as error:
        reason = str(error)
    if reason is not None:
        logger.warning(
            "the fast path is off with this uvicorn, answers cost several times as much: %s", reason
        )
        return BY_H11
    from infra.serving.http.bounded_connection import BoundedConnection
    from infra.serving.http.fast_path import FastPathProtocol

    kind = FastPathProtocol if service.options.fast_path else BoundedConnection
    return type("BoundProtocol", (kind,), {"service": service})
