"""A short-lived process that looks at a model folder before anything else does: files, evidence, then the model itself.

Evidence is checked before a single byte of the model is parsed, and parsing happens here, so that a file made to
break a parser breaks only this process. One JSON line comes out: what was found, or why it is refused.
"""

import asyncio
import hashlib
import os
import resource
import stat
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from infra.serving.errors import Unservable
from tasks.system.frozen import Frozen

MAX_FILES = 1000

MAX_BYTES = 16 * 1024**3

SECONDS = 120

MEMORY = 16 * 1024**3


class InspectionRequest(Frozen):
    """What to look at. `key` None: no evidence is asked for. `parse` False: the model was parsed before."""

    folder: Path
    model: str
    key: Path | None = None
    parse: bool = True


class InspectionResult(Frozen):
    """What was found; `refused` says why it is not to be served."""

    refused: str | None = None
    digest: str | None = None
    decided: str | None = None


async def inspect(question: InspectionRequest) -> InspectionResult:
    """Ask a process of its own; whatever happens to it, there is an answer."""
    child = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "infra.serving.lifecycle.inspection",
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,
    )
    try:
        output, _ = await asyncio.wait_for(child.communicate(question.model_dump_json().encode()), SECONDS)
    except TimeoutError:
        child.kill()
        await child.wait()
        return InspectionResult(refused=f"inspection took longer than {SECONDS} s")
    try:
        return InspectionResult.model_validate_json(output)
    except ValidationError:
        return InspectionResult(refused=f"the process that inspected it died ({child.returncode})")


def look(question: InspectionRequest) -> InspectionResult:
    """All checks in order; the first that fails is the answer."""
    try:
        check_files(question.folder)
        decided = None
        digest = hashlib.sha256((question.folder / "model.onnx").read_bytes()).hexdigest()
        if question.key is not None:
            decided = check_evidence(question, digest)
        if question.parse:
            check_model(question.folder, digest)
    except Unservable as error:
        return InspectionResult(refused=str(error))
    except Exception as error:
        return InspectionResult(refused=f"inspection failed ({type(error).__name__})")
    return InspectionResult(digest=digest, decided=decided)


def check_files(folder: Path) -> None:
    """Plain files and folders only, not too many, not too large."""
    count = size = 0
    for root, folders, files in os.walk(folder):
        for name in (*folders, *files):
            status = os.lstat(os.path.join(root, name))
            if not (stat.S_ISREG(status.st_mode) or stat.S_ISDIR(status.st_mode)):
                raise Unservable(f"files: {name!r} is a link or a special file")
            count, size = count + 1, size + status.st_size
            if count > MAX_FILES or size > MAX_BYTES:
                raise Unservable(f"files: more than {MAX_FILES} files or {MAX_BYTES} bytes")
    if not (folder / "model.onnx").is_file():
        raise Unservable("files: there is no model.onnx")


def check_evidence(question: InspectionRequest, digest: str) -> str | None:
    """The gate's decision from evidence that is signed, and is about this model and these bytes."""
    from tasks.errors import UserError
    from tasks.proof.evidence import verify

    try:
        evidence = verify(question.folder, question.key, question.model)
    except UserError as error:
        raise Unservable(f"evidence: {error}") from None
    if evidence.model_sha256 != digest:
        raise Unservable("evidence: it is about other bytes than this model.onnx")
    return str(evidence.decision)


def check_model(folder: Path, digest: str) -> None:
    """Parse it, refuse external data, compare it with its MLflow signature, and run its example."""
    import onnx

    from infra.serving.ipc.messages import Release
    from infra.serving.lifecycle.signature import check_signature
    from infra.serving.models.version import load_version

    try:
        proto = onnx.load_model_from_string((folder / "model.onnx").read_bytes())
    except Exception:
        raise Unservable("model.onnx is not an ONNX file") from None
    if any(is_external(message) for message in messages(proto)):
        raise Unservable("model.onnx keeps data in other files, which is never served")
    del proto
    release = Release(model="m", source="", version="0", digest=digest, folder=folder, evidence="unsigned")
    check_signature(folder, load_version(release, threads=1, batch=1, max_rows=2**31).spec)


def messages(message: Any) -> Iterator[Any]:
    """A protobuf message and all that it holds, wherever: a tensor may hide in an attribute of a function's node."""
    yield message
    for field, value in message.ListFields():
        if field.message_type is not None:
            for inner in value if hasattr(value, "__len__") else (value,):
                yield from messages(inner)


def is_external(message: Any) -> bool:
    if message.DESCRIPTOR.full_name != "onnx.TensorProto":
        return False
    return bool(getattr(message, "external_data", ())) or getattr(message, "data_location", 0) != 0


def main() -> None:
    question = InspectionRequest.model_validate_json(sys.stdin.buffer.read())
    resource.setrlimit(resource.RLIMIT_CPU, (SECONDS, SECONDS))
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
    print(look(question).model_dump_json(), flush=True)


if __name__ == "__main__":
    main()
