"""What was proved, bound to the bytes that it was proved of. The server imports this: nothing heavy here."""

import datetime
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import Field, ValidationError

from tasks.bundles.bundle import Origin
from tasks.config import RunConfig
from tasks.measured import Proof, Report, Searched
from tasks.outcome import Selection, StepTime
from tasks.proof.provenance import Code, code_state, library_versions, machine
from tasks.recipes import Recipe
from tasks.records import Checkpoint, Dataset, Material
from tasks.system import signing
from tasks.system.files import sha256_of, write_atomically
from tasks.system.frozen import Frozen
from tasks.system.keyring import read_keyring
from tasks.system.sentences import some
from tasks.system.signers import PrivateKey
from tasks.system.signing import SIGNATURE, EvidenceError, check_by, sign_folder

EVIDENCE = "evidence.json"

MODEL = "model.onnx"

ATTESTATIONS = "attestations.jsonl"
"""What is stated of a version: made of its evidence, and so not in it; its digest is in the permit."""


class Evidence(Frozen):
    """Everything that has to be known to believe a version, or to make it again."""

    schema_version: int = 1
    model: str
    workload: str
    created: datetime.datetime
    model_sha256: str
    run_id: str
    fingerprint: str
    rows: dict[str, int]
    dataset: str | None = Field(
        None, description="The name of the folder with the rows as they were learned."
    )
    classes: tuple[str, ...] | None = None
    goals: tuple[str, ...] = Field((), description="What is learned, in a word each; the first is scored.")
    checkpoint_sha256: str
    materials: tuple[Material, ...] = Field((), description="What the weights began as, or are, by digest.")
    code: Code
    origin: Origin | None = Field(
        None, description="Where the workload's own code came from; nothing for one of Slipway's."
    )
    config: dict[str, Any]
    recipe: dict[str, Any] | None = Field(
        None, description="What made the picked file of the trained model; None for fp32."
    )
    key: str | None = Field(
        None,
        description="Digest of all that the run's results depend on: definitions, libraries, knobs, data.",
    )
    definitions: str | None = Field(
        None, description="Digest of the definitions in that key, Slipway's and the workload's."
    )
    libraries: dict[str, str]
    machine: str
    searched: Searched | None = Field(
        None,
        description="The trainings that were tried before this one was chosen; None: there was but this one.",
    )
    candidates: tuple[Report, ...]
    losers: dict[str, str] = {}
    picked: str
    proof: Proof
    champion: int | None = None
    times: tuple[StepTime, ...] = ()
    files: dict[str, str] = Field(
        {},
        description="SHA-256 of each file beside the model, so that the evidence's own digest stands for all of them.",
    )

    @property
    def as_written(self) -> bytes:
        """The file's bytes."""
        return self.model_dump_json(indent=1).encode()

    @property
    def remarks(self) -> tuple[str, ...]:
        """What has to be said of how the weights came to be, besides training."""
        if not self.trained:
            return (f"Nothing was trained: the weights are those of {', '.join(map(str, self.materials))}.",)
        chosen = () if self.searched is None else (f"This training is {self.searched.sentence}.",)
        return (*chosen, *(f"Training began with {material}." for material in self.materials))

    @property
    def trained(self) -> bool:
        """Whether weights were learned here, and did not come as they are."""
        return self.config.get("train", {}) is not None

    @property
    def described_rows(self) -> str:
        """`2,636 train, 564 validation, 800 test`; where nothing is trained, the first two are one."""
        rows = (
            self.rows
            if self.trained
            else {"to choose by": self.rows["validation"], "test": self.rows["test"]}
        )
        return ", ".join(f"{count:,} {split}" for split, count in rows.items())

    @property
    def decision(self) -> str:
        """What the gate said: pass, fail or inconclusive."""
        return self.proof.verdict.decision


def seal(folder: Path, evidence: Evidence, private_key: Path | PrivateKey | None = None) -> str:
    """Write `evidence` into the model `folder` and sign the whole; the evidence's SHA-256.

    Raises EvidenceError when the evidence is of another file, UserError when weights lie outside model.onnx.
    """
    from tasks.onnx.session import refuse_external_data

    model = folder / MODEL
    _check_binding(folder, evidence)
    refuse_external_data(model.read_bytes(), str(model))
    write_atomically(folder / EVIDENCE, evidence.as_written)
    sign_folder(folder, private_key or signing.signer())
    return sha256_of(folder / EVIDENCE)


