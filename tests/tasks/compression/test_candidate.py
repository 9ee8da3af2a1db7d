"""Compression on real small models: the digits CNN and a transformer whose padding is masked with −inf."""

import errno
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
import pytest
from checkout import SUPPORT
from pydantic import ValidationError

from tasks.compression.candidate import compress
from tasks.compression.catalogue import check_recipes
from tasks.compression.graph import metadata_of
from tasks.config import Gates, RunConfig, Train
from tasks.data.dataset import prepare, read_split
from tasks.errors import StepError, UserError
from tasks.measured import Report
from tasks.onnx.description import describe
from tasks.onnx.export import export
from tasks.onnx.session import open_session, run_rows
from tasks.proof.selection import select
from tasks.proof.validation import validate
from tasks.recipes import Recipe
from tasks.records import Candidate, Checkpoint, Dataset
from tasks.training.trainer import train
from tasks.workloads.catalogue import load_workload
from tasks.workloads.scoring import score
from tasks.workloads.workload import DEFAULT_RECIPES, Workload

SEQUENCES = f"{SUPPORT / 'compress_models.py'}:transformer"
BARE = SEQUENCES.replace(":transformer", ":bare")
METADATA = {"workload": "w", "run": "r", "data_fingerprint": "f"}


@pytest.fixture(autouse=True)
def quick_measurements(monkeypatch: pytest.MonkeyPatch) -> None:
    """A file that is seven times slower shows it in a moment."""
    monkeypatch.setattr("tasks.proof.validation.MEASURE_SECONDS", 0.05)


@dataclass
class Trained:
    reference: str
    workload: Workload
    dataset: Dataset
    checkpoint: Checkpoint
    fp32: Candidate
    train: Train
    folder: Path

    def compress(
        self, *steps: dict[str, object], name: str = "tried", gates: Gates | None = None
    ) -> Candidate:
        recipe = Recipe.model_validate({"name": name, "steps": steps})
        return compress(
            self.reference,
            self.dataset,
            self.checkpoint,
            self.fp32,
            recipe,
            self.folder / "compress",
            self.train,
            gates or self.workload.gates,
        )

    def validate(self, candidate: Candidate) -> Report:
        return validate(self.reference, self.dataset, candidate, self.fp32, self.folder)

    def score(self, candidate: Candidate) -> float:
        assert candidate.onnx is not None, candidate.refused
        rows = read_split(self.dataset, "validation")
        return score(self.workload, rows.target, run_rows(open_session(candidate.onnx.path), rows.inputs))


def trained(reference: str, folder: Path, epochs: int) -> Trained:
    workload = load_workload(reference)
    knobs = workload.train.model_copy(update={"epochs": epochs, "threads": 1})
    dataset = prepare(reference, workload.data, folder / "data")
    checkpoint = train(reference, dataset, knobs, folder / "train")
    fp32 = export(reference, dataset, checkpoint, folder / "fp32.onnx", metadata=METADATA)
    return Trained(reference, workload, dataset, checkpoint, fp32, knobs, folder)


@pytest.fixture(scope="module")
def cnn(tmp_path_factory: pytest.TempPathFactory) -> Trained:
    return trained("digits", tmp_path_factory.mktemp("digits"), epochs=6)


@pytest.fixture(scope="module")
def transformer(tmp_path_factory: pytest.TempPathFactory) -> Trained:
    return trained(SEQUENCES, tmp_path_factory.mktemp("masked"), epochs=4)


STATIC = {"kind": "quantize", "mode": "static"}
DYNAMIC = {"kind": "quantize", "mode": "dynamic"}


