import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from flows.pipeline.definitions import Code
from flows.pipeline.keys import STEPS, Key, difference, main, make_key, recall, remember
from flows.pipeline.reach import reach
from flows.pipeline.reuse import pipeline_key
from tasks.config import RunConfig, Train, flatten
from tasks.errors import StepError
from tasks.records import Checkpoint, Dataset, Material, TensorSpec

ROOTS = ["flows.steps.train"]


def dataset(**changes: object) -> Dataset:
    spec = TensorSpec(name="x", dtype="float32", shape=("batch", 2))
    plain = Dataset(
        workload="digits",
        folder=Path("/here"),
        fingerprint="f" * 64,
        rows={"train": 3},
        inputs=(spec,),
        target=spec,
        classes=None,
    )
    return plain.model_copy(update=changes)


def test_the_same_inputs_in_another_folder_are_the_same() -> None:
    here = make_key(ROOTS, "digits", {"dataset": dataset()})
    there = make_key(ROOTS, "digits", {"dataset": dataset(folder=Path("/there"))})
    assert here.digest == there.digest


@pytest.mark.parametrize(
    ("inputs", "reason"),
    [
        ({"dataset": dataset(fingerprint="0" * 64, rows={"train": 9})}, "data changed"),
        ({"config": Train(epochs=21)}, "config.epochs 20 → 21"),
        ({"config": Train(epochs=21, lr=0.5)}, "config.epochs 20 → 21, config.lr 0.001 → 0.5"),
        ({}, "its result was not kept"),
    ],
)
def test_a_step_says_why_it_runs_again(inputs: dict[str, object], reason: str) -> None:
    plain = {"dataset": dataset(), "config": Train()}
    old = make_key(ROOTS, "digits", plain)
    assert difference(old, make_key(ROOTS, "digits", plain | inputs)) == reason


def test_a_first_run_and_a_new_library_are_said() -> None:
    key = make_key(ROOTS, "digits", {})
    newer = key.model_copy(update={"libraries": {**key.libraries, "torch": "9.9"}})
    assert difference(None, key) == "first run"
    assert difference(key, newer) == f"torch {key.libraries['torch']} → 9.9"


CODE = {
    "run": "from tasks.loop import Loop\nfrom tasks.other import f\ndef run(): return Loop(), f()",
    "loop": "LIMIT = 1\nclass Loop:\n  def go(self): return LIMIT",
    "other": "from tasks.one import x\ndef f(): return x()",
    "one": "def x(): return y()\ndef y(): return 1",
    "two": "def x(): return y()\ndef y(): return 2",
}


@pytest.mark.parametrize(
    ("edits", "reason"),
    [
        ({"loop": "LIMIT = 1\nclass Loop:\n  def go(self): return LIMIT + 1"}, "loop.Loop changed"),
        ({"loop": CODE["loop"].replace("LIMIT = 1", "LIMIT = 2")}, "loop.LIMIT changed"),
        ({"loop": "import os\n" + CODE["loop"] + "  # so far"}, "its result was not kept"),
        ({"run": CODE["run"].replace(".loop", ".laps"), "laps": CODE["loop"]}, "its result was not kept"),
        (
            {"run": CODE["run"].replace(".loop", ".laps"), "laps": CODE["loop"].replace("= 1", "= 2")},
            "laps.LIMIT changed",
        ),
        ({"other": CODE["other"].replace(".one", ".two")}, "two.y changed"),
        ({"run": CODE["run"].replace("Loop(), f()", "f(), Loop()")}, "run.run changed"),
    ],
)
def test_a_step_names_the_definition_for_which_it_runs_again(
    tmp_path: Path, edits: dict[str, str], reason: str
) -> None:
    def key(folder: Path, code: dict[str, str]) -> Key:
        (folder / "tasks").mkdir(parents=True)
        for name, text in code.items():
            (folder / "tasks" / f"{name}.py").write_text(text)
        reached = reach(Code(folder), ["tasks.run.run"])
        return Key(scheme="definitions", code=reached.digest, source=reached.source)

    old, new = key(tmp_path / "old", CODE), key(tmp_path / "new", CODE | edits)
    assert difference(old, new) == reason
    assert (old.digest == new.digest) == (reason == "its result was not kept")


