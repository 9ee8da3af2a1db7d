"""One document of a version's whole life: no version and no decision is left out, and what is not there is said."""

import datetime
import html
import json
import shutil
from pathlib import Path

import promotions
import pytest
from typer.testing import CliRunner

from flows.cli.dossier import commands
from tasks.attestation.bundle import write_statements
from tasks.errors import UserError
from tasks.promotion import keys
from tasks.promotion.champion import promote
from tasks.promotion.dossier import dossier
from tasks.promotion.ledger import read_ledger
from tasks.promotion.manual import decline_version, roll_back_to
from tasks.proof.evidence import read, seal
from tasks.registry.registry import Registry
from tasks.registry.status_tags import StatusTag, publish
from tasks.registry.tags import EVIDENCE_TAG, REVERTED_TAG
from tasks.reporting.ai_act import HEADINGS
from tasks.reporting.dossier import Dossier, page
from tasks.rollout.reported import RevertNote
from tasks.settings import load_settings
from tasks.system.signing import EvidenceError

NAUGHTY = "<script>alert('why')</script>"


@pytest.fixture
def registry(home: Path, empty_mlflow_database: Path) -> Registry:
    home.mkdir(mode=0o700)
    shutil.copyfile(empty_mlflow_database, home / "mlflow.db")
    return Registry(load_settings())


def ten_versions(registry: Registry, scratch: Path) -> None:
    """Of ten, the third was refused, nobody decided about the sixth, and the ninth was taken back."""
    for number in range(1, 11):
        serving = read_ledger(registry, "toy").serving
        decision = "inconclusive" if number == 6 else "pass"
        version = promotions.register(registry, "toy", scratch, float(number), decision, serving)
        if number == 3:
            decline_version(registry.settings, "toy", 3, why=NAUGHTY, who="ada")
        elif number != 6:
            promote(registry, version, against=serving, why=f"reason {number}", who="ada", verdict="pass")
        if number == 9:
            roll_back_to(registry.settings, "toy", None, why="wrong sevens", who="grace")


