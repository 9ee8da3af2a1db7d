"""Everything that was ever promoted, looked at again: what holds, what was let go, and every single thing that does not hold by its name."""

import json
import shutil
from pathlib import Path

import digit_versions
import promotions
import pytest
from typer.testing import CliRunner

from flows.audit import tell
from flows.cli.audit import commands
from tasks.errors import UserError
from tasks.promotion import keys
from tasks.promotion.audit import Audit, audit
from tasks.promotion.champion import promote, roll_back
from tasks.promotion.ledger import read_ledger
from tasks.proof.permit import PERMIT_TAG
from tasks.records import Candidate, Dataset, Version
from tasks.registry.registry import Registry
from tasks.registry.tags import EVIDENCE_TAG
from tasks.settings import load_settings

MODEL = "toy"


@pytest.fixture
def registry(home: Path, empty_mlflow_database: Path) -> Registry:
    home.mkdir(mode=0o700)
    shutil.copyfile(empty_mlflow_database, home / "mlflow.db")
    return Registry(load_settings())


def promoted(registry: Registry, version: Version) -> Version:
    serving = read_ledger(registry, version.model).serving
    promote(registry, version, against=serving, why="better", verdict="pass")
    return version


def standings(audited: Audit) -> list[str]:
    return [version.standing for version in audited.models[0].versions]


def files_of(registry: Registry, version: Version) -> Path:
    (path,) = [path for path in registry.settings.home.rglob("model.onnx") if path.parent.joinpath("evidence.json").is_file() and
               json.loads(path.parent.joinpath("evidence.json").read_text())["model_sha256"] == version.sha256]  # fmt: skip
    return path


@pytest.mark.slow
def test_all_that_was_promoted_is_looked_at_and_each_fault_is_named(
    registry: Registry, tmp_path: Path
) -> None:
    versions = [
        promoted(registry, promotions.register(registry, MODEL, tmp_path, 2.0 + number))
        for number in range(3)
    ]
    keys.rotate(registry.settings, why="a year old")
    versions += [
        promoted(registry, promotions.register(registry, MODEL, tmp_path, 5.0 + number))
        for number in range(2)
    ]
    never = promotions.register(registry, MODEL, tmp_path, 9.0)
    seen: list[tuple[str, int, int]] = []
    audited = audit(registry.settings, tell=lambda *said: seen.append(said))
    assert audited.holds and audited.headline == "5 versions of 1 model: all of it holds"
    assert standings(audited) == ["holds"] * 5 and audited.models[0].entries == 5
    assert seen == [(f"toy version {number + 1}", number, 5) for number in range(5)]
    assert never.version not in [version.version for version in audited.models[0].versions]
    runner = CliRunner()
    assert runner.invoke(commands, []).exit_code == 0

    registry.delete_version(versions[0])
    assert standings(audit(registry.settings)) == ["let go", "holds", "holds", "holds", "holds"]
    assert audit(registry.settings).holds, "what somebody deleted on purpose is no fault"

    path = files_of(registry, versions[1])
    whole = path.read_bytes()
    path.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    registry.tag_version(
        versions[2], {PERMIT_TAG: registry.tags(versions[2])[PERMIT_TAG].replace('"sig": "M', '"sig": "N')}
    )
    shutil.rmtree(files_of(registry, versions[3]).parent)
    audited = audit(registry.settings, [MODEL])
    assert standings(audited) == ["let go", "fails", "fails", "fails", "holds"] and not audited.holds
    said = list(audited.faults())
    assert "toy version 2: toy-v2: model.onnx was altered after it was signed" in said
    assert any(
        "version 3: the permit is not signed by the owner of the public key" in fault for fault in said
    )
    assert any("toy version 4" in fault and ("has no files" in fault or "missing" in fault) for fault in said)

    asked = runner.invoke(commands, ["--json", MODEL])
    assert asked.exit_code == 3 and json.loads(asked.stdout)["holds"] is False
    assert runner.invoke(commands, []).exit_code == 3
    with pytest.raises(UserError, match="no model 'nobody'"):
        audit(registry.settings, ["nobody"])


@pytest.mark.slow
def test_scores_come_out_again_and_rows_that_were_let_go_are_said_and_no_fault(
    registry: Registry, linear_digits: tuple[Dataset, Candidate], monkeypatch: pytest.MonkeyPatch
) -> None:
    promoted(registry, digit_versions.register(registry, *linear_digits))
    promoted(registry, digit_versions.register(registry, *linear_digits, noise=0.01, champion=1))
    audited = audit(registry.settings, replay=True)
    (first, second) = audited.models[0].versions
    assert audited.holds and first.replayed == first.score and second.replayed == second.score
    assert first.score != second.score

    def gone(*_: object) -> float:
        raise UserError("digits was made of rows that are gone.")

    monkeypatch.setattr("tasks.promotion.audit.score_again", gone)
    audited = audit(registry.settings, replay=True)
    assert (
        audited.holds
        and "not scored again: digits was made of rows that are gone" in audited.models[0].versions[0].notes
    )