@pytest.mark.parametrize(
    ("step", "said"),
    [
        (
            {"kind": "quantise"},
            "unknown compression method 'quantise': choose one of distill, float16, prune, quantize",
        ),
        ({"mode": "static"}, "unknown compression method None"),
        (
            {"kind": "prune", "ratio": 0.5, "speed": 1},
            "prune has no knob 'speed': its knobs are epochs, lr, method",
        ),
        ({"kind": "float16", "x": 1}, "float16 has no knob 'x': its knobs are none"),
        ({"kind": "prune", "ratio": 0}, "ratio"),
        ({"kind": "prune", "ratio": 1}, "ratio"),
        ({"kind": "prune", "ratio": 1.5}, "ratio"),
        ({"kind": "prune"}, "ratio"),
        ({"kind": "quantize"}, "mode"),
        ({"kind": "quantize", "mode": "dynamic", "rows": 10}, "rows need mode: static"),
        (
            {"kind": "quantize", "mode": "static", "percentile": 99},
            "percentile needs calibration: percentile",
        ),
        ({"kind": "quantize", "mode": "static", "rows": 0}, "rows"),
        ({"kind": "distill"}, "student"),
    ],
)
def test_a_recipe_that_cannot_be_meant_is_refused_when_it_is_read(step: dict[str, object], said: str) -> None:
    with pytest.raises(ValidationError, match=said.replace("(", r"\(")):
        Recipe.model_validate({"name": "x", "steps": [step]})


def test_a_step_on_the_module_cannot_follow_one_on_the_file() -> None:
    with pytest.raises(ValidationError, match="prune acts on the torch module: put it before quantize"):
        Recipe.model_validate({"name": "x", "steps": [DYNAMIC, {"kind": "prune", "ratio": 0.5}]})


def test_a_recipe_comes_back_from_json_as_it_went() -> None:
    config = RunConfig(recipes=DEFAULT_RECIPES)
    assert RunConfig.model_validate_json(config.model_dump_json()) == config


def test_reading_recipes_loads_neither_torch_nor_onnxruntime() -> None:
    import subprocess

    code = "import sys, tasks.workloads; print({'torch', 'onnx', 'onnxruntime', 'numpy'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


def test_recipes_that_do_not_fit_the_workload_or_its_rows_are_named_before_training() -> None:
    digits, sequences = load_workload("digits"), load_workload(SEQUENCES)
    distill = Recipe.model_validate({"name": "d", "steps": [{"kind": "distill", "student": "tiny"}]})
    with pytest.raises(UserError, match="Recipe d, distill: workload digits names no student"):
        check_recipes([distill], digits)
    with pytest.raises(UserError, match="has no student 'tiny': choose one of small"):
        check_recipes([distill], sequences)
    many = Recipe.model_validate({"name": "q", "steps": [{**STATIC, "rows": 5000}]})
    check_recipes([many], digits)
    with pytest.raises(UserError, match="rows=5000 for calibration, but there are 1100 training rows"):
        check_recipes([many], digits, rows=1100)
    check_recipes(DEFAULT_RECIPES, digits, rows=3)


@pytest.mark.slow
def test_static_quantisation_of_the_cnn_is_small_right_and_still_says_where_it_came_from(
    cnn: Trained,
) -> None:
    made = cnn.compress(STATIC, name="int8")
    assert made.onnx is not None and cnn.fp32.onnx is not None, made.refused
    assert made.onnx.size_bytes < 0.3 * cnn.fp32.onnx.size_bytes
    assert cnn.score(made) >= cnn.score(cnn.fp32) - 0.01
    assert metadata_of(made.onnx.path) == {**METADATA, "recipe": "int8"}
    assert made.onnx.inputs == cnn.fp32.onnx.inputs
    assert made.onnx.reference is not None and made.onnx.reference.exists()
    ops = {node.op_type for node in onnx.load(made.onnx.path).graph.node}
    assert "QuantizeLinear" in ops and "Cast" not in ops


@pytest.mark.slow
def test_the_same_recipe_gives_the_same_bytes(cnn: Trained) -> None:
    first, second = cnn.compress(STATIC), cnn.compress(STATIC)
    assert first == second and first.onnx is not None


@pytest.mark.slow
@pytest.mark.parametrize("calibration", ["entropy", "percentile"])
def test_other_calibrations_work_and_keep_off_the_screen(
    cnn: Trained, calibration: str, capfd: pytest.CaptureFixture[str]
) -> None:
    made = cnn.compress({**STATIC, "calibration": calibration, "rows": 64})
    assert cnn.score(made) >= cnn.score(cnn.fp32) - 0.02
    assert capfd.readouterr() == ("", "")