def test_imports_are_named_when_definitions_are_as_they_were_and_names_lead_to_others_of_them() -> None:
    old = Key(scheme="definitions", code="1", source="run.run aa\nhelper.f bb")
    assert difference(old, old.model_copy(update={"code": "2"})) == "imports changed"


def test_a_key_that_was_made_otherwise_says_only_that(tmp_path: Path) -> None:
    """As the last release left it: digests of files."""
    kept = {
        "source": {"tasks/train.py": "0" * 64},
        "workload": "1" * 64,
        "libraries": {},
        "inputs": {"fingerprint": "f"},
    }
    (tmp_path / "train.json").write_text(json.dumps(kept))
    old = recall(tmp_path, "train")
    assert old is not None
    assert difference(old, make_key(ROOTS, "digits", {})) == "keys are made anew"
    (tmp_path / "train.json").write_text(json.dumps({"scheme": "of 2031", "laws": [1, 2]}))
    assert difference(recall(tmp_path, "train"), make_key(ROOTS, "digits", {})) == "keys are made anew"


def test_a_changed_workload_file_changes_the_key_and_its_formatting_does_not(tmp_path: Path) -> None:
    file = tmp_path / "mine.py"
    file.write_text("x = 1")
    old = make_key(ROOTS, str(file), {})
    file.write_text("'''Mine.'''\nx = (1)  # one")
    assert make_key(ROOTS, str(file), {}) == old
    file.write_text("x = 2")
    assert difference(old, make_key(ROOTS, str(file), {})) == "the workload's file changed"