@pytest.mark.slow
def test_an_evidence_that_is_not_the_one_that_was_decided_on_is_a_fault(
    registry: Registry, tmp_path: Path
) -> None:
    version = promotions.register(registry, MODEL, tmp_path, 2.0)
    registry.tag_version(version, {EVIDENCE_TAG: "f" * 64})
    promoted(registry, version)
    assert [
        "its evidence is not the one that entry 1" in fault for fault in audit(registry.settings).faults()
    ] == [True]
    promoted(registry, promotions.register(registry, MODEL, tmp_path, 3.0))
    registry.client.delete_model_version_tag(MODEL, "1", EVIDENCE_TAG)
    roll_back(registry, version, why="wrong sevens")
    assert read_ledger(registry, MODEL).entries[-1].evidence is None
    (fault,) = audit(registry.settings).faults()
    assert "its evidence is not the one that entry 1" in fault, "the last that names any"


@pytest.mark.slow
def test_what_is_as_it_should_be_is_no_fault(
    registry: Registry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    version = promoted(registry, promotions.register(registry, MODEL, tmp_path, 2.0))
    settings = registry.settings
    (settings.home / "datasets" / MODEL).mkdir(parents=True)
    assert [*audit(settings).faults()] == ["toy version 1: its rows are not on this machine"]
    shutil.copyfile(settings.home / "mlflow.db", tmp_path / "team.db")
    team = settings.model_copy(update={"tracking_uri": f"sqlite:///{tmp_path / 'team.db'}"})
    audited = audit(team)
    assert audited.holds, "any worker of a team may have them"
    assert audited.models[0].versions[0].notes == ("its rows are not on this machine",)

    (settings.home / "datasets" / MODEL).rmdir()
    with monkeypatch.context() as patch:
        patch.setattr("tasks.promotion.ledger.write_head", lambda *_: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            promoted(registry, promotions.register(registry, MODEL, tmp_path, 3.0))
    audited = audit(settings)
    assert audited.holds and "a promote to v2 by" in audited.models[0].notes[0], "the next decision ends it"

    registry.delete_version(version)
    registry.client.delete_registered_model(MODEL)
    anew = promotions.register(registry, MODEL, tmp_path, 4.0)
    assert anew.version == 1
    promote(registry, anew, against=None, why="made anew", verdict="pass")
    faults = [fault for fault in audit(settings).faults() if "version 1" in fault]
    assert faults == [], "it is as its own decision says"


@pytest.mark.slow
def test_a_decision_under_way_hides_no_fault_and_a_fault_that_says_so_is_one(
    registry: Registry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    versions = [promotions.register(registry, MODEL, tmp_path, 2.0 + number) for number in range(3)]
    promoted(registry, versions[0])
    ((run_id, _),) = registry.ledger_entries(MODEL)
    registry.client.set_tag(run_id, "why", "it is under way, or was interrupted")
    (fault,) = audit(registry.settings).faults()
    assert "its tag 'why' was changed" in fault
    registry.client.set_tag(run_id, "why", "better")
    with monkeypatch.context() as patch:
        patch.setattr("tasks.promotion.ledger.write_head", lambda *_: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            promoted(registry, versions[1])
    for number, holds in ((1, True), (2, True), (3, False)):
        registry.client.set_registered_model_alias(MODEL, "champion", str(number))
        audited = audit(registry.settings)
        assert audited.holds == holds
        assert ["a promote to v2 by" in note for note in audited.models[0].notes] == [True]
    assert [*audited.faults()] == [
        "toy: the champion was moved to v3, proved, outside of Slipway; by the ledger v2 serves"
    ]


@pytest.mark.slow
def test_a_record_of_keys_that_was_cut_is_one_fault_however_many_models_there_are(
    registry: Registry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for model in ("toy", "other"):
        promoted(registry, promotions.register(registry, model, tmp_path, 2.0))
    keys.rotate(registry.settings, why="a year old")
    monkeypatch.setattr("tasks.registry.key_changes.KEYS", ".none")
    audited = audit(registry.settings)
    (fault,) = audited.faults()
    assert "record of keys was cut short" in fault
    events: list[tuple[str, str]] = []
    monkeypatch.setattr(
        "flows.audit.emit", lambda event, about, message, record: events.append((about, message))
    )
    tell(audited)
    assert events == [(".keys", f"audit: {fault}")]
