"""From one registry to another: the bytes, the proof and where it came from arrive; who decides there decides."""

import datetime
import hashlib
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import digit_versions
import promotions
import pytest
from checkout import ROOT
from copy_in_a_process import MOMENTS

from tasks.errors import RefusedError, UserError
from tasks.measured import Comparison, Interval, ServingCheck
from tasks.promotion.champion import promote
from tasks.promotion.copying import Copied, copy_version, destination
from tasks.promotion.entries import FIRST, LedgerEntry, Origin
from tasks.promotion.history import history
from tasks.promotion.judging import judge_folder
from tasks.promotion.ledger import LedgerError, read_ledger
from tasks.promotion.manual import roll_back_to
from tasks.promotion.verification import check_version, downloaded, verify
from tasks.proof.permit import PERMIT_TAG, read_permit
from tasks.records import Candidate, Dataset, Version
from tasks.registry.registry import Registry
from tasks.settings import Settings, load_settings
from tasks.system.signing import EvidenceError, create_key_pair, public_key, text_checker

TRIED = ServingCheck(
    requests=1, rows=1, max_abs=0, single_p50_ms=1, single_p95_ms=1, batch=1, batch_p50_ms=1, peak_bytes=1, start_seconds=1
)  # fmt: skip


@pytest.fixture
def staging(home: Path, empty_mlflow_database: Path) -> Registry:
    home.mkdir(mode=0o700)
    shutil.copyfile(empty_mlflow_database, home / "mlflow.db")
    return Registry(load_settings())


@pytest.fixture
def production(staging: Registry, tmp_path: Path, empty_mlflow_database: Path) -> Settings:
    (tmp_path / "production").mkdir()
    shutil.copyfile(empty_mlflow_database, tmp_path / "production" / "mlflow.db")
    return destination(staging.settings, f"sqlite:///{tmp_path / 'production' / 'mlflow.db'}")