def test_a_changed_helper_of_a_workload_changes_the_key(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text("from layers import wide\nimport torch, tasks.config\n")
    (tmp_path / "layers.py").write_text("def wide():\n    import sizes")
    (tmp_path / "sizes.py").write_text("SIZE = 3")
    (tmp_path / "unused.py").write_text("")
    old = make_key(ROOTS, str(tmp_path / "mine.py"), {})
    (tmp_path / "unused.py").write_text("x = 1")
    assert make_key(ROOTS, str(tmp_path / "mine.py"), {}) == old
    (tmp_path / "sizes.py").write_text("SIZE = 4")
    assert difference(old, make_key(ROOTS, str(tmp_path / "mine.py"), {})) == "sizes.py changed"


def test_an_edited_file_that_a_model_is_made_of_changes_the_key() -> None:
    old, new = (
        make_key(ROOTS, "digits", {}, materials=[Material(name="model.onnx", sha256=digit * 64)])
        for digit in "ab"
    )
    assert difference(old, new) == "model.onnx changed" and old.digest != make_key(ROOTS, "digits", {}).digest


def test_a_run_does_not_go_on_with_other_weights_than_its_keys_are_of(tmp_path: Path) -> None:
    from flows.pipeline.context import RunContext
    from tasks.settings import Settings

    ours, theirs = (Material(name="model.onnx", sha256=digit * 64) for digit in "ab")
    settings = Settings(home=tmp_path, tracking_uri="")
    context = RunContext(workload="mine", model="mine", settings=settings, materials=(ours,))
    record = Checkpoint(
        path=tmp_path,
        sha256="",
        epoch=0,
        step=0,
        score=None,
        stopped="",
        metrics=tmp_path,
        materials=(theirs,),
    )
    context.check_materials(record.model_copy(update={"materials": (ours,)}))
    with pytest.raises(StepError, match=r"^model.onnx was changed while this run went on: run again\.$"):
        context.check_materials(record)


def test_what_a_workload_uses_of_ours_is_in_its_key(tmp_path: Path) -> None:
    (tmp_path / "plain.py").write_text("import torch")
    (tmp_path / "mine.py").write_text("def load():\n    from tasks.monitoring.drift import drift as d")
    plain, mine = (make_key(ROOTS, str(tmp_path / name), {}) for name in ("plain.py", "mine.py"))
    assert "\ndrift." in mine.source and "\ndrift." not in plain.source and mine.code != plain.code


def test_the_class_of_a_result_is_in_the_key_by_where_it_is_imported_from() -> None:
    from flows import steps

    assert steps.train.returns == ("tasks.records.Checkpoint", "tasks.records.Material")
    assert "tasks.measured.Interval" in steps.prove.returns
    old = make_key(ROOTS, "digits", {}, steps.train.returns)
    new = make_key(ROOTS, "digits", {}, ["tasks.records.training.Checkpoint"])
    assert old.digest != new.digest and difference(old, new) == "the class of its result moved"


def test_a_key_is_remembered_and_a_torn_one_forgotten(tmp_path: Path) -> None:
    key = make_key(ROOTS, "digits", {"config": Train()})
    remember(tmp_path, "train", key)
    assert recall(tmp_path, "train") == key and recall(tmp_path, "export") is None
    (tmp_path / "train.json").write_text(key.model_dump_json()[:-9])
    assert recall(tmp_path, "train") is None


def test_nested_values_become_dotted_names() -> None:
    assert flatten({"a": {"b": [1, {"c": None}]}, "d": "x", "e": []}) == {
        "a.b.0": "1",
        "a.b.1.c": "null",
        "d": "x",
        "e": "[]",
    }


@pytest.mark.slow
def test_keys_are_the_same_in_each_process_whatever_the_order_of_its_sets() -> None:
    code = f"from flows.pipeline.definitions import Code; from flows.pipeline.reach import reach; print(reach(Code(), {STEPS!r}).digest)"
    printed = {
        subprocess.run(
            [sys.executable, "-c", code],
            env={**os.environ, "PYTHONHASHSEED": seed},
            check=True,
            capture_output=True,
        ).stdout
        for seed in ("1", "2", "3")
    }
    assert len(printed) == 1


@pytest.mark.slow
def test_how_many_definitions_keys_are_of_can_be_printed(capsys: pytest.CaptureFixture[str]) -> None:
    main()
    printed = capsys.readouterr().out
    assert re.search(r"flows\.steps\.prove +\d{3,4} definitions, \d whole files", printed)
    assert "tasks.workloads.places: a module's name in pieces" in printed


def test_the_evidence_names_every_library_that_a_key_depends_on() -> None:
    from tasks.proof.provenance import library_versions
    from tasks.workloads.origin import libraries_of

    libraries = make_key(ROOTS, "digits", {}).libraries
    here = {name: version for name, version in libraries.items() if version != "absent"}
    assert here and here.items() <= (library_versions() | libraries_of("digits")).items()


def test_what_a_step_goes_on_from_is_named_by_the_code_and_a_forced_run_goes_on_from_nothing(
    tmp_path: Path,
) -> None:
    """The same rows, knobs and first weights: a loss that was edited must not be given what the old one trained."""
    from flows.pipeline.context import RunContext
    from tasks.settings import Settings

    (tmp_path / "mine.py").write_text("loss = lambda outputs, target: (outputs - target).abs().mean()")
    settings = Settings(home=tmp_path, tracking_uri="")
    context = RunContext(workload=str(tmp_path / "mine.py"), model="mine", settings=settings, run_id="1" * 32)
    train, forced = ROOTS[0], context.model_copy(update={"forced": True})
    state = context.state_of(train)
    assert state == context.model_copy(update={"run_id": "2" * 32}).state_of(train)
    assert (
        len({state, forced.state_of(train), forced.model_copy(update={"run_id": "2" * 32}).state_of(train)})
        == 3
    )
    (tmp_path / "mine.py").write_text("loss = lambda outputs, target: (outputs - target).pow(2).mean()")
    assert context.state_of(train) != state


def test_an_engine_that_comes_along_or_is_replaced_is_in_a_runs_key_and_said(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    made = []
    for there in ({}, {"openvino": "2026.4.1"}, {"openvino": "2026.5.0"}):
        monkeypatch.setattr("tasks.onnx.engines.installed", there.get)
        made.append(pipeline_key("digits", "f" * 64, RunConfig()))
    alone, first, second = made
    assert len({key.digest for key in made}) == 3
    assert difference(first, second) == "engines.openvino 2026.4.1 → 2026.5.0"
    left_out = RunConfig(engines=("onnxruntime",))
    assert "openvino" not in str(pipeline_key("digits", "f" * 64, left_out).inputs)
