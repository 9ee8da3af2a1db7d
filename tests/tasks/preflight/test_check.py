"""`slipway new` and `slipway check`: what a run would find in minutes, found at once and said in a sentence."""

import json
import re
import sys
from pathlib import Path

import numpy as np
import pytest
from checkout import SUPPORT

from flows.cli import __main__ as cli
from tasks.errors import UserError
from tasks.preflight import check as checkup
from tasks.preflight.check import Checkup, PartResult, check
from tasks.workloads.catalogue import names
from tasks.workloads.scaffold import new_workload
from tasks.workloads.workload import Workload


@pytest.fixture
def churn(tmp_path: Path) -> Path:
    path = tmp_path / "churn.py"
    assert new_workload(path) == "churn"
    return path


def look(path: Path) -> Checkup:
    return check(str(path), Workload.defaults, path.parent / "home")


def leave_out_the_slow_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    parts = {name: part for name, part in checkup.PARTS.items() if name not in ("export", "answer")}
    monkeypatch.setattr(checkup, "PARTS", parts)


def broken(path: Path, *changes: tuple[str, str]) -> dict[str, PartResult]:
    """What check finds after these replacements, each of which has to hit."""
    text = path.read_text()
    for old, new in changes:
        assert old in text
        text = text.replace(old, new)
    path.write_text(text)
    return {part.name: part for part in look(path).findings}


@pytest.mark.slow
def test_a_new_file_holds_in_every_part_and_its_request_fits_its_signature(churn: Path) -> None:
    checkup = look(churn)
    assert checkup.ok and {part.status for part in checkup.findings} == {"held"} and checkup.model == "churn"
    assert [spec.name for spec in checkup.inputs] == ["numbers", "plan"]
    assert [spec.name for spec in checkup.outputs] == ["logits"]
    assert checkup.request is not None
    for spec in checkup.inputs:
        sent = np.asarray(checkup.request["inputs"][spec.name], spec.dtype)
        assert sent.shape == (1, *spec.shape[1:])
    assert (churn.parent / "home" / "datasets" / "churn").is_dir()


@pytest.mark.platform
def test_a_new_file_like_lightning_holds_in_every_part_and_resumes_to_the_bit(tmp_path: Path) -> None:
    pytest.importorskip("pytorch_lightning")
    new_workload(tmp_path / "mine.py", "lightning")
    checkup = look(tmp_path / "mine.py")
    assert {part.status for part in checkup.findings} == {"held"}, checkup.findings
    assert "a killed training resumes to the bit" in next(
        p.said for p in checkup.findings if p.name == "step"
    )


