"""A version's dossier: one record of what is on file about it, and the page that has it under the headings of the EU's AI Act."""

import datetime
import json
import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, Field

from tasks.config import Data, Gates, Train
from tasks.errors import UserError
from tasks.proof.evidence import Evidence
from tasks.proof.permit import Permit
from tasks.reporting.ai_act import ARTICLE_12, POINTS, SOURCE
from tasks.reporting.templates import pages_environment
from tasks.rollout.evidence import Answer, RolloutEvidence
from tasks.system.files import why_not_written, write_atomically
from tasks.system.frozen import Frozen

PDF = ".pdf"

_KINDS = (".html", ".htm", PDF)

_LARGEST = 30
"""Of a logarithm that is written out."""


Standing = Literal["on file", "let go", "unproved", "does not hold"]


class Decision(Frozen):
    """One entry of the ledger, as people read it."""

    sequence: int
    at: datetime.datetime
    what: str = Field(description="Such as: promote v3 → v4.")
    moved: bool = Field(description="Whether `version` served from then on.")
    version: int | None
    from_version: int | None = Field(None, description="What served until then.")
    who: str
    claimed: bool = Field(
        description="Nothing proves that it was `who`; False of MLflow's accounts, of rules, and of entries from before that was noted."
    )
    why: str
    verdict: str
    digest: str
    origin: str | None = Field(None, description="Where it was promoted before it was copied here.")
    rollout: RolloutEvidence | None = None


class Chapter(Frozen):
    """One version of the history: what it was, what was decided about it, and where its record is not whole."""

    version: int
    standing: Standing
    why_not: str | None = Field(None, description="Why it is not on file, or what of it does not hold.")
    made: datetime.datetime | None = None
    fingerprint: str | None = None
    rows: str | None = None
    score: float | None = None
    score_name: str = ""
    picked: str | None = None
    why: str | None = Field(None, description="Why its run ran, and what the gate said, in sentences.")
    decisions: tuple[Decision, ...] = ()
    replaced: tuple[Decision, ...] = Field((), description="By which another served in its place.")


class Test(Frozen):
    """A test of the proof, as its statement has it."""

    name: str
    result: Literal["passed", "warned", "failed"]
    reasons: tuple[str, ...]


class Incident(Frozen):
    """What did not go as it should: of the ledger, or of a tag in the registry. `at` is None where the tag does not say."""

    what: str
    said: str
    version: int | None
    source: str
    at: datetime.datetime | None = None


class Statement(Frozen):
    """A signed statement about the version: its name, the kind of its predicate, and the digest of what was signed."""

    name: str
    predicate: str
    sha256: str


class Key(Frozen):
    """A key whose signatures count, or did."""

    fingerprint: str
    standing: str
    since: datetime.datetime | None = None
    until: datetime.datetime | None = None
    why: str = ""


class Labelled(Frozen):
    """What labels that came back say of a version's recorded answers."""

    group: str
    rows: int
    labelled: int
    score: float | None
    low: float | None
    high: float | None


class Dossier(Frozen):
    """All that is on file about a version. `evidence` is None where its files were let go, and `let_go` says so."""

    schema_version: int = 1
    model: str
    version: int
    written: datetime.datetime
    slipway: str
    champion: int | None
    sha256: str = ""
    evidence: Evidence | None = None
    evidence_sha256: str | None = None
    let_go: str | None = None
    tests: tuple[Test, ...] = ()
    gates: dict[str, Any] = {}
    history: tuple[Chapter, ...]
    decisions: tuple[Decision, ...] = Field(description="The whole ledger of the model, in order.")
    incidents: tuple[Incident, ...] = ()
    statements: tuple[Statement, ...] = ()
    permit: Permit | None = None
    keys: tuple[Key, ...] = ()
    labelled: tuple[Labelled, ...] = ()
    not_labelled: str | None = Field(None, description="Why there is no score by labels.")
    problems: tuple[str, ...] = Field((), description="What of all this does not hold.")
    notes: tuple[str, ...] = ()
    provider: dict[str, str] = Field({}, description="What the provider wrote, by heading.")

    @property
    def rollouts(self) -> tuple[Decision, ...]:
        return tuple(decision for decision in self.decisions if decision.rollout is not None)

    @property
    def chapter(self) -> Chapter:
        """The version's own."""
        return next(chapter for chapter in self.history if chapter.version == self.version)


def page(dossier: Dossier) -> str:
    """One HTML page that needs no other file, and prints."""
    environment = pages_environment()
    environment.filters["wealth"] = _wealth
    template = environment.get_template("dossier.html.j2")
    return str(
        template.render(
            dossier=dossier,
            evidence=dossier.evidence,
            proof=dossier.evidence.proof if dossier.evidence is not None else None,
            points=POINTS,
            record_keeping=ARTICLE_12,
            source=SOURCE,
            as_json=lambda value: json.dumps(value, indent=1, sort_keys=True, ensure_ascii=False),
            explained=_explained,
            settings={"train": Train, "data": Data, "gates": Gates},
        )
    )


def _explained(values: Mapping[str, Any], of: type[BaseModel]) -> Iterator[tuple[str, str, str]]:
    """Each setting, its value, and what it means, as far as this release knows it."""
    for name, value in values.items():
        known = of.model_fields.get(name)
        yield name, json.dumps(value, ensure_ascii=False), (known and known.description) or "–"


def write_page(dossier: Dossier, path: Path) -> Path:
    """Write it as HTML, or as PDF where the name ends so. Raises UserError where that cannot be."""
    text = page(dossier)
    try:
        write_atomically(path, _printed(text) if is_pdf(path) else text.encode())
    except OSError as error:
        raise UserError(
            why_not_written(f"The dossier of {dossier.model}", path.absolute().parent, len(text), error)
        ) from error
    return path


def _wealth(answer: Answer) -> str:
    """An e-value as people write it; it may be of any size."""
    return (
        f"{math.exp(answer.log_wealth):.3g}"
        if abs(answer.log_wealth) < _LARGEST
        else f"e^{answer.log_wealth:.0f}"
    )


def is_pdf(path: Path) -> bool:
    return path.suffix.lower() == PDF


def check_writer(path: Path) -> None:
    """Return if the kind of file that `path` names can be written here. Raises UserError with what is missing."""
    if path.suffix.lower() not in _KINDS:
        raise UserError(
            f"--out {path}: a dossier is a page or a PDF: name a file that ends with .html or .pdf."
        )
    if is_pdf(path):
        _printer()


def _printed(text: str) -> bytes:
    return bytes(_printer()(string=text, url_fetcher=_nothing).write_pdf())


def _printer() -> Any:
    try:
        with _pictures_as_they_were():
            from weasyprint import HTML
    except (ImportError, OSError) as error:  # OSError: it is there, and the system's Pango is not
        raise UserError(
            "A PDF is written by WeasyPrint: pip install 'slipway[pdf]', and the system's Pango (apt install libpango-1.0-0 libpangoft2-1.0-0); "
            "or name a file that ends with .html, which every browser prints."
        ) from error
    return HTML


@contextmanager
def _pictures_as_they_were() -> Iterator[None]:
    """WeasyPrint has Pillow read damaged pictures, for the whole process; a model is never asked what one is."""
    from PIL import ImageFile

    before = ImageFile.LOAD_TRUNCATED_IMAGES
    try:
        yield
    finally:
        ImageFile.LOAD_TRUNCATED_IMAGES = before


def _nothing(address: str, *_: object, **__: object) -> Any:
    """The page names nothing outside of itself, and nothing that somebody wrote into it is fetched."""
    raise ValueError(f"a dossier fetches nothing: {address}")
