"""From one registry to another, as from staging to production: a version that serves goes there with its proof, and is promoted there as any other."""

from pathlib import Path
from typing import Literal
from urllib.parse import urlsplit

from tasks.attestation.bundle import ATTESTATIONS
from tasks.errors import RefusedError, UserError
from tasks.measured import ServingCheck
from tasks.promotion.champion import model_lock, repair
from tasks.promotion.deciders import check_may_decide
from tasks.promotion.entries import LedgerEntry, Origin
from tasks.promotion.judging import judge_folder
from tasks.promotion.ledger import LedgerError, in_short, read_ledger
from tasks.promotion.manual import let_through
from tasks.promotion.parcel import Parcel, packed, shown
from tasks.promotion.registration import tags_of
from tasks.promotion.verification import check_version, downloaded, example_rows
from tasks.proof.evidence import EVIDENCE, MODEL, Evidence
from tasks.records import Version
from tasks.registry.registry import Registry
from tasks.registry.tags import EVIDENCE_TAG, ORIGIN_TAG
from tasks.settings import Settings
from tasks.system.files import sha256_of
from tasks.system.frozen import Frozen
from tasks.system.sentences import some
from tasks.system.signing import EvidenceError
from tasks.system.urls import without_secrets

_SQLITE = "sqlite:///"


class Copied(Frozen):
    """What became of a copy: `version` is its number at `registry`, `reasons` say what was compared there and what not."""

    model: str
    registry: str
    version: int
    sha256: str
    outcome: Literal["promoted", "rolling", "already there"]
    origin: Origin
    reasons: tuple[str, ...] = ()
    entry: LedgerEntry | None = None
    trial: ServingCheck | None = None


def destination(settings: Settings, to: str) -> Settings:
    """The settings of the registry at an address. Raises UserError for what is none, and for the one that `settings` name."""
    address = without_secrets(to)
    if to.startswith(_SQLITE):
        path = Path(to.removeprefix(_SQLITE)).absolute()
        # A database's files, locks and ledgers lie beside it, as in the home that it is of.
        there = settings.model_copy(
            update={"tracking_uri": f"{_SQLITE}{path}", "home": path.parent, "store": None}
        )
    elif urlsplit(to).scheme in ("http", "https") and urlsplit(to).netloc:
        there = settings.model_copy(update={"tracking_uri": to.rstrip("/")})
    else:
        raise UserError(
            f"--to {address} is no registry's address: write http://host:port or sqlite:///path/mlflow.db."
        )
    if without_secrets(there.tracking_uri) == without_secrets(settings.tracking_uri).rstrip("/"):
        raise UserError(f"--to {address} is the registry that it would be copied from: name another.")
    return there


def copy_version(
    settings: Settings,
    reference: str,
    there: Settings,
    *,
    why: str | None = None,
    who: str | None = None,
    new_signature: bool = False,
) -> Copied:
    """Take what MODEL, MODEL@ALIAS or MODEL/VERSION names to the registry of `there`, and promote it there; again changes nothing.

    Bytes are compared, and tried in the real server, as they come back from there, before anything is decided. Raises
    RefusedError for a version that may not serve here, or that was decided on there; EvidenceError for what does not hold.
    """
    from filelock import FileLock

    with packed(Registry(settings), reference, there) as parcel:
        registry = Registry(there)  # made now: MLflow's own client knows one address at a time
        locks = there.home / "locks"
        locks.mkdir(parents=True, exist_ok=True)
        with FileLock(locks / f"copy-{parcel.version.model}.lock"):
            return _deliver(
                registry,
                parcel,
                why or in_short((f"copied from {parcel.origin.registry}", parcel.origin.why)),
                who,
                new_signature,
            )