@pytest.mark.slow
def test_ten_versions_read_through_without_a_gap(
    registry: Registry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ten_versions(registry, tmp_path)
    second = registry.version("toy", 2)
    fifth = registry.version("toy", 5)
    assert second is not None and fifth is not None
    note = RevertNote(
        at=datetime.datetime.now(datetime.UTC), by="pod-1", reason="its answers were not finite"
    )
    registry.tag_version(fifth, {REVERTED_TAG: note.model_dump_json()})
    publish(registry, StatusTag(model="toy", subject="traffic", said="3 of 4 inputs drifted", tone="bad"))
    registry.delete_version(second)

    made = dossier(registry.settings, "toy")
    assert made.version == made.champion == 10 and made.problems == () and made.let_go is None
    assert [chapter.version for chapter in made.history] == list(range(1, 11))
    standings = {chapter.version: chapter.standing for chapter in made.history}
    assert standings == dict.fromkeys(range(1, 11), "on file") | {2: "let go"}
    decided = [entry.sequence for chapter in made.history for entry in chapter.decisions]
    assert sorted(decided) == [entry.sequence for entry in made.decisions] == list(range(1, 11))
    assert [away.what for away in made.history[8].replaced] == ["rollback v9 → v8"]
    assert made.history[9].replaced == ()
    assert made.history[5].decisions == () and "The gate was not sure: " in str(made.history[5].why)
    assert [(decision.what, decision.why) for decision in made.history[2].decisions] == [
        ("refuse v3", NAUGHTY)
    ]
    assert all(decision.claimed for decision in made.decisions)
    whats = [incident.what for incident in made.incidents]
    assert whats == [
        "a version was refused",
        "what served was taken back",
        "servers went back from a version",
        "the monitor is alarmed",
    ]
    assert [incident.version for incident in made.incidents] == [3, 9, 5, None]
    assert made.incidents[0].said == f"refuse v3, by ada (claimed): {NAUGHTY}"
    assert "pod-1: its answers were not finite" in made.incidents[2].said
    assert made.not_labelled is not None and made.permit is not None and made.permit.granted

    text = page(made)
    assert "UTC: rollback v9 → v8." in text
    of_the_eighth = text.split('id="v8"')[1].split('id="v9"')[0]
    in_order = (
        "promote v7 → v8</b>",
        "until decision 8",
        "rollback v9 → v8</b>",
        "until decision 10",
    )
    assert [*map(of_the_eighth.index, in_order)] == sorted(map(of_the_eighth.index, in_order))
    assert "becomes the champion" not in text and "goes on serving" not in text
    for heading in HEADINGS:
        assert html.escape(heading.heading, quote=False) in html.unescape(text).replace("&", "&amp;"), heading
        assert heading.left_out in html.unescape(text)
    assert NAUGHTY not in text and html.escape(NAUGHTY).replace("&#x27;", "&#39;") in text
    for number in range(1, 11):
        assert f'id="v{number}"' in text
    assert text.count("Nothing was decided about it") == 1 and "http" not in text.split("</style>")[0]

    of_the_deleted = dossier(registry.settings, "toy/2")
    assert of_the_deleted.evidence is None and "somebody deleted it" in str(of_the_deleted.let_go)
    assert str(of_the_deleted.let_go) in html.unescape(page(of_the_deleted))

    monkeypatch.chdir(tmp_path)
    (tmp_path / "provider").mkdir()
    (tmp_path / "provider" / "point-1.md").write_text("It sorts toys, & <b>nothing</b> else.")
    runner = CliRunner()
    assert runner.invoke(commands, ["toy", "--with", "provider"]).exit_code == 0
    assert "It sorts toys, &amp; &lt;b&gt;nothing" in (tmp_path / "toy-v10-dossier.html").read_text()
    asked = runner.invoke(commands, ["toy@previous", "--json"])
    assert asked.exit_code == 0 and Dossier.model_validate_json(asked.stdout).version == 8
    assert set(json.loads(asked.stdout)) == set(Dossier.model_fields)


@pytest.mark.slow
def test_what_does_not_hold_is_refused_or_said_and_bad_input_gets_a_sentence(
    registry: Registry, tmp_path: Path
) -> None:
    for number in (1, 2, 3):
        version = promotions.register(registry, "toy", tmp_path, float(number))
        promote(registry, version, against=read_ledger(registry, "toy").serving, why="better", who="ada")
    files = {json.loads(path.read_text())["model_sha256"]: path.parent for path in registry.settings.home.rglob("evidence.json")}  # fmt: skip
    first = registry.version("toy", 1)
    assert first is not None
    model = files[first.sha256] / "model.onnx"
    model.write_bytes(model.read_bytes()[:-1] + b"x")
    made = dossier(registry.settings, "toy")
    assert made.history[0].standing == "does not hold" and "altered" in made.problems[0]
    with pytest.raises(EvidenceError, match="model.onnx was altered"):
        dossier(registry.settings, "toy/1")
    (files[first.sha256] / "evidence.json").unlink()
    made = dossier(registry.settings, "toy")
    assert made.history[0].standing == "does not hold"
    assert made.problems == ("version 1: evidence.json is missing: this version was never proved",)
    registry.client.delete_model_version_tag("toy", "1", EVIDENCE_TAG)
    made = dossier(registry.settings, "toy")
    assert made.history[0].standing == "unproved" and made.problems == ()
    shutil.rmtree(files[first.sha256])
    gone = dossier(registry.settings, "toy/1")
    assert gone.let_go is not None and "Its files are not there any more" in gone.let_go
    assert gone.decisions and gone.history[0].standing == "let go"
    third = registry.version("toy", 3)
    assert third is not None
    shutil.rmtree(files[third.sha256])
    lost = dossier(registry.settings, "toy")
    assert lost.history[2].standing == "does not hold", "what serves is let go by nobody"
    assert "version 3: toy version 3 has no files to check" in lost.problems[0] and lost.let_go is not None

    for wrong, said in (
        ("nobody", "no model 'nobody'"),
        ("toy/9", "no version 9"),
        ("toy@", "names no version"),
    ):
        with pytest.raises(UserError, match=said):
            dossier(registry.settings, wrong)
    folder = tmp_path / "provider"
    with pytest.raises(UserError, match="is no folder"):
        dossier(registry.settings, "toy", folder)
    folder.mkdir()
    with pytest.raises(UserError, match="has no file of a heading"):
        dossier(registry.settings, "toy", folder)
    (folder / "purpose.md").write_text("?")
    with pytest.raises(UserError, match="is of no heading"):
        dossier(registry.settings, "toy", folder)


@pytest.mark.slow
def test_statements_of_a_key_that_was_handed_over_since_are_shown_and_hold(
    registry: Registry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = promotions.seal_folder

    def sealing(folder: Path, *about: object) -> str:
        plain(folder, *about)  # type: ignore[arg-type]
        evidence = read(folder)
        write_statements(folder, evidence)
        return seal(folder, evidence)

    monkeypatch.setattr(promotions, "seal_folder", sealing)
    version = promotions.register(registry, "toy", tmp_path, 1.0)
    promote(registry, version, against=None, why="the first", who="ada")
    keys.rotate(registry.settings, why="a year old")
    made = dossier(registry.settings, "toy")
    assert made.problems == () and [key.standing for key in made.keys] == ["ended", "in force"]
    assert [said.name for said in made.statements] == ["prepare", "train", "export", "tests", "decide"]
    assert made.statements[-1].sha256 in page(made)
    assert page(made).count("a year old") == 1 and "<td>the beginning</td>" in page(made)
