"""The process that inspects one model folder: its permits, its files, its evidence, then the model itself.

Evidence is checked before a single byte of the model is parsed, and parsing happens here, so that a file made to
break a parser breaks only this process, and what it takes to check a signature stays out of those that live long.
"""

import hashlib
import os
import resource
import select
import socket
import stat
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from infra.serving.errors import Unservable
from infra.serving.lifecycle.inspection import SECONDS, InspectionRequest, InspectionResult
from tasks.errors import LostError, UserError
from tasks.measured import Report
from tasks.proof.evidence import Evidence, verify
from tasks.proof.permit import Permit, PermitError, read_permit
from tasks.system.keyring import Keyring, read_keyring
from tasks.system.memory import MEMORY, MEMORY_A_BYTE, bound_memory

MAX_FILES = 1000

MAX_BYTES = 16 * 1024**3

MAX_MODEL = 2 * 1024**3
"""What its format allows: whatever is larger keeps weights elsewhere, or is none."""


def inspect_version(request: InspectionRequest) -> InspectionResult:
    """All checks in order; the first that fails is the answer."""
    permits: tuple[Permit | str, ...] = ()
    try:
        permits = tuple(read_permits(request))
        if request.folder is None:
            return InspectionResult(permits=permits)
        bound_memory(MEMORY + MEMORY_A_BYTE * check_files(request.folder))
        digest = hashlib.sha256((request.folder / "model.onnx").read_bytes()).hexdigest()
        evidence = None if request.key is None else check_evidence(request.folder, request, digest)
        if request.parse:
            check_model(request.folder, digest)
    except Unservable as error:
        return InspectionResult(refused=str(error), permits=permits)
    except LostError as error:
        return InspectionResult(refused=str(error).rstrip("."), passing=True, permits=permits)
    except Exception as error:
        passing = isinstance(error, OSError | MemoryError)
        reason = f"inspection failed ({type(error).__name__})"
        return InspectionResult(refused=reason, passing=passing, permits=permits)
    if evidence is None:
        return InspectionResult(digest=digest, engine=request.engine, permits=permits)
    report = evidence.proof.report
    return InspectionResult(
        digest=digest,
        decided=evidence.decision,
        score=score_of(report),
        engine=report.engine,
        promise={speed.batch: speed.throughput_ratio for speed in report.promise},
        permits=permits,
    )


def read_permits(request: InspectionRequest) -> Iterator[Permit | str]:
    """What each permit says, if the owner of the key signed it; why not, otherwise."""
    if not request.permits or request.key is None:
        return
    try:
        fits = keys_of(request).fits
    except UserError as error:
        raise Unservable(f"permit: {error}") from None
    for text in request.permits:
        try:
            yield read_permit(text, fits)
        except PermitError as error:
            yield str(error).rstrip(".")


def keys_of(request: InspectionRequest) -> Keyring:
    assert request.key is not None
    return read_keyring(request.key, request.changes or request.key.parent)


def check_files(folder: Path) -> int:
    """Plain files and folders only, not too many, not too large; their bytes."""
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
    if (folder / "model.onnx").stat().st_size >= MAX_MODEL:
        raise Unservable(f"files: model.onnx has {MAX_MODEL} bytes or more, which no ONNX file has")
    return size


def check_evidence(folder: Path, request: InspectionRequest, digest: str) -> Evidence:
    """Evidence that is signed, and is about this model and these bytes."""
    try:
        evidence = verify(folder, request.key, request.model, request.changes)
    except UserError as error:
        raise Unservable(f"evidence: {error}") from None
    if evidence.model_sha256 != digest:
        raise Unservable("evidence: it is about other bytes than this model.onnx")
    return evidence


def score_of(report: Report) -> str:
    """What was proved, for whoever reads the server's page."""
    sure = f" ({report.interval.describe()})" if report.interval else ""
    return f"{report.score_name} {report.score:.4f}{sure} on {report.rows:,} {report.split} rows"


def check_model(folder: Path, digest: str) -> None:
    """Load it, which refuses tensors outside the file, run its example, and compare it with its MLflow signature."""
    from infra.serving.ipc.messages import Release
    from infra.serving.lifecycle.signature import check_signature
    from infra.serving.models.version import load_version

    release = Release(model="m", version="0", digest=digest, folder=folder, evidence="unsigned")
    check_signature(folder, load_version(release, threads=1, batch=1, max_rows=2**31).spec)


def try_engine(folder: Path, result: InspectionResult) -> None:
    """What is loaded from bytes of others' in compiled code of others' may end its process: this one, and no worker."""
    from infra.serving.ipc.messages import Release
    from infra.serving.models.version import example_rows, load_version
    from infra.serving.wire.tensors import cut

    about = {"model": "m", "version": "0", "digest": result.digest, "folder": folder, "evidence": "unsigned"}
    with suppress(Exception):  # a worker finds the same, and says it
        most = max([result.engine.rows, *result.promise])
        loaded = load_version(Release(**about, engine=result.engine), threads=1, batch=most, max_rows=2**31)
        # of as many rows as are its own: fewer were ONNX Runtime's
        loaded.run([cut(example_rows(loaded), 0, 1)] * most)


def main() -> None:
    """One request from the line that the argument names; its answer goes back on it, and first, what stands if the engine ends the process."""
    with socket.socket(fileno=int(sys.argv[1])) as line:
        if not select.select([line], [], [], 0)[0]:  # started early: half a second that nobody waits for
            import model_signing.verifying  # noqa: F401
        with line.makefile("rb") as asked:
            text = asked.read()
        if not text:  # started early, and not needed after all
            return
        request = InspectionRequest.model_validate_json(text)
        resource.setrlimit(resource.RLIMIT_CPU, (SECONDS, SECONDS))
        resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
        result = inspect_version(request)
        if request.folder is not None and result.refused is None and not result.engine.is_always_there:
            trying = result.model_copy(update={"trying": True})
            line.sendall(trying.model_dump_json().encode() + b"\n")
            try_engine(request.folder, result)
        line.sendall(result.model_dump_json().encode())


if __name__ == "__main__":
    main()