@pytest.fixture
def tried(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the seconds of the real server."""
    monkeypatch.setattr("tasks.proof.serving.try_on_server", lambda *_: TRIED)


def copied(staging: Registry, production: Settings, reference: str = "digits") -> Copied:
    return copy_version(staging.settings, reference, production, why="a quiet week", who="ops")


def promoted(registry: Registry, version: Version) -> LedgerEntry:
    serving = registry.number(version.model, "champion")
    return promote(registry, version, against=serving, why="it is better", who="ada")


def dump(settings: Settings) -> list[str]:
    with closing(sqlite3.connect(settings.tracking_uri.removeprefix("sqlite:///"))) as database:
        return list(database.iterdump())


def files(registry: Registry, version: int) -> dict[str, bytes]:
    stored = registry.version("digits", version)
    assert stored is not None
    with downloaded(registry, stored) as folder:
        return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


@pytest.mark.slow
def test_a_champion_serves_in_production_with_its_bytes_its_proof_and_where_it_came_from(
    staging: Registry, production: Settings, linear_digits: tuple[Dataset, Candidate]
) -> None:
    digit_versions.register(staging, *linear_digits, noise=0.3)
    decided = promoted(staging, digit_versions.register(staging, *linear_digits))
    result = copied(staging, production, "digits@champion")
    assert (result.outcome, result.version, result.registry) == ("promoted", 1, production.tracking_uri)
    assert result.trial is not None and result.trial.requests > 1 and result.trial.problems == ()
    there = Registry(production)
    assert files(there, 1) == files(staging, 2)
    verified = verify(production, "digits")
    assert (verified.sha256, len(verified.statements)) == (result.sha256, 5)
    serving = there.by_alias("digits", "champion")
    assert serving is not None
    permit = read_permit(there.tags(serving)[PERMIT_TAG], text_checker(public_key()))
    stated = hashlib.sha256(files(there, 1)["attestations.jsonl"]).hexdigest()
    assert (permit.statements_sha256, permit.entry_sha256) == (stated, read_ledger(there, "digits").head)
    (entry,) = history(production, "digits").entries
    origin = Origin(
        registry=staging.settings.tracking_uri, version=2, entry=decided.digest, who="ada", why="it is better"
    )
    assert (entry.origin, entry.who, entry.why) == (origin, "ops", "a quiet week")
    assert read_ledger(there, "digits", whole=True).problems == ()
    before = dump(production)
    assert copied(staging, production).outcome == "already there"
    assert dump(production) == before


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_copy_killed_at_every_stage_promotes_nothing_by_halves_and_the_next_ends_it(
    staging: Registry, production: Settings, linear_digits: tuple[Dataset, Candidate]
) -> None:
    promoted(staging, digit_versions.register(staging, *linear_digits))
    there = Registry(production)
    environment = {
        **os.environ,
        "PYTHONPATH": str(ROOT),
        "MLFLOW_TRACKING_URI": staging.settings.tracking_uri,
    }
    for moment in MOMENTS:
        words = [sys.executable, "tests/bench/copy_in_a_process.py", production.tracking_uri, moment]
        done = subprocess.run(words, cwd=ROOT, env=environment, capture_output=True, text=True)
        assert done.returncode == -signal.SIGKILL, done.stderr
        assert there.number("digits", "champion") is None
        assert len(read_ledger(there, "digits").entries) == (moment == "claimed")
    result = copied(staging, production)
    assert (result.outcome, result.version) == ("already there", 1)
    assert there.number("digits", "champion") == 1 and there.version("digits", 2) is None
    verify(production, "digits")
    promotions.check(there, read_ledger(there, "digits", whole=True))


@pytest.mark.slow
def test_what_production_went_back_from_is_not_brought_back_by_copying_again(
    staging: Registry, production: Settings, linear_digits: tuple[Dataset, Candidate], tried: None
) -> None:
    promoted(staging, digit_versions.register(staging, *linear_digits, noise=0.3))
    copied(staging, production)
    staging = Registry(staging.settings)  # MLflow's own client knows one address at a time
    promoted(staging, digit_versions.register(staging, *linear_digits, champion=1))
    second = copied(staging, production)
    assert second.version == 2 and second.entry is not None and second.entry.verdict == "inconclusive"
    assert "champion v1 could not be compared: the rows of this proof are not at hand" in second.reasons[0]
    roll_back_to(production, "digits", why="wrong sevens", who="bob")
    before = dump(production)
    with pytest.raises(
        RefusedError, match=r"digits version 2 is version 2 at .*, where ops decided on it: entry 2"
    ):
        copied(staging, production)
    assert dump(production) == before


@pytest.mark.slow
def test_bytes_that_arrive_otherwise_move_nothing(
    staging: Registry,
    production: Settings,
    linear_digits: tuple[Dataset, Candidate],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    promoted(staging, digit_versions.register(staging, *linear_digits))
    upload = Registry.upload

    def damages(self: Registry, model_id: str, folder: Path) -> None:
        other = Path(shutil.copytree(folder, tmp_path / "other"))
        (other / "model.onnx").write_bytes((other / "model.onnx").read_bytes()[:-1] + b"?")
        upload(self, model_id, other)

    monkeypatch.setattr(Registry, "upload", damages)
    with pytest.raises(EvidenceError, match="does not have the bytes that were copied: model.onnx"):
        copied(staging, production)
    there = Registry(production)
    assert there.number("digits", "champion") is None and there.number("digits", "challenger") is None
    assert read_ledger(there, "digits").entries == ()


def test_what_nobody_promoted_here_is_not_copied(
    staging: Registry, production: Settings, tmp_path: Path
) -> None:
    promotions.register(staging, "digits", tmp_path, 1.0)
    with pytest.raises(RefusedError, match="nobody has promoted it here.*slipway promote digits 1"):
        copied(staging, production, "digits/1")
    assert Registry(production).model_tags("digits") is None


def test_what_another_key_signed_is_not_copied_and_the_way_is_said(
    staging: Registry, production: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    promoted(staging, promotions.register(staging, "digits", tmp_path, 1.0))
    create_key_pair(tmp_path / "keys" / "private.pem", tmp_path / "keys" / "public.pem")
    monkeypatch.setenv("SLIPWAY_PRIVATE_KEY", str(tmp_path / "keys" / "private.pem"))
    with pytest.raises(
        EvidenceError, match="is not signed by the key that .* train it again where SLIPWAY_PRIVATE_KEY"
    ):
        copied(staging, production)
    assert Registry(production).model_tags("digits") is None


@pytest.mark.slow
def test_a_production_whose_decisions_another_key_signs_is_left_alone(
    staging: Registry, production: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    create_key_pair(tmp_path / "keys" / "private.pem", tmp_path / "keys" / "public.pem")
    with monkeypatch.context() as theirs:
        theirs.setenv("SLIPWAY_PRIVATE_KEY", str(tmp_path / "keys" / "private.pem"))
        there = Registry(production)
        promote(there, *promotions.register_bare(there, "digits", 1), against=None, why="theirs")
    (production.home / "ledgers").rename(tmp_path / "ledgers")
    promoted(staging, promotions.register(staging, "digits", tmp_path, 1.0))
    with pytest.raises(LedgerError, match="Copy with the key that decisions there are signed with"):
        copied(staging, production)
    assert len(read_ledger(Registry(production), "digits").entries) == 1


@pytest.mark.parametrize(
    ("to", "said"),
    [
        ("production", "--to production is no registry's address"),
        ("ftp://ops:secret@mlflow.prod", "--to ftp://mlflow.prod is no registry's address"),
        ("", "is the registry that it would be copied from"),
    ],
)
def test_a_destination_that_is_none_is_refused(staging: Registry, to: str, said: str) -> None:
    with pytest.raises(UserError, match=said):
        destination(staging.settings, to or staging.settings.tracking_uri)


def test_a_password_in_the_address_is_not_kept(staging: Registry) -> None:
    there = destination(staging.settings, "http://ops:secret@mlflow.prod:5000/")
    assert there.tracking_uri == "http://ops:secret@mlflow.prod:5000"
    assert "secret" not in there.registry


def test_what_was_judged_elsewhere_counts_against_the_same_bytes_and_no_number(
    staging: Registry, tmp_path: Path
) -> None:
    """The champion that its evidence names by number is another registry's."""
    first = promotions.register(staging, "toy", tmp_path, 1.0)
    second = promotions.register(staging, "toy", tmp_path, 2.0, champion=1, elsewhere="e" * 32)
    promoted(staging, first)
    with downloaded(staging, second) as folder:
        evidence = check_version(folder, second)
        verdict = judge_folder(staging, second, folder, evidence, TRIED)
        assert verdict.decision == "inconclusive" and "not at hand" in verdict.reasons[0]
        comparison = Comparison(
            champion=7,
            sha256=first.sha256,
            rows=360,
            score=0.9,
            difference=0.08,
            interval=Interval(low=0.05, high=0.1, level=0.95),
        )
        proof = evidence.proof.model_copy(update={"comparison": comparison})
        verdict = judge_folder(staging, second, folder, evidence.model_copy(update={"proof": proof}), TRIED)
        assert verdict.decision == "pass"
        assert "better than champion v1 on the same 360 rows" in " ".join(verdict.reasons)
        failed = TRIED.model_copy(update={"problems": ("sea trial: rows 0–0 differ",)})
        assert judge_folder(staging, second, folder, evidence, failed).decision == "fail"


def test_an_entry_without_an_origin_is_the_text_that_it_was() -> None:
    entry = LedgerEntry(
        sequence=1,
        at=datetime.datetime(2026, 11, 22, tzinfo=datetime.UTC),
        model="digits",
        action="promote",
        from_version=None,
        to_version=1,
        who="ada",
        why="the first",
        verdict="pass",
        evidence=None,
        previous=FIRST,
    )
    assert "origin" not in entry.model_dump_json() and "origin" not in entry.canonical
    assert entry.digest == "4dcf1ff8e9276ce8f0879378575293adf7dd946fa876d2e37822a9a6d880f964"
    origin = Origin(registry="http://staging:5000", version=3, entry=FIRST, who="ada", why="better")
    with_origin = entry.model_copy(update={"origin": origin})
    assert with_origin.digest != entry.digest
    assert LedgerEntry.model_validate_json(with_origin.model_dump_json()) == with_origin