def _deliver(registry: Registry, parcel: Parcel, why: str, who: str | None, new_signature: bool) -> Copied:
    model, where = parcel.version.model, shown(registry.settings)
    problem = next(iter(read_ledger(registry, model).problems), None)
    if problem is not None:
        raise LedgerError(
            f"Nothing is copied to {where}, and what serves there goes on: {problem}. Copy with the key that decisions "
            "there are signed with (SLIPWAY_PRIVATE_KEY), or mend its ledger there."
        )
    with model_lock(registry.settings, model):
        ledger = repair(registry, model)  # by now a copy that was killed amid its promotion is promoted
    serving = None if ledger.serving is None else registry.version(model, ledger.serving)
    if serving is not None and registry.tags(serving).get(EVIDENCE_TAG) == parcel.digest:
        with downloaded(registry, serving) as arrived:
            _compare(parcel, arrived, serving, where)
        registry.drop_candidates(model, serving.run_id, whole=False)
        return _copied(parcel, serving, where, "already there")
    version = registry.by_tag(model, EVIDENCE_TAG, parcel.digest)
    decided = [entry for entry in ledger.entries if version and entry.to_version == version.version]
    if decided:
        raise RefusedError(
            f"{model} version {parcel.version.version} is version {decided[-1].to_version} at {where}, where {decided[-1].who} decided on it: "
            f"{decided[-1]}, {decided[-1].why}. It is promoted again there: `slipway promote {model} {decided[-1].to_version} --reason TEXT`."
        )
    check_may_decide(registry.settings, model, who)
    version = version or _register(registry, parcel)
    registry.finish_run(version.run_id)
    copied = _prove(registry, parcel, version, where, why, who, new_signature)
    registry.drop_candidates(model, version.run_id, whole=False)
    return copied


def _register(registry: Registry, parcel: Parcel) -> Version:
    """Upload it, and make it a version that no alias names; what a copy that was killed had uploaded is used."""
    model, mark = parcel.version.model, {ORIGIN_TAG: parcel.digest}
    run_id = registry.run_by_tag(model, ORIGIN_TAG, parcel.digest)
    if run_id is None:
        run_id = registry.start_run(
            model, f"copy of v{parcel.version.version}", {**mark, "slipway.from": str(parcel.origin)}
        )
    statements = parcel.folder / ATTESTATIONS
    for path in (parcel.folder / EVIDENCE, statements, parcel.page):
        if path is not None and path.is_file():
            registry.log_file(run_id, path)
    model_id = registry.whole_model(model, run_id)
    if model_id is None:
        model_id = registry.log_model(run_id, model, parcel.evidence.picked, mark)
        registry.upload(model_id, parcel.folder)
    stated = sha256_of(statements) if statements.is_file() else None
    tags = mark | tags_of(parcel.evidence, parcel.digest, parcel.newest, stated)
    return registry.add_version(
        run_id, model, model_id, parcel.evidence.model_sha256, tags, parcel.description
    )


def _prove(
    registry: Registry,
    parcel: Parcel,
    version: Version,
    where: str,
    why: str,
    who: str | None,
    new_signature: bool,
) -> Copied:
    """Compare and try what the registry has by now, judge it against what serves there, and promote it."""
    from tasks.onnx.session import open_session
    from tasks.proof.serving import try_on_server

    model = version.model
    with downloaded(registry, version) as arrived:
        evidence = _compare(parcel, arrived, version, where)
        asked = example_rows(arrived, open_session(arrived / MODEL))
        company = evidence.proof.report.company
        trial = try_on_server(arrived, model, version.sha256, asked, company.max_abs if company else 0.0)
        with model_lock(registry.settings, model):
            ledger = repair(registry, model)
            verdict = judge_folder(registry, version, arrived, evidence, trial)
            if verdict.decision != "fail":
                registry.set_alias(model, "challenger", version.version)
            entry = let_through(
                registry,
                ledger,
                version,
                verdict,
                why=why,
                who=who,
                new_signature=new_signature,
                origin=parcel.origin,
            )
    copied = _copied(parcel, version, where, "promoted" if entry.moved else "rolling")
    return copied.model_copy(update={"reasons": verdict.reasons, "entry": entry, "trial": trial})


def _compare(parcel: Parcel, arrived: Path, version: Version, where: str) -> Evidence:
    """Every file, byte for byte by its digest, as `where` gives it back; its evidence, checked as a server does."""
    ours, theirs = _digests(parcel.folder), _digests(arrived)
    if ours != theirs:
        differing = sorted(name for name in {*ours, *theirs} if ours.get(name) != theirs.get(name))
        raise EvidenceError(
            f"{version.model} version {version.version} at {where} does not have the bytes that were copied: {some(differing, 3)}. "
            "Nothing was promoted; delete that version there, and copy again.",
            differing[0],
        )
    return check_version(arrived, version)


def _digests(folder: Path) -> dict[str, str]:
    return {str(path.relative_to(folder)): sha256_of(path) for path in folder.rglob("*") if path.is_file()}


def _copied(
    parcel: Parcel, version: Version, where: str, outcome: Literal["promoted", "rolling", "already there"]
) -> Copied:
    return Copied(
        model=version.model,
        registry=where,
        version=version.version,
        sha256=version.sha256,
        outcome=outcome,
        origin=parcel.origin,
    )