@pytest.mark.slow
def test_calibration_sees_training_rows_only(cnn: Trained, tmp_path: Path) -> None:
    import shutil

    folder = tmp_path / "data"
    shutil.copytree(cnn.dataset.folder, folder)
    for split in ("validation", "test"):
        path = folder / split / "image.npy"
        np.save(path, np.load(path) * 1000)
    spoilt = Trained(
        cnn.reference,
        cnn.workload,
        cnn.dataset.model_copy(update={"folder": folder}),
        cnn.checkpoint,
        cnn.fp32,
        cnn.train,
        tmp_path,
    )
    step = {**STATIC, "repair_seconds": 0}
    first, second = cnn.compress(step), spoilt.compress(step)
    assert first.onnx is not None and second.onnx is not None
    assert first.onnx.sha256 == second.onnx.sha256


@pytest.mark.slow
def test_dynamic_int8_of_a_cnn_is_refused_for_its_latency(cnn: Trained) -> None:
    made = cnn.compress({**DYNAMIC, "op_types": "all"}, name="dynamic")
    chosen = select([cnn.validate(cnn.fp32), cnn.validate(made)], [made], Gates())
    (result,) = (c for c in chosen.candidates if c.name == "dynamic")
    assert (chosen.picked, result.status) == ("fp32", "refused")
    assert any("fp32's time at batch" in reason for reason in result.reasons)


@pytest.mark.slow
def test_dynamic_int8_leaves_convolutions_in_float_and_says_so(cnn: Trained) -> None:
    made = cnn.compress(DYNAMIC)
    assert made.onnx is not None
    assert any("(Conv)" in note and "in float" in note for note in made.notes)
    assert "ConvInteger" not in {node.op_type for node in onnx.load(made.onnx.path).graph.node}


@pytest.mark.slow
def test_static_int8_over_all_ops_of_a_masked_transformer_is_refused_for_its_score(
    transformer: Trained,
) -> None:
    made = transformer.compress({**STATIC, "op_types": "all", "repair_seconds": 0}, name="all")
    chosen = select([transformer.validate(transformer.fp32), transformer.validate(made)], [made], Gates())
    (result,) = (c for c in chosen.candidates if c.name == "all")
    assert (chosen.picked, result.status) == ("fp32", "refused")
    assert any("below fp32's" in reason for reason in result.reasons)


@pytest.mark.slow
def test_accuracy_control_repairs_it_and_names_the_nodes_in_float(transformer: Trained) -> None:
    made = transformer.compress({**STATIC, "op_types": "all"}, gates=Gates(max_score_drop=0.02))
    assert transformer.score(made) >= transformer.score(transformer.fp32) - 0.02
    (note,) = (note for note in made.notes if note.startswith("kept in float"))
    assert "the score dropped" in note


@pytest.mark.slow
def test_the_op_types_chosen_for_a_transformer_need_no_repair_and_lengths_stay_dynamic(
    transformer: Trained,
) -> None:
    for step in (STATIC, DYNAMIC):
        made = transformer.compress(step)
        assert transformer.score(made) >= transformer.score(transformer.fp32) - 0.02
        assert not any("kept in float" in note for note in made.notes)
        assert made.onnx is not None
        session = open_session(made.onnx.path)
        for rows, length in ((1, 16), (3, 5), (8, 1)):
            (answer,) = session.run(None, {"words": np.ones((rows, length), "int64")})
            assert answer.shape == (rows, 4)


@pytest.mark.slow
def test_between_the_layers_of_a_transformer_nothing_is_rounded_to_8_bits(transformer: Trained) -> None:
    made = transformer.compress({**STATIC, "repair_seconds": 0})
    assert made.onnx is not None
    graph = onnx.load(made.onnx.path).graph
    gave = {name: node.op_type for node in graph.node for name in node.output}
    rounded = [gave.get(node.input[0]) for node in graph.node if node.op_type == "QuantizeLinear"]
    assert rounded and not {"MatMul", "Gemm"} & {*rounded}


