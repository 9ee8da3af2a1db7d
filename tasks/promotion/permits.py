"""Which versions may serve: a permit each, written when the gate passes or a person lets one through, and withdrawn with a refusal.

Servers load nothing without one (see `tasks.proof.permit`), whoever moved the alias.
"""

import datetime
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from pydantic import ValidationError

from tasks.attestation.bundle import ATTESTATIONS, stated_level
from tasks.errors import StepError, UserError
from tasks.promotion.entries import Ledger
from tasks.promotion.ledger import read_ledger
from tasks.promotion.verification import check_version, downloaded
from tasks.proof.permit import PERMIT_TAG, Basis, Permit, PermitError, issue, read_permit
from tasks.proof.signature import signature_change
from tasks.records import Version
from tasks.registry.lookup import check_model
from tasks.registry.registry import Registry
from tasks.registry.tags import EVIDENCE_TAG, POLICY_TAG, REVERTED_TAG, STATEMENTS_TAG
from tasks.rollout.reported import RevertNote
from tasks.system.files import sha256_of
from tasks.system.scratch import scratch
from tasks.system.signing import keyring, level, signing_key


def grant(registry: Registry, version: Version, *, basis: Basis, why: str, by: str, entry: str = "") -> None:
    """Let a version serve; one that may already keeps the permit that it has, unless a promotion is to be in it: by its ledger `entry`."""
    standing = _readable(registry, version)
    if standing is None or not standing.granted or (entry and standing.entry_sha256 != entry):
        _write(registry, version, standing, granted=True, basis=basis, why=why, by=by, entry=entry)


def withdraw(registry: Registry, version: Version, *, why: str, by: str) -> None:
    """Let a version serve no longer, or never: servers that have seen this do not take an older permit again."""
    standing = _readable(registry, version)
    if standing is None or standing.granted:
        _write(registry, version, standing, granted=False, basis="ledger", why=why, by=by)


def may_serve(registry: Registry, ledger: Ledger, version: Version) -> str | None:
    """Why a version may not serve; None when it may. One from before there were permits gets the one that it would have had."""
    try:
        standing = _standing(registry, version)
        if standing is not None:
            standing.check(version.model, version.version, version.run_id, version.sha256)
            return None
    except PermitError as error:
        return str(error).rstrip(".")
    why_not = _why_never_permitted(registry, ledger, version)
    if why_not is None:
        why = "it was let through before there were permits"
        grant(registry, version, basis="ledger", why=why, by="the ledger")
    return why_not


def may_roll(registry: Registry, ledger: Ledger, version: Version) -> str | None:
    """Why a version may not begin beside the champion; None when it may: it answers the same requests, and may serve or passed a gate that was to decide alone."""
    why_not = may_serve(registry, ledger, version)
    stopped = ledger.refused(version.version) or any(
        entry.action == "abort" and entry.to_version == version.version for entry in ledger.entries
    )
    if why_not is not None and (stopped or not registry.settings.policy(version.model).starts_by_gate):
        return why_not
    try:
        with downloaded(registry, version) as folder:
            if why_not is not None and check_version(folder, version).decision != "pass":
                return why_not
            return _asked_otherwise(registry, ledger, version, folder)
    except UserError as error:
        return str(error).rstrip(".")


def _asked_otherwise(registry: Registry, ledger: Ledger, version: Version, folder: Path) -> str | None:
    """Why no request can be answered by both: as `slipway promote` says it, whose verdict compares the two."""
    champion = registry.version(ledger.model, ledger.serving or 0)
    if champion is None:
        return "there is no champion that it could answer beside"
    with downloaded(registry, champion) as theirs:
        change = signature_change(folder, theirs)
    return change and (
        f"it cannot answer beside version {champion.version}: {change}; "
        f"`slipway promote {ledger.model} {version.version} --now --new-signature` makes it the champion at once"
    )


def restore(registry: Registry, ledger: Ledger, version: Version) -> None:
    """Write a permit anew that somebody damaged, when the ledger's last word about the version is that it serves."""
    last = next((entry for entry in reversed(ledger.entries) if entry.to_version == version.version), None)
    if last is not None and last.action not in ("refuse", "abort") and _readable(registry, version) is None:
        grant(registry, version, basis="ledger", why=f"its permit was damaged; {last}", by="the ledger")


