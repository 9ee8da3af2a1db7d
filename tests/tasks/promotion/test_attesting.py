"""What is handed over is what serves, with the decision behind it; what does not hold is refused, and the old model goes on serving."""

import datetime
import json
import shutil
from pathlib import Path

import promotions
import pytest
from page_of_folder import refused_by
from stated import register_stated

from tasks.attestation.bundle import ATTESTATIONS, signed_lines
from tasks.attestation.folder import ENTRY, PAGE, _sums
from tasks.attestation.former_keys import CHANGES
from tasks.attestation.statements import state
from tasks.errors import UserError
from tasks.promotion import keys
from tasks.promotion.attesting import attest
from tasks.promotion.champion import promote
from tasks.promotion.manual import decline_version, promote_version
from tasks.promotion.verification import verify
from tasks.proof.evidence import read, seal
from tasks.proof.permit import PERMIT_TAG, Permit, PermitError, issue, read_permit
from tasks.registry.registry import Registry
from tasks.settings import load_settings
from tasks.system.files import sha256_of
from tasks.system.signing import EvidenceError, private_key, public_key, sign_folder, text_checker


@pytest.fixture
def registry(home: Path, empty_mlflow_database: Path) -> Registry:
    home.mkdir(mode=0o700)
    shutil.copyfile(empty_mlflow_database, home / "mlflow.db")
    return Registry(load_settings())


@pytest.mark.slow
def test_a_version_from_before_statements_verifies_and_is_attested_with_its_decision(
    registry: Registry, tmp_path: Path
) -> None:
    version = promotions.register(registry, "toy", tmp_path, 1.0)
    entry = promote(registry, version, against=None, why="looked at", who="ada")
    assert verify(registry.settings, "toy").statements == ()
    attested = attest(registry.settings, "toy@champion", tmp_path / "out")
    assert attested.permitted and attested.missing[0] == "statements from the time when it was made"
    assert json.loads((tmp_path / "out" / ENTRY).read_text())["why"] == "looked at"
    page = (tmp_path / "out" / PAGE).read_text()
    assert refused_by(page, tmp_path / "out", attested.key_sha256) is None
    assert sha256_of(tmp_path / "out" / ENTRY) == entry.digest


@pytest.mark.slow
def test_what_nobody_let_serve_and_what_was_refused_is_attested_as_that(
    registry: Registry, tmp_path: Path
) -> None:
    promotions.register(registry, "toy", tmp_path, 1.0)
    waiting = attest(registry.settings, "toy/1", tmp_path / "waiting")
    assert not waiting.permitted and not (tmp_path / "waiting" / ENTRY).exists()
    decline_version(registry.settings, "toy", 1, why="wrong sevens", who="ada")
    refused = attest(registry.settings, "toy/1", tmp_path / "refused")
    assert refused.permitted and "permit" in refused.statements
    page = (tmp_path / "refused" / PAGE).read_text()
    assert refused_by(page, tmp_path / "refused", refused.key_sha256) is None


def stating(folder: Path, **changes: object) -> None:
    """Seal it anew, with statements of a run that was not."""
    evidence = read(folder)
    said = state(evidence.model_copy(update=changes), sha256_of(folder / "evidence.json"))
    (folder / ATTESTATIONS).write_bytes(signed_lines(said, private_key()))
    seal(folder, evidence)


@pytest.mark.slow
def test_a_version_whose_statements_are_about_other_bytes_is_not_promoted_and_the_old_one_serves(
    registry: Registry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = promotions.register(registry, "toy", tmp_path, 1.0)
    promote(registry, first, against=None, why="the first")
    plain = promotions.seal_folder

    def sealing(folder: Path, *about: object) -> str:
        digest = plain(folder, *about)  # type: ignore[arg-type]
        stating(folder, fingerprint="0" * 64)
        return digest

    monkeypatch.setattr(promotions, "seal_folder", sealing)
    promotions.register(registry, "toy", tmp_path, 2.0, "pass", 1)
    with pytest.raises(EvidenceError, match="attestations.jsonl is about other bytes: 'prepare' of 0000"):
        promote_version(registry.settings, "toy", 2, why="better", who="ada")
    assert registry.number("toy", "champion") == 1
    with pytest.raises(EvidenceError, match="is about other bytes"):
        attest(registry.settings, "toy/2", tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"entry_sha256": "0" * 64}, "is of a decision that the ledger does not have"),
        ({"model_sha256": "0" * 64}, "its permit is of toy version 1 .run .*, 0000000000000000…. and not of"),
        (
            {"statements_sha256": "0" * 64},
            "toy version 1: its permit rests on other statements than are beside it",
        ),
        ({"at": "2999-01-01T00:00:00Z"}, "which is yet to come by this machine's clock"),
    ],
)
def test_a_permit_that_does_not_belong_is_refused(
    registry: Registry, tmp_path: Path, changes: dict[str, str], sentence: str
) -> None:
    version = promotions.register(registry, "toy", tmp_path, 1.0)
    promote(registry, version, against=None, why="the first")
    permit = read_permit(registry.tags(version)[PERMIT_TAG], text_checker(public_key()))
    forged = Permit.model_validate(permit.model_dump() | changes)
    registry.tag_version(version, {PERMIT_TAG: issue(forged, private_key())})
    with pytest.raises(PermitError, match=sentence):
        attest(registry.settings, "toy", tmp_path / "out")