@pytest.mark.slow
def test_a_new_file_of_a_model_that_exists_holds_with_the_file_beside_it(tmp_path: Path) -> None:
    assert new_workload(tmp_path / "mine.py", "onnx") == "mine"
    assert (tmp_path / "mine.onnx").is_file()
    said = {part.name: part.said for part in look(tmp_path / "mine.py").findings if part.status == "held"}
    assert len(said) == 10
    assert re.fullmatch(r"[\d,]+ choose, [\d,]+ judge, and none trains \(train=None\)", said["splits"])
    assert said["step"].startswith("nothing is trained (train=None): mine.onnx (SHA-256 ")
    assert "of ONNX as it came, opset 17, agrees with its own without optimisations" in said["export"]
    assert said["recipes"].startswith("fp32 and int8-dynamic, int8-static would be tried; not pruned-50, ")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("part", "said", "changes"),
    [
        ("file", r"line \d+: '\(' was never closed", [("slices=", "slices=((")]),
        ("file", r"line \d+: TypeError: .*unexpected keyword argument 'slice'", [("slices=", "slice=")]),
        ("rows", r"load\(\) gave no column 'left'", [("assign(left=", "assign(gone=")]),
        ("rows", "there is no column 'monthly_bill' .is it 'month_bill' now", [('"monthly_bill": draw', '"month_bill": draw'), ('frame["monthly_bill"]', '0')]),
        ("rows", r"months: in_range\(0, 60\) fails in \d+ rows", [("in_range(0, 1200)", "in_range(0, 60)")]),
        ("rows", r"load\(\) finds no file 'none.csv' in /.*: Path\(__file__\).with_name\('none.csv'\) finds it", [("    rows = 4000\n", "    rows = len(pd.read_csv('none.csv'))\n")]),
        ("rows", "left is float64 and has to be int64", [('astype("int64")', 'astype("float64")')]),
        ("inputs", r"inputs\(\) failed: KeyError: 'plans'", [('frame["plan"].map(lambda', 'frame["plans"].map(lambda')]),
        (
            "inputs",
            r"inputs\(\)\['numbers'\] gives the first row other values alone than among others: fit",
            [('frame[NUMBERS].to_numpy("float32")', '(frame[NUMBERS] / frame[NUMBERS].max()).to_numpy("float32")')],
        ),
        ("model", r"inputs\(\) gives numbers, plan, but the model's forward takes values, plan", [("forward(self, numbers", "forward(self, values")]),
        ("model", "its model fails on its own inputs .*IndexError", [("nn.Embedding(len(PLANS), 8)", "nn.Embedding(1, 8)")]),
        ("model", r"outputs of shape \[2\] for 2 rows; .*\[2, 3\] is needed", [("> 0.5).astype", "> 0.5).astype('int64') + (risk > 3).astype"), ("isin([0, 1])", "isin([0, 1, 2])"), ("dim=1))\n", "dim=1))[:, 0]\n")]),
        ("model", r"outputs of shape \[2, 1, 2\] for 2 rows; \[2, 2\] is needed", [("return logits", "return logits[:, None]")]),
        ("model", "forward\\(\\) returned no tensor", [("return logits", "return None")]),
        ("score", "its score ours failed on 500 rows: ValueError: no", [("slices=", "score=lambda truth, codes: [].index(1) if 0 else (_ for _ in ()).throw(ValueError('no')), score_name='ours',\n    slices=")]),
        ("step", "its loss on the first batch is nan", [("numbers.std(0) + 1e-6", "numbers.std(0) * float('nan')")]),
        ("step", "its model fails in training, on a batch of 64: IndexError", [("return logits", "return logits[:, 9] if self.training else logits")]),
        ("model", r"weights are float32, so give numbers.astype\('float32'\) in inputs\(\)", [('frame[NUMBERS].to_numpy("float32")', 'frame[NUMBERS].to_numpy("float64")')]),
        ("step", "its loss fails on outputs .*AttributeError: 'float' object has no", [("slices=", "loss=lambda outputs, target: 0.5,\n    slices=")]),
        ("step", "no weight of the model reaches its loss", [("return logits", "return logits.detach()")]),
    ],
)  # fmt: skip
def test_what_is_wrong_is_said_of_the_part_that_is(
    churn: Path, part: str, said: str, changes: list[tuple[str, str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    leave_out_the_slow_parts(monkeypatch)
    results = broken(churn, *changes)
    assert results[part].status == "failed"
    assert re.search(said, results[part].said), results[part].said
    assert "\n" not in results[part].said
    assert [result.name for result in results.values() if result.status == "failed"] == [part]
    assert all(result.status == "held" for result in list(results.values())[: list(results).index(part)])


@pytest.mark.slow
@pytest.mark.parametrize(
    ("part", "said", "changes"),
    [
        ("splits", "load() gave other rows when it was called again", [("default_rng(0)", "default_rng()")]),
        ("step", "no gradient reaches spare.weight, spare.bias: freeze or use them", [("self.layers = nn", "self.spare = nn.Linear(2, 2)\n            self.layers = nn")]),
        ("model", "it gives 3 outputs for 2 classes (0, 1)", [("nn.Linear(64, 2)", "nn.Linear(64, 3)")]),
        ("score", "mean_absolute_error is 0 for the right answers and 1 for wrong ones, and higher is taken for better", [("slices=", "score=__import__('sklearn.metrics').metrics.mean_absolute_error,\n    slices=")]),
        ("score", "log_loss is ", [("slices=", "score=__import__('sklearn.metrics').metrics.log_loss, probabilities=True,\n    slices=")]),
        ("score", "and is called an error: higher is taken for better", [("slices=", "score=lambda truth, codes: float((truth == codes).mean()), score_name='top_error',\n    slices=")]),
        ("score", "ours is not defined on 500 validation rows", [("slices=", "score=lambda truth, codes: float('nan'), score_name='ours',\n    slices=")]),
        ("inputs", "inputs()['numbers'][:, 3] alone tells the target 'left' in every row", [('NUMBERS = ["months", "monthly_bill", "support_calls"]', 'NUMBERS = ["months", "monthly_bill", "support_calls", "left"]')]),
        ("splits", "no train row is 7", [('astype("int64"))', 'astype("int64").where(frame.index > 0, 7))'), ("isin([0, 1])", "isin([0, 1, 7])"), ("nn.Linear(64, 2)", "nn.Linear(64, 3)")]),
    ],
)  # fmt: skip
def test_what_would_not_stop_a_run_is_a_doubt_and_the_file_still_passes(
    churn: Path, part: str, said: str, changes: list[tuple[str, str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    leave_out_the_slow_parts(monkeypatch)
    results = broken(churn, *changes)
    assert results[part].status == "doubtful" and said in results[part].said
    assert {result.status for result in results.values()} == {"held", "doubtful"}


@pytest.mark.parametrize(
    "score",
    [
        "roc_auc_score, probabilities=True",
        "average_precision_score, probabilities=True",
        "brier_score_loss, probabilities=True, score_name='neg_brier'",
        "f1_score",
    ],
)
def test_the_scores_that_the_file_advises_work(
    churn: Path, score: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    leave_out_the_slow_parts(monkeypatch)
    name, comma, rest = score.partition(",")
    given = f"lambda *given: -metrics.{name}(*given)" if "neg" in rest else f"metrics.{name}"
    results = broken(
        churn,
        ("from typing import", "from sklearn import metrics\nfrom typing import"),
        ("slices=", f"score={given}{comma}{rest},\n    slices="),
    )
    assert results["score"].status == "held", results["score"].said


def test_classes_are_shown_in_their_order(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """mljar#245: weights of a loss are given in it."""
    leave_out_the_slow_parts(monkeypatch)
    results = check(str(SUPPORT / "cases" / "triage.py"), Workload.defaults, tmp_path)
    said = next(part.said for part in results.findings if part.name == "rows")
    assert "classes in order: low, medium, high; the most frequent is low" in said


@pytest.mark.slow
def test_one_call_finds_all_there_is_and_says_what_it_had_to_leave_out(
    churn: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, home: Path
) -> None:
    text = churn.read_text().replace("return logits", "return logits.detach()")
    text = text.replace(
        "plans = self.plans(", "assert numbers.sum().item() < 1e9\n            plans = self.plans("
    )
    churn.write_text(
        text.replace(
            "logits: torch.Tensor = ", "logits: torch.Tensor = torch.tensor(numbers.tolist())[:, :2] + "
        )
    )
    monkeypatch.setattr(sys, "argv", ["slipway", "check", str(churn), "--json"])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    printed = json.loads(capsys.readouterr().out)
    status = {part["name"]: part["status"] for part in printed["findings"]}
    assert ended.value.code == 2 and not printed["ok"]
    assert status["step"] == "failed" and status["export"] == "failed" and status["recipes"] == "held"
    assert status["answer"] == "skipped" and printed["findings"][-1]["said"] == "needs export"


def test_a_checklist_marks_each_part_and_says_what_is_next(
    churn: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, home: Path
) -> None:
    churn.write_text(churn.read_text().replace("assign(left=", "assign(gone="))
    monkeypatch.setattr(sys, "argv", ["slipway", "check", str(churn)])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    lines = capsys.readouterr().out.splitlines()
    assert ended.value.code == 2
    assert lines[0] == str(churn), "a path is never broken, however long"
    assert re.match(r" ✓ file +\d+\.\d s  workload churn: classification of 'left'", lines[1])
    assert re.match(r" ✗ rows +.*load\(\) gave no column 'left'", lines[2])
    assert re.match(r" – inputs +needs rows", lines[3])
    assert lines[-1] == "1 of 10 parts failed, 8 wait for that."


def test_a_new_file_replaces_nothing_and_takes_no_name_that_a_model_cannot_have(tmp_path: Path) -> None:
    (tmp_path / "there.py").write_text("mine")
    for name, said in {
        "there.py": "is there already",
        "churn.txt": "such as churn.py",
        "digits.py": "comes with Slipway",
        "no/folder.py": "There is no folder",
    }.items():
        with pytest.raises(UserError, match=said):
            new_workload(tmp_path / name)
    assert (tmp_path / "there.py").read_text() == "mine" and len(list(tmp_path.iterdir())) == 1
    assert new_workload(tmp_path / "2026 Churn.py") == "2026_churn"
    with pytest.raises(
        UserError,
        match="no template like 'sound': choose one of table, text, image, forecast, onnx, lightning",
    ):
        new_workload(tmp_path / "other.py", "sound")
    assert "template" not in names()
