"""The report page: it opens in a real browser, says the verdict first, and needs no other file."""

import json
import shlex
import shutil
import subprocess
from pathlib import Path

import numpy as np
import promotions
import pytest

from tasks.config import Gates, RunConfig
from tasks.data.arrays import load_arrays
from tasks.measured import Champion, Proof, ServingCheck
from tasks.outcome import Selection
from tasks.proof.evidence import Evidence
from tasks.proof.gate import gate
from tasks.proof.holdout import Answered, compare_with
from tasks.proof.selection import select
from tasks.proof.validation import validate
from tasks.records import Candidate, Dataset, Material, Metric, OnnxModel
from tasks.reporting.explained_rows import Attributions, Row, Word, attributions
from tasks.reporting.explanation import Explanation
from tasks.reporting.model_card import model_card, model_page
from tasks.reporting.report import write_report
from tasks.workloads.catalogue import load_workload

Digits = tuple[Dataset, Candidate]
BROWSER = shutil.which("chromium") or shutil.which("google-chrome")


def file_of(candidate: Candidate) -> OnnxModel:
    assert candidate.onnx is not None
    return candidate.onnx


@pytest.fixture(scope="module")
def proved_digits(
    linear_digits: Digits, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Evidence, Selection]:
    """Evidence as the pipeline makes it, from real measurements, with a champion to compare with."""
    import proved

    dataset, fp32 = linear_digits
    folder = tmp_path_factory.mktemp("proved")
    old = proved.candidate(dataset, folder / "champion" / "model.onnx", "fp32", noise=0.2)
    gates = Gates(min_score=0.8, min_slice_rows=30, slice_margin=0.3)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("tasks.proof.validation.MEASURE_SECONDS", 0.02)
        reports = [validate("digits", dataset, fp32, fp32, folder)]
        report = validate("digits", dataset, fp32, fp32, folder, "test")
    assert report.outputs is not None
    comparison = compare_with(
        load_workload("digits"),
        Answered(dataset, report.split, load_arrays(report.outputs)),
        Champion(version=3, sha256=file_of(old).sha256, folder=folder / "champion"),
        gates,
    )
    trial = ServingCheck(
        requests=65, rows=380, max_abs=0.0, single_p50_ms=1.2, single_p95_ms=2.3, batch=64, batch_p50_ms=3.4,
        peak_bytes=120_000_000, start_seconds=1.5,
    )  # fmt: skip
    verdict = gate(report, report, None, comparison, trial, gates)
    refused = Candidate(name="qat", refused="<b>nothing</b> to quantise")
    evidence = promotions.make_evidence(file_of(fp32).sha256, "digits").model_copy(
        update={
            "config": RunConfig(gates=gates).model_dump(mode="json"),
            "proof": Proof(
                report=report, baseline=report, comparison=comparison, trial=trial, verdict=verdict
            ),
            "candidates": tuple(reports),
            "rows": dataset.rows,
        }
    )
    return evidence, select(reports, [fp32, refused], gates)


@pytest.fixture(scope="module")
def page(
    linear_digits: Digits, proved_digits: tuple[Evidence, Selection], tmp_path_factory: pytest.TempPathFactory
) -> Path:
    curve = [
        Metric(key, 1.0 / (step + 1), step, 0)
        for step in range(1, 20)
        for key in ("train/loss", "validation/loss")
    ]
    (evidence, selection), (dataset, fp32) = proved_digits, linear_digits
    path = tmp_path_factory.mktemp("report") / "report.html"
    attributed = attributions("digits", dataset, file_of(fp32).path)
    links = {"MLflow run": "http://127.0.0.1:5000/#/run"}
    return write_report(evidence, dataset, selection, curve, path, links, attributed)


@pytest.mark.slow
def test_the_verdict_and_its_reasons_come_first(
    page: Path, proved_digits: tuple[Evidence, Selection]
) -> None:
    text = page.read_text()
    verdict = proved_digits[0].proof.verdict
    assert verdict.decision == "pass"
    first = min(text.index(f'id="{name}"') for name in ("candidates", "score", "slices", "parity", "data"))
    assert text.index('id="verdict">pass') < text.index('id="reasons"') < first
    assert all(reason.replace("+", "&#43;") in text or reason in text for reason in verdict.reasons)
    for name in ("differences", "errors", "speed", "trial", "behaviour", "training", "environment", "steps"):
        assert f'id="{name}"' in text


@pytest.mark.slow
def test_the_page_needs_no_other_file_and_runs_no_script(page: Path) -> None:
    text = page.read_text()
    assert "<script" not in text and "<link" not in text and "src=" not in text and "@import" not in text
    assert text.count("<svg") >= 5


@pytest.mark.slow
def test_what_others_wrote_is_shown_and_not_run(page: Path) -> None:
    assert "&lt;b&gt;nothing&lt;/b&gt; to quantise" in page.read_text()


def section(text: str, name: str) -> str:
    return text.split(f'<section id="{name}">')[1].split("</section>")[0]


@pytest.mark.slow
def test_digits_are_shown_above_what_their_pixels_weigh(page: Path) -> None:
    pytest.importorskip("captum")
    shown = section(page.read_text(), "attributions")
    assert shown.count("<image") in range(2, 13, 2) and "across two seeds: correlation" in shown
    assert "0 (is 0)" in shown


def rendered(
    linear_digits: Digits, proved: tuple[Evidence, Selection], attributed: Attributions, path: Path
) -> str:
    write_report(proved[0], linear_digits[0], proved[1], [], path, None, attributed)
    return section(path.read_text(), "attributions")


