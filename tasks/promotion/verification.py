"""A registered version looked at again, from the bytes that are stored: does its proof hold, does it answer, would it score the same?"""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from tasks.attestation.bundle import check_statements
from tasks.bundles.bundle import Origin
from tasks.codecs.decoding import CodecError, Unreadable, bound_decoder
from tasks.errors import StepError
from tasks.promotion.replay import Replayed
from tasks.promotion.replay import replay as replay_rollouts
from tasks.proof.evidence import EVIDENCE, MODEL, Evidence
from tasks.proof.evidence import verify as verify_folder
from tasks.records import TensorSpec, Version
from tasks.registry.key_changes import refresh_keys
from tasks.registry.lookup import find_version
from tasks.registry.registry import Registry
from tasks.settings import Settings
from tasks.system.files import sha256_of
from tasks.system.frozen import Frozen
from tasks.system.scratch import scratch
from tasks.system.sentences import first_line, typed_line
from tasks.system.signing import EvidenceError

if TYPE_CHECKING:
    from onnxruntime import InferenceSession

    from tasks.data.asked import AskedRows

_SAME_SCORE = 1e-6


class Verification(Frozen):
    """What `slipway verify` found: all of it held, or it would have raised."""

    model: str
    version: int
    sha256: str
    evidence: str
    decision: str
    score: float
    score_name: str
    run_id: str
    revision: str | None
    dirty: bool
    statements: tuple[str, ...] = ()
    origin: Origin | None = None
    replayed: float | None = None
    rollouts: Replayed | None = None


def verify(settings: Settings, reference: str, *, replay: bool = False) -> Verification:
    """Download MODEL, MODEL@ALIAS or MODEL/VERSION and check digest, signature, evidence and statements.

    `replay` scores it again, and makes every decision of the model's rollouts again.

    Raises UserError for a version that is not there, EvidenceError (exit code 1) naming the part that fails.
    """
    registry = Registry(settings)
    version = find_version(registry, reference)
    with downloaded(registry, version) as folder:
        evidence, statements = _checked(folder, version)
        rollouts = replay_rollouts(registry, version.model) if replay else None
        score = score_again(settings, evidence, folder) if replay else None
        return Verification(
            model=version.model,
            version=version.version,
            sha256=evidence.model_sha256,
            evidence=sha256_of(folder / EVIDENCE),
            decision=evidence.decision,
            score=evidence.proof.report.score,
            score_name=evidence.proof.report.score_name,
            run_id=evidence.run_id,
            revision=evidence.code.revision,
            dirty=evidence.code.dirty,
            statements=statements,
            origin=evidence.origin,
            replayed=score,
            rollouts=rollouts,
        )


@contextmanager
def downloaded(registry: Registry, version: Version) -> Iterator[Path]:
    """The version's folder, for as long as it is looked at; by the keys that count where it is."""
    refresh_keys(registry)
    with scratch("version") as temporary:
        try:
            folder = registry.download(version, temporary / f"{version.model}-v{version.version}")
        except (StepError, OSError) as error:
            raise EvidenceError(
                f"{version.model} version {version.version} has no files to check: {error}", "missing"
            ) from error
        yield folder


def check_version(folder: Path, version: Version) -> Evidence:
    """Its evidence, if everything holds and it is what was registered as this version."""
    return _checked(folder, version)[0]


def _checked(folder: Path, version: Version) -> tuple[Evidence, tuple[str, ...]]:
    """With the names of its statements."""
    evidence = verify_folder(folder, model=version.model)
    if version.sha256 and evidence.model_sha256 != version.sha256:
        raise EvidenceError(
            f"{version.model} version {version.version}: its files are those of another version: "
            f"{evidence.model_sha256[:16]}… where {version.sha256[:16]}… was registered.",
            "other",
        )
    return evidence, check_statements(folder, evidence)


def answer(folder: Path) -> None:
    """Load the verified bytes as the server does and answer the input example. Raises StepError when that fails."""
    import numpy as np

    from tasks.onnx.session import open_session

    session = open_session((folder / MODEL).read_bytes())
    asked = example_rows(folder, session)
    try:
        outputs = session.run(None, asked.feed(slice(None)))
    except Exception as error:
        raise StepError(
            f"{folder.name} loads but does not answer its own example: {first_line(error)}"
        ) from error
    if any(not np.isfinite(output).all() for output in outputs if output.dtype.kind == "f"):
        raise StepError(f"{folder.name} loads but answers its own example with numbers that are not finite.")


def example_rows(folder: Path, session: "InferenceSession") -> "AskedRows":
    """The rows that travel with a version, as a request brings them. Raises StepError when its codec does not read them."""
    import numpy as np

    from tasks.data.asked import AskedRows

    example = json.loads((folder / "serving_input_example.json").read_text())["inputs"]
    try:
        decoder = bound_decoder(folder, session.get_modelmeta().custom_metadata_map)
        values = {} if decoder is None else decoder.take(example)
        inputs = {} if decoder is None else decoder.read(values)
    except (CodecError, Unreadable, KeyError) as error:
        raise StepError(f"{folder.name} cannot read its own example: {typed_line(error)}.") from error
    specs = [TensorSpec(name=name, dtype="str", shape=("batch",)) for name in values]
    for value in session.get_inputs():
        if value.name in inputs:
            continue
        kind = value.type.removeprefix("tensor(").removesuffix(")")
        # numpy calls all of ONNX's types by the same names, and its float is another one
        dtype = "float32" if kind == "float" else kind
        inputs[value.name] = np.asarray(example[value.name], dtype)
        specs.append(TensorSpec(name=value.name, dtype=dtype, shape=tuple(inputs[value.name].shape)))
    return AskedRows(inputs, values, decoder, tuple(specs))


def score_again(settings: Settings, evidence: Evidence, folder: Path) -> float:
    """What the file scores on the rows of its proof. Raises StepError when they are gone, EvidenceError when it is another score."""
    from tasks.data.dataset import read_split
    from tasks.proof.holdout import answer_again, proved_here
    from tasks.workloads.catalogue import load_workload
    from tasks.workloads.scoring import score

    report = proved_here(evidence)
    answered = answer_again(evidence, folder / MODEL, settings.home / "datasets")
    targets = read_split(answered.dataset, answered.split).truth
    fitted = answered.dataset.fitted
    again = score(load_workload(evidence.workload), targets, answered.outputs, fitted)
    if abs(again - report.score) > _SAME_SCORE:
        raise EvidenceError(
            f"{evidence.model}: scored again it has {report.score_name} {again:.6f}, the evidence says {report.score:.6f}.",
            "replay",
        )
    return again
