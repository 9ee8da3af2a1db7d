"""Having a model folder inspected, before anything else is done with it, by a short-lived process of its own."""

import asyncio
import contextlib
from pathlib import Path

from pydantic import ValidationError

from infra.serving.ipc.launch import Started, start_inspector
from tasks.system.frozen import Frozen

SECONDS = 120


class InspectionRequest(Frozen):
    """What to look at. `key` None: no evidence is asked for. `parse` False: the model was parsed before."""

    folder: Path
    model: str
    key: Path | None = None
    parse: bool = True


class InspectionResult(Frozen):
    """The model's digest and the gate's decision; `refused` says why it is not to be served."""

    refused: str | None = None
    digest: str | None = None
    decided: str | None = None


async def inspect(request: InspectionRequest, inspector: Started | None = None) -> InspectionResult:
    """Ask a process of its own, which may have been started before; whatever happens to it, there is an answer."""
    inspector = inspector or start_inspector()
    reader, writer = await asyncio.open_connection(sock=inspector.line)
    try:
        with contextlib.suppress(OSError, RuntimeError):  # whoever reads the answer finds out that it is gone
            writer.write(request.model_dump_json().encode())
            writer.write_eof()
        answer = await asyncio.wait_for(reader.read(), SECONDS)
        return InspectionResult.model_validate_json(answer)
    except TimeoutError:
        return InspectionResult(refused=f"inspection took longer than {SECONDS} s")
    except (ConnectionError, ValidationError):
        code = inspector.process.wait()
        return InspectionResult(refused=f"the process that inspected it died ({code})")
    finally:
        writer.close()
        inspector.discard()
