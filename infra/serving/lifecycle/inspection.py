"""Having a model folder and its permits inspected, before anything else is done with them, by a short-lived process of its own."""

import asyncio
import contextlib
from pathlib import Path

from pydantic import ValidationError

from infra.serving.ipc.launch import Started, start_inspector
from tasks.engines import ONNX_RUNTIME, Engine
from tasks.onnx.engines import title
from tasks.proof.permit import Permit
from tasks.system.frozen import Frozen
from tasks.system.processes import how_it_ended

SECONDS = 120

_LONGEST = 2**30
"""Bytes of an answer, which has every permit in it."""


class InspectionRequest(Frozen):
    """What to look at. `folder` None: the permits alone. `key` None: no evidence is asked for; with `changes` of keys, as they are kept, it leads to others. `parse` False: the model was parsed before. `engine`: where no evidence says it."""

    folder: Path | None
    model: str
    key: Path | None = None
    changes: Path | None = None
    parse: bool = True
    permits: tuple[str, ...] = ()
    engine: Engine = ONNX_RUNTIME


class InspectionResult(Frozen):
    """The model's digest, the gate's decision, the proved score in words, and the engine with its promise; `refused` says why it is not to be served.

    `passing`: that lies with this machine and not with the model. `trying`: all is well, and the engine is tried now, in which the
    process may end; `instead`: why it is not to be used. `permits`: what each says, or why it says nothing.
    """

    refused: str | None = None
    passing: bool = False
    digest: str | None = None
    decided: str | None = None
    score: str | None = None
    engine: Engine = ONNX_RUNTIME
    promise: dict[int, float] = {}
    trying: bool = False
    instead: str | None = None
    permits: tuple[Permit | str, ...] = ()


async def inspect(request: InspectionRequest, inspector: Started | None = None) -> InspectionResult:
    """Ask a process of its own, which may have been started before; whatever happens to it, there is an answer."""
    try:
        inspector = inspector or start_inspector()
    except OSError as error:
        return _not_now(f"the process that inspects it cannot be started ({error.strerror})")
    reader, writer = await asyncio.open_connection(sock=inspector.line, limit=_LONGEST)
    try:
        with contextlib.suppress(OSError, RuntimeError):  # whoever reads the answer finds out that it is gone
            writer.write(request.model_dump_json().encode())
            writer.write_eof()
        async with asyncio.timeout(SECONDS):
            answer = await reader.readline()
        result = InspectionResult.model_validate_json(answer)
        return await _tried(result, reader, inspector) if result.trying else result
    except TimeoutError:
        return _not_now(f"inspection took longer than {SECONDS} s")
    except (ConnectionError, ValidationError):
        code = await asyncio.to_thread(inspector.process.wait)
        return _not_now(f"the process that inspected it died ({code})")
    finally:
        writer.close()
        inspector.discard()


async def _tried(
    result: InspectionResult, reader: asyncio.StreamReader, inspector: Started
) -> InspectionResult:
    """The same once its engine was tried; all else holds, so that whatever comes of this it can serve, in ONNX Runtime."""
    try:
        async with asyncio.timeout(SECONDS):
            if answer := await reader.readline():
                return InspectionResult.model_validate_json(answer)
        how = how_it_ended(await asyncio.to_thread(inspector.process.wait))
    except TimeoutError:
        how = f"took longer than {SECONDS} s"
    except ConnectionError:
        how = "ended"
    why = f"a process in which {title(result.engine)} took the file {how}"
    return result.model_copy(update={"trying": False, "instead": why})


def _not_now(why: str) -> InspectionResult:
    """The death of our own process says nothing of the model."""
    return InspectionResult(refused=why, passing=True)