def verify(
    folder: Path, public_key: Path | None = None, model: str | None = None, changes: Path | None = None
) -> Evidence:
    """The evidence in `folder`, if it, the file and the signature belong together (and to `model`, when given).

    `public_key` leads to the keys that count, by the `changes` of keys kept in a folder; default: this home's. Signature first, then content: nothing is parsed that nobody signed. Raises EvidenceError naming the part that
    fails, and UserError when there is no public key to check with.
    """
    for name in (EVIDENCE, SIGNATURE, MODEL):
        if (folder / name).is_symlink() or not (folder / name).is_file():
            raise EvidenceError(
                f"{folder.name}: {name} is missing: this version was never proved.", "missing"
            )
    key = public_key or signing.public_key()
    keys = read_keyring(key, changes or signing.keys_folder())
    check_by(folder, keys, sha256_of(folder / EVIDENCE), key)
    evidence = read(folder)
    _check_binding(folder, evidence)
    if model is not None and evidence.model != model:
        raise EvidenceError(
            f"{folder.name}: its evidence is of the model {evidence.model!r} and not of {model!r}.", "other"
        )
    return evidence


def read(folder: Path) -> Evidence:
    """The evidence as it stands, unchecked. Raises EvidenceError when it is not there, or not evidence."""
    try:
        return Evidence.model_validate_json((folder / EVIDENCE).read_bytes(), extra="ignore")
    except OSError as error:
        raise EvidenceError(
            f"{folder.name}: {EVIDENCE} is missing: this version was never proved.", "missing"
        ) from error
    except ValidationError as error:
        problem = error.errors()[0]
        where = ".".join(map(str, problem["loc"])) or "the file"
        raise EvidenceError(
            f"{folder.name}: {EVIDENCE} is incomplete: {where}: {problem['msg']}.", EVIDENCE
        ) from error


def _check_binding(folder: Path, evidence: Evidence) -> None:
    digest = sha256_of(folder / MODEL)
    if {evidence.model_sha256, evidence.proof.report.sha256} != {digest}:
        raise EvidenceError(
            f"{folder.name}: its evidence is of another file: {MODEL} has SHA-256 {digest[:16]}…, "
            f"the evidence says {evidence.model_sha256[:16]}… and proves {evidence.proof.report.sha256[:16]}….",
            "other",
        )

    if evidence.files and (there := files_beside(folder)) != evidence.files:
        changed = sorted({name for name, _ in there.items() ^ evidence.files.items()})
        raise EvidenceError(
            f"{folder.name}: {some(changed, 3)} {'is' if len(changed) == 1 else 'are'} not what its evidence was sealed with.",
            changed[0],
        )


def files_beside(folder: Path) -> dict[str, str]:
    """SHA-256 of every file of a version's folder but the model, what is stated of it, and what its evidence is kept in."""
    others = {MODEL, EVIDENCE, SIGNATURE, ATTESTATIONS, *signing.IGNORED}
    paths = {path.relative_to(folder).as_posix(): path for path in folder.rglob("*") if path.is_file()}
    return {name: sha256_of(path) for name, path in sorted(paths.items()) if name.split("/")[0] not in others}


def make_evidence(
    *,
    workload: str,
    run_id: str,
    config: RunConfig,
    dataset: Dataset,
    checkpoint: Checkpoint,
    reports: tuple[Report, ...],
    selection: Selection,
    proof: Proof,
    times: tuple[StepTime, ...],
    searched: Searched | None = None,
    origin: Origin | None = None,
    libraries: Mapping[str, str] | None = None,
    goals: Sequence[str] = (),
    recipe: Recipe | None = None,
    key: str | None = None,
    definitions: str | None = None,
) -> Evidence:
    """All that has to be known to believe the version, in one record."""
    return Evidence(
        model=dataset.workload,
        workload=workload,
        created=datetime.datetime.now(datetime.UTC),
        model_sha256=proof.report.sha256,
        run_id=run_id,
        fingerprint=dataset.fingerprint,
        rows=dataset.rows,
        dataset=dataset.folder.name,
        classes=dataset.classes,
        goals=tuple(goals),
        checkpoint_sha256=checkpoint.sha256,
        materials=checkpoint.materials,
        code=code_state(),
        config=config.model_dump(mode="json"),
        recipe=recipe.model_dump(mode="json") if recipe is not None else None,
        key=key,
        definitions=definitions,
        origin=origin,
        libraries=library_versions() | dict(libraries or {}),
        machine=machine(),
        searched=searched,
        candidates=reports,
        losers={c.name: "; ".join(c.reasons) for c in selection.candidates if c.status != "picked"},
        picked=selection.picked,
        proof=proof,
        champion=proof.comparison.champion if proof.comparison else None,
        times=times,
    )
