import shutil
from pathlib import Path

import pytest

from flows.pipeline import keys
from flows.pipeline.keys import difference, make_key, recall, remember
from tasks.config import Train, flatten
from tasks.records import Dataset, TensorSpec
from tasks.workloads.dependencies import neighbours


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
    one = make_key(["tasks.training.trainer"], "digits", {"dataset": dataset()})
    other = make_key(["tasks.training.trainer"], "digits", {"dataset": dataset(folder=Path("/there"))})
    assert one.digest == other.digest


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
    old = make_key(["tasks.training.trainer"], "digits", plain)
    assert difference(old, make_key(["tasks.training.trainer"], "digits", plain | inputs)) == reason


def test_a_first_run_and_a_new_library_are_said() -> None:
    key = make_key(["tasks.training.trainer"], "digits", {})
    newer = key.model_copy(update={"libraries": {**key.libraries, "torch": "9.9"}})
    assert difference(None, key) == "first run"
    assert difference(key, newer) == f"torch {key.libraries['torch']} → 9.9"


def test_a_changed_helper_changes_the_keys_of_the_steps_that_use_it_and_of_no_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(
        Path(keys.__file__).parents[2] / "tasks",
        tmp_path / "tasks",
        ignore=shutil.ignore_patterns("__pycache__"),
    )
    monkeypatch.setattr(keys, "_ROOT", tmp_path)
    names = ["tasks.data.dataset", "tasks.training.trainer", "tasks.onnx.export"]

    def all_keys() -> dict[str, keys.Key]:
        keys._source.cache_clear()
        keys._read.cache_clear()
        return {name: make_key([name], "digits", {}) for name in names}

    before = all_keys()
    for file, affected in {
        "training/optimizer.py": ["tasks.training.trainer"],
        "data/fingerprint.py": names,
        "reporting/report.py": [],
    }.items():
        (tmp_path / "tasks" / file).write_text((tmp_path / "tasks" / file).read_text() + "\n# changed\n")
        after = all_keys()
        assert [name for name in names if after[name] != before[name]] == affected
        for name in affected:
            assert difference(before[name], after[name]) == f"tasks/{file} changed"
        before = after
    keys._source.cache_clear()
    keys._read.cache_clear()


def test_a_changed_workload_file_changes_the_key(tmp_path: Path) -> None:
    file = tmp_path / "mine.py"
    file.write_text("x = 1")
    old = make_key(["tasks.training.trainer"], str(file), {})
    file.write_text("x = 2")
    assert (
        difference(old, make_key(["tasks.training.trainer"], str(file), {})) == "the workload's file changed"
    )


def test_a_changed_neighbour_of_a_workload_file_changes_the_key(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text("from layers import wide\nimport torch, tasks.config\n")
    (tmp_path / "layers.py").write_text("def wide():\n    import sizes")
    (tmp_path / "sizes.py").write_text("SIZE = 3")
    (tmp_path / "unused.py").write_text("")
    old = make_key(["tasks.training.trainer"], str(tmp_path / "mine.py"), {})
    (tmp_path / "unused.py").write_text("x = 1")
    assert make_key(["tasks.training.trainer"], str(tmp_path / "mine.py"), {}) == old
    (tmp_path / "sizes.py").write_text("SIZE = 4")
    assert (
        difference(old, make_key(["tasks.training.trainer"], str(tmp_path / "mine.py"), {}))
        == "sizes.py changed"
    )


@pytest.mark.parametrize(
    "line", ["from ours.layers import wide", "from .layers import wide", "from . import layers"]
)
def test_a_changed_module_of_a_workloads_package_changes_the_key(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, line: str
) -> None:
    name = f"ours{abs(hash(line))}"
    (tmp_path / name / "models").mkdir(parents=True)
    for folder in (tmp_path / name, tmp_path / name / "models"):
        (folder / "__init__.py").write_text("")
    (tmp_path / name / "models" / "mine.py").write_text(
        line.replace("ours.", f"{name}.models.") + "\nimport numpy"
    )
    (tmp_path / name / "models" / "layers.py").write_text("from ..sizes import SIZE")
    (tmp_path / name / "sizes.py").write_text("SIZE = 3")
    (tmp_path / "numpy.py").write_text("")
    monkeypatch.syspath_prepend(str(tmp_path))
    old = make_key(["tasks.training.trainer"], f"{name}.models.mine", {})
    assert f"{name}/models/layers.py" in old.source and "numpy.py" not in old.source
    (tmp_path / name / "sizes.py").write_text("SIZE = 4")
    new = make_key(["tasks.training.trainer"], f"{name}.models.mine", {})
    assert difference(old, new) == f"{name}/sizes.py changed"


def test_what_a_workload_of_ours_has_beside_it_counts_however_it_is_named() -> None:
    path = str(Path(keys.__file__).parents[2] / "tasks" / "workloads" / "examples" / "cells.py")
    for reference in ("cells", path):
        assert "tasks/workloads/examples/_genes.py" in neighbours(reference)


def test_a_key_is_remembered_and_a_torn_one_forgotten(tmp_path: Path) -> None:
    key = make_key(["tasks.training.trainer"], "digits", {"config": Train()})
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


def test_a_whole_runs_key_covers_every_module_that_a_step_uses() -> None:
    from flows import steps
    from flows.pipeline.binding import CachedTask
    from flows.pipeline.reuse import pipeline_key
    from tasks.config import RunConfig

    covered = set(pipeline_key("digits", "f" * 64, RunConfig()).source)
    bound = [one for one in vars(steps).values() if isinstance(one, CachedTask)]
    assert len(bound) >= 6
    for step in bound:
        assert set(make_key(step.modules, "digits", {}).source) <= covered, step.name


def test_the_evidence_names_every_library_that_a_key_depends_on() -> None:
    from tasks.proof.provenance import library_versions

    libraries = make_key(["tasks.training.trainer"], "digits", {}).libraries
    here = {name: found for name, found in libraries.items() if found != "absent"}
    assert here and here.items() <= library_versions().items()