@pytest.mark.slow
def test_every_candidate_is_held_to_torch_at_other_lengths_and_measured_beside_other_rows(
    transformer: Trained,
) -> None:
    pruned = {"kind": "prune", "ratio": 0.5, "method": "unstructured", "epochs": 1}
    made = [transformer.compress(DYNAMIC, name="int8"), transformer.compress(pruned, name="sparse")]
    for candidate in (transformer.fp32, *made):
        report = transformer.validate(candidate)
        lengths = {part.sizes: part for part in report.parity if part.sizes}
        assert set(lengths) == {"length=1", "length=7", "length=12"}, candidate.refused
        assert all(part.batch == 64 for part in lengths.values()) and report.problems == ()
        assert report.company is not None and report.company.rows == 200
        assert (report.company.max_abs > 1e-3) == (candidate.name == "int8")


@pytest.mark.slow
def test_a_file_that_is_right_at_one_length_alone_is_a_problem(transformer: Trained, tmp_path: Path) -> None:
    """Any file of whatever candidate: this one divides by the length that it was traced at."""
    fp32 = transformer.fp32.onnx
    assert fp32 is not None
    proto = onnx.load(fp32.path)
    last, length = proto.graph.output[0].name, 16
    for node in proto.graph.node:
        node.output[:] = ["undivided" if name == last else name for name in node.output]
    proto.graph.initializer.extend(
        [
            onnx.numpy_helper.from_array(np.array([1]), "second"),
            onnx.numpy_helper.from_array(np.array(1 / length, "float32"), "share"),
        ]
    )
    nodes = [
        onnx.helper.make_node("Shape", ["words"], ["shape"]),
        onnx.helper.make_node("Gather", ["shape", "second"], ["length_now"]),
        onnx.helper.make_node("Cast", ["length_now"], ["long"], to=onnx.TensorProto.FLOAT),
        onnx.helper.make_node("Mul", ["long", "share"], ["factor"]),
        onnx.helper.make_node("Mul", ["undivided", "factor"], [last]),
    ]
    proto.graph.node.extend(nodes)
    del proto.graph.value_info[:]
    path = tmp_path / "baked.onnx"
    onnx.save(proto, path)
    recipe = Recipe.model_validate({"name": "baked", "steps": [DYNAMIC]})
    onnx_model = describe(path, "hand", transformer.dataset.inputs, fp32.reference)
    onnx_model = onnx_model.model_copy(update={"lengths": fp32.lengths})
    problems = transformer.validate(Candidate(name="baked", recipe=recipe, onnx=onnx_model)).problems
    assert problems and all("at batch 64, length=" in problem for problem in problems)


@pytest.mark.slow
def test_nodes_can_be_kept_in_float_by_name(cnn: Trained) -> None:
    assert cnn.fp32.onnx is not None
    graph = onnx.load(cnn.fp32.onnx.path).graph
    weights = {tensor.name: len(tensor.raw_data) for tensor in graph.initializer}
    convolutions = {n.name: weights[n.input[1]] for n in graph.node if n.op_type == "Conv"}
    name = max(convolutions, key=lambda name: convolutions[name])
    plain, kept = cnn.compress(STATIC), cnn.compress({**STATIC, "keep_float": [name]}, name="kept")
    assert plain.onnx is not None and kept.onnx is not None
    assert kept.onnx.size_bytes > plain.onnx.size_bytes
    assert (
        cnn.compress({**STATIC, "keep_float": ["conv_99"]}).refused
        == "keep_float names no node conv_99 in the graph"
    )


@pytest.mark.slow
def test_float16_halves_the_file_and_keeps_the_inputs(cnn: Trained) -> None:
    made = cnn.compress({"kind": "float16"})
    assert made.onnx is not None and cnn.fp32.onnx is not None, made.refused
    assert made.onnx.size_bytes < 0.55 * cnn.fp32.onnx.size_bytes
    assert cnn.score(made) >= cnn.score(cnn.fp32) - 0.01


@pytest.mark.slow
def test_structured_pruning_then_int8_is_a_fraction_of_the_size(cnn: Trained) -> None:
    prune = {"kind": "prune", "ratio": 0.5, "epochs": 6}
    pruned, both = cnn.compress(prune, name="pruned"), cnn.compress(prune, STATIC, name="both")
    assert pruned.onnx is not None and both.onnx is not None and cnn.fp32.onnx is not None, pruned.refused
    assert pruned.onnx.size_bytes < 0.32 * cnn.fp32.onnx.size_bytes
    assert both.onnx.size_bytes < 0.11 * cnn.fp32.onnx.size_bytes
    assert cnn.score(both) > cnn.score(cnn.fp32) - 0.06
    assert any("parameters left" in note for note in both.notes)