def reverted(registry: Registry, version: Version, rollout: str = "") -> RevertNote | None:
    """What servers found wanting in a version, unless it was let through again since, or that is signed already; `rollout`: in which it is tried now."""
    tags = registry.tags(version)
    text, standing = tags.get(REVERTED_TAG), _readable(registry, version, tags)
    try:
        found = RevertNote.model_validate_json(text) if text else None
    except ValidationError:
        return None
    if found is not None and rollout and found.rollout:
        return found if found.rollout == rollout else None  # another rollout's is answered
    answered = standing is None or not standing.granted or (found is not None and standing.at >= found.at)
    return None if answered else found


def serving_version(registry: Registry, model: str) -> Version | None:
    """What serves: the version that the alias names, if it may, else the last one that the ledger let through."""
    champion, ledger = registry.by_alias(model, "champion"), read_ledger(registry, model)
    if (
        champion is None
        or champion.version == ledger.serving
        or may_serve(registry, ledger, champion) is None
    ):
        return champion
    return None if ledger.serving is None else registry.version(model, ledger.serving)


def find_serving(registry: Registry, model: str) -> Version:
    """The same. Raises UserError when nothing serves."""
    version = serving_version(registry, model)
    if version is None:
        check_model(registry, model)
        raise UserError(f"No version of {model} serves: see `slipway history {model}`.")
    return version


def _why_never_permitted(registry: Registry, ledger: Ledger, version: Version) -> str | None:
    if ledger.promoted(version.version):
        return None
    if ledger.refused(version.version):
        return "it was refused"
    if POLICY_TAG in registry.tags(version):
        return "it has no permit: its gate did not pass, or nobody has approved it"
    try:
        with downloaded(registry, version) as folder:
            decision = check_version(folder, version).decision
    except UserError as error:
        return str(error).rstrip(".")
    return None if decision == "pass" else f"its gate said {decision}"


def _standing(registry: Registry, version: Version, tags: Mapping[str, str] | None = None) -> Permit | None:
    """The newest statement about a version, whose `tags` may have been read. Raises PermitError for one that is not signed by our key."""
    text = (registry.tags(version) if tags is None else tags).get(PERMIT_TAG)
    return read_permit(text, keyring().fits) if text else None


def _readable(registry: Registry, version: Version, tags: Mapping[str, str] | None = None) -> Permit | None:
    """The same, and None for one that is damaged: whoever can write a tag must not be able to hold up decisions."""
    with suppress(PermitError):
        return _standing(registry, version, tags)
    return None


def _write(
    registry: Registry,
    version: Version,
    before: Permit | None,
    *,
    granted: bool,
    basis: Basis,
    why: str,
    by: str,
    entry: str = "",
) -> None:
    key = signing_key()
    if key is None:
        raise UserError(
            f"A permit for {version.model} version {version.version} is signed, and this machine has the public key alone: "
            "decide where the private one is, or set SLIPWAY_PRIVATE_KEY."
        )
    tags = registry.tags(version)
    permit = Permit(
        model=version.model,
        version=version.version,
        run_id=version.run_id,
        model_sha256=version.sha256,
        evidence_sha256=tags.get(EVIDENCE_TAG, ""),
        policy_sha256=tags.get(POLICY_TAG, ""),
        statements_sha256=tags.get(STATEMENTS_TAG, ""),
        entry_sha256=entry,
        build_level=_build_level(registry, version, tags.get(STATEMENTS_TAG, "")) if granted else 0,
        granted=granted,
        basis=basis,
        serial=before.serial + 1 if before is not None else int(time.time()),  # above any that was deleted
        at=datetime.datetime.now(datetime.UTC),
        by=by,
        why=why,
    )
    registry.tag_version(version, {PERMIT_TAG: issue(permit, key)})


def _build_level(registry: Registry, version: Version, statements_sha256: str) -> int:
    """What a version's statements say of who could reach the key, and no more than whoever decides here can say; 0 where nothing is stated."""
    highest = level().number if statements_sha256 else 0
    if highest < 2:
        return highest
    with scratch("statements") as temporary, suppress(StepError):
        path = registry.download_file(version, ATTESTATIONS, temporary) / ATTESTATIONS
        if sha256_of(path) == statements_sha256:
            return min(highest, stated_level(path.read_bytes()))
    return 1  # they are not to be had, so that nothing shows more
