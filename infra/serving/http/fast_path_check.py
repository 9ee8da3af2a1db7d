"""Whether this uvicorn has the shape the short way was written for; if not, everything goes through ASGI, and we say so."""

import inspect
import logging

import uvicorn
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from infra.serving.http.service import Service

logger = logging.getLogger("slipway.serving")

TESTED = ("0.54.",)

METHODS = {
    "on_message_begin": ["self"],
    "on_header": ["self", "name", "value"],
    "on_headers_complete": ["self"],
    "on_body": ["self", "body"],
    "on_message_complete": ["self"],
    "on_response_complete": ["self"],
    "send_400_response": ["self", "msg"],
    "eof_received": ["self"],
    "shutdown": ["self"],
}


def misfit() -> str | None:
    """Why the short way cannot be used with the installed uvicorn, or None."""
    if not uvicorn.__version__.startswith(TESTED):
        return f"uvicorn {uvicorn.__version__} is not one of the tested {', '.join(TESTED)}x"
    for name, parameters in METHODS.items():
        method = getattr(HttpToolsProtocol, name, None)
        if method is None or list(inspect.signature(method).parameters) != parameters:
            return f"uvicorn's protocol has another {name}"
    return None


def protocol_for(service: Service) -> type[HttpToolsProtocol]:
    """The protocol class that answers for `service`."""
    reason = misfit()
    if reason is not None:
        logger.warning("the short way is off, answers cost twice as much: %s", reason)
        return HttpToolsProtocol
    from infra.serving.http.fast_path import ShortProtocol

    return type("BoundProtocol", (ShortProtocol,), {"service": service})