@pytest.mark.slow
def test_gradual_pruning_trains_after_each_round(cnn: Trained) -> None:
    made = cnn.compress({"kind": "prune", "ratio": 0.6, "rounds": 2, "epochs": 1, "teacher": False})
    assert made.onnx is not None, made.refused
    sizes = {tuple(t.dims) for t in onnx.load(made.onnx.path).graph.initializer}
    assert (12, 1, 3, 3) in sizes or (13, 1, 3, 3) in sizes


@pytest.mark.slow
def test_unstructured_pruning_shrinks_the_transfer_only(cnn: Trained) -> None:
    made = cnn.compress({"kind": "prune", "method": "unstructured", "ratio": 0.7, "epochs": 1})
    report, fp32 = cnn.validate(made), cnn.validate(cnn.fp32)
    assert report.size_bytes > 0.95 * fp32.size_bytes
    assert report.gzipped_bytes is not None and fp32.gzipped_bytes is not None
    assert report.gzipped_bytes < 0.6 * fp32.gzipped_bytes
    assert any("only a compressed transfer is smaller" in note for note in made.notes)


@pytest.mark.slow
def test_a_student_learns_from_the_teacher(transformer: Trained) -> None:
    made = transformer.compress({"kind": "distill", "student": "small", "epochs": 4})
    assert made.onnx is not None and transformer.fp32.onnx is not None, made.refused
    assert made.onnx.size_bytes < transformer.fp32.onnx.size_bytes
    assert transformer.score(made) > 0.5
    assert made.notes[0].startswith("student small: ")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("step", "said"),
    [
        (STATIC, "nothing to quantise"),
        (DYNAMIC, "nothing to quantise"),
        ({"kind": "prune", "ratio": 0.5}, "nothing to prune"),
        ({"kind": "prune", "ratio": 0.5, "method": "unstructured"}, "nothing to prune"),
    ],
)
def test_a_model_with_nothing_to_do_is_refused_and_not_copied(
    bare: Trained, step: dict[str, object], said: str
) -> None:
    made = bare.compress(step)
    assert made.onnx is None and made.refused is not None
    assert made.refused.startswith(said)


@pytest.fixture(scope="module")
def bare(tmp_path_factory: pytest.TempPathFactory) -> Trained:
    return trained(BARE, tmp_path_factory.mktemp("bare"), epochs=1)


@pytest.mark.slow
def test_a_recipe_that_breaks_is_refused_with_the_first_line_and_never_raises(cnn: Trained) -> None:
    torn = cnn.checkpoint.model_copy(update={"sha256": "0" * 64})
    broken = Trained(cnn.reference, cnn.workload, cnn.dataset, torn, cnn.fp32, cnn.train, cnn.folder)
    made = broken.compress({"kind": "prune", "ratio": 0.5})
    assert made.onnx is None and made.refused is not None
    assert made.refused.startswith("StepError: Checkpoint") and "\n" not in made.refused


@pytest.mark.slow
def test_a_full_disk_is_no_refusal_that_is_kept_and_found_again_when_there_is_room(
    cnn: Trained, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        try:
            raise OSError(errno.ENOSPC, "No space left on device")
        except OSError as error:
            raise StepError("No space for a checkpoint.") from error

    monkeypatch.setattr("tasks.compression.candidate.describe", full)
    with pytest.raises(StepError, match="No space"):
        cnn.compress(STATIC)


@pytest.mark.slow
def test_nothing_but_the_candidates_files_and_training_is_left_behind(cnn: Trained, tmp_path: Path) -> None:
    here = Trained(cnn.reference, cnn.workload, cnn.dataset, cnn.checkpoint, cnn.fp32, cnn.train, tmp_path)
    here.compress(STATIC, name="a")
    assert sorted(p.name for p in (tmp_path / "compress").iterdir()) == ["a.onnx", "a.reference.npz"]