@pytest.mark.slow
def test_a_text_is_shown_with_its_words_marked_and_escaped(
    linear_digits: Digits, proved_digits: tuple[Evidence, Selection], tmp_path: Path
) -> None:
    words = (Word("<i>large</i>", 1.0), Word("dog", -0.5))
    explanation = Explanation(model="digits", version=None, rows=(), agreement=0.3)
    text = Attributions(explanation=explanation, rows=(Row(7, "animal", "person", words),))
    shown = rendered(linear_digits, proved_digits, text, tmp_path / "report.html")
    assert "<b>Not stable</b>" in shown and "&lt;i&gt;large&lt;/i&gt;</mark>" in shown
    assert (
        "rgba(36,99,176,0.50)" in shown and "rgba(179,38,30,0.25)" in shown and "(is person; row 7)" in shown
    )


@pytest.mark.slow
def test_without_captum_the_page_says_how_to_get_it(
    linear_digits: Digits,
    proved_digits: tuple[Evidence, Selection],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("tasks.reporting.explained_rows.captum_installed", lambda: False)
    attributed = attributions("digits", linear_digits[0], tmp_path / "nowhere")
    shown = rendered(linear_digits, proved_digits, attributed, tmp_path / "report.html")
    assert "pip install &#39;slipway[explain]&#39;" in shown and "<figure>" not in shown


@pytest.mark.slow
@pytest.mark.skipif(BROWSER is None, reason="no chromium or google-chrome to open the page with")
@pytest.mark.parametrize(("name", "width"), [("wide", 1280), ("narrow", 500)])
def test_the_page_opens_in_a_browser(page: Path, tmp_path: Path, name: str, width: int) -> None:
    """The text is laid out without sideways scrolling; a screenshot stays beside the test's other files."""
    from PIL import Image

    screenshot = tmp_path / f"report-{name}.png"
    probe = tmp_path / "probe.html"
    measure = "<script>addEventListener('load',()=>{document.title=document.documentElement.scrollWidth+' '+innerWidth})</script>"
    probe.write_text(page.read_text().replace("</body>", f"{measure}</body>"))
    command = [
        str(BROWSER), "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
        "--disable-background-networking", "--disable-component-update", "--disable-sync", "--hide-scrollbars",
        f"--user-data-dir={tmp_path / 'profile'}", f"--window-size={width},2400",
    ]  # fmt: skip
    subprocess.run(
        [*command, f"--screenshot={screenshot}", page.as_uri()], check=True, capture_output=True, timeout=120
    )
    with Image.open(screenshot) as image:
        assert image.size == (width, 2400)
        assert len(image.convert("RGB").getcolors(1 << 24) or []) > 50
    dom = subprocess.run(
        [*command, "--dump-dom", probe.as_uri()], check=True, capture_output=True, text=True, timeout=120
    )
    title = dom.stdout.split("<title>")[1].split("</title>")[0]
    content, window = map(int, title.split())
    assert content <= window


@pytest.mark.slow
def test_the_model_card_says_what_how_good_where_weak_and_how_to_call(
    linear_digits: Digits, proved_digits: tuple[Evidence, Selection]
) -> None:
    dataset, fp32 = linear_digits
    evidence = proved_digits[0]
    card = model_card(evidence, dataset, file_of(fp32), ["version 3 since May, by ada: better"])
    assert card.startswith("# digits: accuracy 0.") and ", pass\n" in card and evidence.model_sha256 in card
    for part in (
        "## Score",
        "## Limits",
        "## Data",
        "## Ask it",
        "## What served before\n\n- version 3 since May, by ada: better",
        "0 = 0, 1 = 1, 2 = 2",
        "less champion v3",
        "slipway serve digits@champion",
    ):
        assert part in card
    assert f"accuracy {min(group.score or 0 for group in evidence.proof.report.slices):.4f}" in card
    for text in (card, model_page("digits", "digits", dataset, None)):
        command = next(line for line in text.splitlines() if line.startswith("curl"))
        body = json.loads(shlex.split(command)[4])
        assert np.shape(body["inputs"]["image"]) == (1, 1, 8, 8) and command.endswith(
            "/models/digits/invocations"
        )


@pytest.mark.slow
def test_card_and_report_say_that_nothing_was_trained_and_what_the_weights_are(
    proved_digits: tuple[Evidence, Selection], linear_digits: Digits, tmp_path: Path
) -> None:
    evidence, selection = proved_digits
    (dataset, fp32), given = linear_digits, Material(name="model.onnx", sha256="a" * 64, licence="Apache-2.0")
    shipped = evidence.model_copy(
        update={"config": {**evidence.config, "train": None}, "materials": (given,)}
    )
    said = f"Nothing was trained: the weights are those of model.onnx (SHA-256 {'a' * 16}…, Apache-2.0)."
    card = model_card(shipped, dataset, file_of(fp32))
    assert (
        said in card and "to choose by" in card and said not in model_card(evidence, dataset, file_of(fp32))
    )
    page = write_report(shipped, dataset, selection, [], tmp_path / "report.html").read_text()
    assert said in page and "Parity with the given model" in page and "a" * 64 in page
    tuned = evidence.model_copy(update={"materials": (given.model_copy(update={"licence": None}),)})
    assert tuned.remarks == (f"Training began with model.onnx (SHA-256 {'a' * 16}…, licence not stated).",)