@pytest.mark.slow
def test_after_a_hand_over_the_page_names_the_key_of_each_file_and_follows_the_change(
    registry: Registry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = (register_stated(registry, "toy", tmp_path, weight) for weight in (1.0, 2.0))
    promote(registry, first, against=None, why="by the old key", verdict="pass")
    thief, given = (Path(shutil.copy(path, tmp_path)) for path in (private_key(), public_key()))
    monkeypatch.setenv("SLIPWAY_PUBLIC_KEY", str(given))  # as where the first one was handed out
    old = keys.rotate(registry.settings, why="a year old").ended
    promote(registry, second, against=1, why="by the new key", verdict="pass")
    third = register_stated(registry, "toy", tmp_path, 3.0)
    assert len(verify(registry.settings, "toy/1").statements) == 5
    names = {"README.md", "key.pem", "keys", CHANGES, "model", ATTESTATIONS, ENTRY, "SHA256SUMS", "evidence.sig", "bom.cdx.json", "model-card.md"}  # fmt: skip
    for version in (first, second):  # whose permits are by the old key and by the new
        out = tmp_path / f"v{version.version}"
        attested = attest(registry.settings, f"toy/{version.version}", out)
        assert {path.name for path in out.iterdir()} == names
        assert [path.name for path in (out / "keys").iterdir()] == [
            f"{old}.pem"
        ] and attested.key_sha256 != old
        assert refused_by((out / PAGE).read_text(), out, attested.key_sha256) is None
    attested = attest(registry.settings, f"toy/{third.version}", tmp_path / "v3")
    assert {path.name for path in (tmp_path / "v3").iterdir()} == names - {"keys", CHANGES, ENTRY}
    assert refused_by((tmp_path / "v3" / PAGE).read_text(), tmp_path / "v3", attested.key_sha256) is None

    out = tmp_path / "v1"
    page, evidence = (out / PAGE).read_text(), read(out / "model")
    changes = (out / CHANGES).read_text()
    for change, step, words in (
        (lambda: seal(out / "model", evidence.model_copy(update={"machine": "a thief's"}), thief), 5, "is not on the list of what its key"),
        (lambda: (out / CHANGES).write_text("[]"), 5, "the changes of keys do not lead to key.pem"),
        (lambda: (out / CHANGES).write_text(changes.replace("a year old", "never")), 5, "InvalidSignature"),
        (lambda: shutil.copy(tmp_path / "v3" / "key.pem", out / "keys" / f"{old}.pem"), 4, "Key mismatch"),
    ):  # fmt: skip
        kept = Path(shutil.copytree(out, tmp_path / "kept"))
        change()
        (out / "SHA256SUMS").unlink()
        sign_folder(out, private_key())  # by the new key's owner, so that all but this is as it should be
        (out / "SHA256SUMS").write_bytes(_sums(out))
        refused = refused_by(page, out, attested.key_sha256)
        assert refused is not None and refused[0] == step and words in refused[1], refused
        shutil.rmtree(out)
        kept.rename(out)


@pytest.mark.slow
def test_what_a_revoked_key_signed_is_attested_where_it_counts_and_at_no_other_registry(
    registry: Registry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    version = register_stated(registry, "toy", tmp_path, 1.0)
    promote(registry, version, against=None, why="the first", verdict="pass")
    old = keys.rotate(registry.settings, why="stolen").ended
    late = keys.revoke(
        registry.settings, old, since=datetime.datetime.now(datetime.UTC).isoformat(), why="stolen today"
    )
    assert late.lost == ()
    attested = attest(registry.settings, "toy", tmp_path / "out")
    assert refused_by((tmp_path / "out" / PAGE).read_text(), tmp_path / "out", attested.key_sha256) is None
    monkeypatch.setattr("tasks.promotion.attesting.KEYS", ".another")
    with pytest.raises(
        UserError, match="toy version 1 is signed by the key .*: `slipway keys rotate` at this"
    ):
        attest(registry.settings, "toy", tmp_path / "other")
