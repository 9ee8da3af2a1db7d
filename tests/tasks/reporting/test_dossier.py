"""The page of a version's record: what a rollout counted, what is not there, and nothing that a value brings along."""

import datetime
import html
import math
import sys
from pathlib import Path

import pytest
from PIL import ImageFile
from promotions import write_model
from stated import evidence_of

from tasks.config import Gates, Train
from tasks.errors import UserError
from tasks.proof.provenance import Code
from tasks.reporting.dossier import Chapter, Decision, Dossier, check_writer, page, write_page
from tasks.rollout.counts import Counts, LabelCounts
from tasks.rollout.evidence import Answer, RolloutEvidence

AT = datetime.datetime(2026, 11, 27, tzinfo=datetime.UTC)


@pytest.fixture
def let_go() -> Dossier:
    """A version whose files are gone, that was rolled out by steps; somebody wrote a picture into the reason."""
    answers = (
        Answer(guard="score", question="harmful", mean=0.8, bound=0.5, alpha=0.01, log_wealth=math.log(250)),
        Answer(guard="errors", question="within", mean=0.0, bound=0.001, alpha=0.05, log_wealth=90.0),
    )
    rollout = RolloutEvidence(
        run="r" * 32,
        step=1,
        weight=0.1,
        policy="0" * 64,
        counts=Counts(requests=5000, pairs=4000, timed=4000, agreed=3900),
        labels=LabelCounts(matured=4000, agreed=3968, better=2, worse=30),
        answers=answers,
    )
    decision = Decision(
        sequence=1,
        at=AT,
        what="abort v1 → v2",
        moved=False,
        version=2,
        who="the rollout",
        claimed=False,
        why="<img src='file:///etc/passwd'>",
        verdict="fail",
        digest="d" * 64,
        rollout=rollout,
    )
    gone = Chapter(version=1, standing="let go", why_not="somebody deleted it")
    own = Chapter(version=2, standing="let go", why_not="its files are gone", decisions=(decision,))
    return Dossier(
        model="toy",
        version=2,
        written=AT,
        slipway="1.0",
        champion=1,
        let_go="Its files are not there any more.",
        history=(gone, own),
        decisions=(decision,),
        not_labelled="No traffic of toy is on record.",
    )


def test_counts_and_e_values_of_a_rollout_are_shown_and_what_is_gone_is_said(let_go: Dossier) -> None:
    text = html.unescape(page(let_go))
    assert "4,000 pairs and 5,000 requests, 0 failed, 3,900 agreed; 32 labels where they differ" in text
    assert "score, harmful: 250; 100, sure" in text and "errors, within: e^90; 20, sure" in text
    assert "Version 1: let go" in text and "Version 2, this one: let go" in text
    assert text.count("Not on file: Its files are not there any more.") == 4
    assert "None: No traffic of toy is on record." in text
    assert "<img" not in page(let_go)


def test_every_word_and_setting_of_a_version_is_explained(let_go: Dossier, tmp_path: Path) -> None:
    write_model(tmp_path / "model.onnx")
    evidence = evidence_of(tmp_path / "model.onnx")
    own = Chapter(version=2, standing="on file")
    made = let_go.model_copy(update={"let_go": None, "evidence": evidence, "gates": evidence.config["gates"], "history": (own,), "decisions": ()})  # fmt: skip
    text = html.unescape(page(made))
    for model, values in ((Gates, made.gates), (Train, evidence.config["train"])):
        for name in values:
            assert f">{name}</td>" in text and str(model.model_fields[name].description) in text
    assert '"teacher": true' in text and "accuracy on test rows (95% interval)" in text
    for word in ("parity", "company", "sea trial", "slices", "champion", "fingerprint"):
        assert f"<dt>{word}</dt>" in text
    unknown = evidence.model_copy(update={"code": Code(revision=None, dirty=True, lock=None)})
    assert "run from no repository" in page(made.model_copy(update={"evidence": unknown}))


@pytest.mark.slow
def test_the_same_page_is_printed_as_a_pdf(let_go: Dossier, tmp_path: Path) -> None:
    try:
        check_writer(tmp_path / "toy.pdf")
    except UserError as error:
        pytest.skip(str(error))
    written = write_page(let_go, tmp_path / "toy.PDF").read_bytes()
    assert written.startswith(b"%PDF-") and len(written) > 10_000
    assert not ImageFile.LOAD_TRUNCATED_IMAGES  # which its library says to all of the process


def test_without_its_library_a_pdf_is_refused_in_a_sentence_and_nothing_is_written(
    let_go: Dossier, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "weasyprint", None)
    with pytest.raises(UserError, match=r"slipway\[pdf\]"):
        write_page(let_go, tmp_path / "toy.pdf")
    with pytest.raises(UserError, match="ends with .html or .pdf"):
        check_writer(tmp_path / "toy.docx")
    with pytest.raises(UserError, match="cannot be written"):
        (tmp_path / "file").write_text("")
        write_page(let_go, tmp_path / "file" / "toy.html")
    assert [path.name for path in tmp_path.iterdir()] == ["file"]
