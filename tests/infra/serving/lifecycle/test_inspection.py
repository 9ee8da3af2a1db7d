"""Model folders made to do harm: refused before they are parsed, or in the child process at the latest."""

import asyncio
import datetime
import os
import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import onnx
import pytest
import serving_models as models
from hostile_models import ort_format
from onnx import TensorProto, helper
from serving_inspector import Inspector
from serving_process import ServerProcess, publish, wait_for

from infra.serving.lifecycle import inspection
from infra.serving.lifecycle import inspector as inspector_module
from infra.serving.lifecycle.cache import Cache, digest_of
from infra.serving.lifecycle.inspection import InspectionRequest, InspectionResult
from tasks.errors import LostError
from tasks.proof.permit import Permit, issue
from tasks.system import signing
from tasks.system.files import sha256_of

ROW = np.linspace(-1, 1, 64).round(3).tolist()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return models.save(tmp_path / "model", models.mlp(), {"x": [ROW]})


def request(folder: Path, **options: object) -> InspectionRequest:
    return InspectionRequest(folder=folder, model="digits", **options)  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def inspector() -> Iterator[Inspector]:
    running = Inspector()
    yield running
    running.close()


def external(folder: Path, location: str) -> None:
    proto = onnx.load(folder / "model.onnx")
    tensor = proto.graph.initializer[0]
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value=location)
    (folder / "model.onnx").write_bytes(proto.SerializeToString())


def external_in_function(folder: Path) -> None:
    proto = onnx.load(folder / "model.onnx")
    tensor = TensorProto(name="t", data_type=TensorProto.FLOAT, dims=[10], data_location=TensorProto.EXTERNAL)
    tensor.external_data.add(key="location", value="../../secret")
    node = helper.make_node("Constant", [], ["c"], value=tensor)
    opset = [helper.make_opsetid("", 17)]
    proto.functions.append(helper.make_function("own", "F", [], ["c"], [node], opset))
    proto.opset_import.append(helper.make_opsetid("own", 1))
    proto.graph.node.append(helper.make_node("F", [], ["more"], domain="own"))
    proto.graph.node.append(helper.make_node("Add", ["logits", "more"], ["sum"]))
    proto.graph.output[0].name = "sum"
    (folder / "model.onnx").write_bytes(proto.SerializeToString())


def huge_length(folder: Path) -> None:
    """A field that claims two gigabytes and has none."""
    (folder / "model.onnx").write_bytes(b"\x3a\xff\xff\xff\xff\x07")


def linked(folder: Path) -> None:
    (folder / "model.onnx").rename(folder.parent / "elsewhere.onnx")
    (folder / "model.onnx").symlink_to(folder.parent / "elsewhere.onnx")


def linked_folder(folder: Path) -> None:
    (folder / "more").symlink_to("/etc")


def pipe(folder: Path) -> None:
    (folder / "model.onnx").unlink()
    os.mkfifo(folder / "model.onnx")


def bomb(folder: Path) -> None:
    """YAML whose aliases unfold to a billion strings."""
    levels = "\n".join(f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 9))
    (folder / "MLmodel").write_text(f"a0: &a0 [x]\n{levels}\nsignature: *a8\n")


def tag(folder: Path) -> None:
    (folder / "MLmodel").write_text("!!python/object/apply:os.system ['touch /tmp/slipway-was-here']\n")


def own_format(folder: Path) -> None:
    """What ONNX Runtime saves: it would load that, too, past every check of ONNX."""
    (folder / "model.onnx").write_bytes(ort_format((folder / "model.onnx").read_bytes(), folder))


def sparse(folder: Path) -> None:
    """Two gigabytes that take no room on the disk."""
    os.truncate(folder / "model.onnx", 2 * 1024**3)


def five_gigabytes(folder: Path) -> None:
    """A model of a few hundred bytes that computes a sum of as many zeros."""
    sizes = {"sizes": np.array([1_300_000_000])}
    nodes = [
        helper.make_node("ConstantOfShape", ["sizes"], ["zeros"]),
        helper.make_node("ReduceSum", ["zeros"], ["sum"], keepdims=0),
        helper.make_node("Add", ["x", "sum"], ["logits"]),
    ]
    inputs, outputs = [models.floats("x", "n", 64)], [models.floats("logits", "n", 64)]
    models.save(folder.with_name("large"), models.graph(nodes, inputs, outputs, sizes), {"x": [ROW]})
    shutil.copytree(folder.with_name("large"), folder, dirs_exist_ok=True)


HARM: dict[str, tuple[Callable[[Path], object], str]] = {
    "external data": (lambda folder: external(folder, "weights.bin"), "another file"),
    "path traversal": (lambda folder: external(folder, "../../../etc/passwd"), "another file"),
    "absolute path": (lambda folder: external(folder, "/etc/passwd"), "another file"),
    "external data in a function": (external_in_function, "another file"),
    "link": (linked, "link"),
    "linked folder": (linked_folder, "link"),
    "pipe": (pipe, "special"),
    "truncated": (lambda folder: os.truncate(folder / "model.onnx", 1000), "not an ONNX"),
    "huge length": (huge_length, "not an ONNX"),
    "empty": (lambda folder: os.truncate(folder / "model.onnx", 0), ""),
    "another type": (lambda folder: shutil.copy(sys.executable, folder / "model.onnx"), "not an ONNX"),
    "text": (lambda folder: (folder / "model.onnx").write_text("<html>"), "not an ONNX"),
    "yaml bomb": (bomb, "signature"),
    "yaml code": (tag, "signature"),
    "another format": (own_format, "not an ONNX"),
    "two gigabytes": (sparse, "no ONNX file"),
    "memory for a sum": (five_gigabytes, "ConstantOfShape"),
    "example that is not JSON": (
        lambda folder: (folder / "serving_input_example.json").write_text("{"),
        "example",
    ),
}


@pytest.mark.parametrize("harm", HARM)
def test_a_hostile_folder_is_refused(inspector: Inspector, folder: Path, harm: str) -> None:
    change, says = HARM[harm]
    change(folder)
    result = inspector.ask(request(folder))
    assert result.refused is not None and says in result.refused, result
    assert not Path("/tmp/slipway-was-here").exists()


def test_a_machine_without_memory_says_nothing_of_the_model(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def check_model(folder: Path, digest: str) -> None:
        raise LostError("There is no memory to load it.")

    monkeypatch.setattr(inspector_module, "check_model", check_model)
    monkeypatch.setattr(inspector_module, "bound_memory", lambda size: None)
    result = inspector_module.inspect_version(request(folder))
    assert result == InspectionResult(refused="There is no memory to load it", passing=True)


@pytest.mark.slow
def test_a_sound_folder_is_not_and_a_hostile_one_is_by_the_inspecting_process_too(folder: Path) -> None:
    result = asyncio.run(inspection.inspect(request(folder)))
    assert result == InspectionResult(digest=sha256_of(folder / "model.onnx"))
    bomb(folder)
    result = asyncio.run(inspection.inspect(request(folder)))
    assert result.refused is not None and "signature" in result.refused


def test_a_process_that_dies_inspecting_says_nothing_of_the_model(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "executable", shutil.which("false"))
    result = asyncio.run(inspection.inspect(request(folder)))
    assert result.refused is not None and "died" in result.refused and result.passing
    monkeypatch.setattr(sys, "executable", "/no/python")
    result = asyncio.run(inspection.inspect(request(folder)))
    assert result.refused is not None and "cannot be started" in result.refused and result.passing


@pytest.mark.slow
def test_permits_are_read_by_the_process_that_inspects_and_alone_where_the_folder_is_known(
    inspector: Inspector, folder: Path, home: Path
) -> None:
    models.seal(folder)
    signed = issue(permitted(), signing.private_key())
    texts = (signed, "no envelope", signed.replace("sig", "gis"))
    for asked in (folder, None):
        result = inspector.ask(
            InspectionRequest(folder=asked, model="digits", key=signing.public_key(), permits=texts)
        )
        assert result.refused is None and (result.digest is None) == (asked is None)
        assert result.permits[0] == permitted()
        assert [str(said)[:10] for said in result.permits[1:]] == ["the permit"] * 2


def permitted() -> Permit:
    return Permit(
        model="digits", version=1, run_id="f" * 32, model_sha256="ab" * 32, evidence_sha256="", policy_sha256="",
        granted=True, basis="gate", serial=1, at=datetime.datetime(2026, 11, 26, tzinfo=datetime.UTC), by="ada", why="",
    )  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda folder: (folder / "evidence.json").unlink(), "evidence.json is missing"),
        (
            lambda folder: (folder / "model.onnx").write_bytes(models.mlp(seed=9).SerializeToString()),
            "model.onnx was altered",
        ),
        (lambda folder: (folder / "MLmodel").write_text("x"), "MLmodel was altered"),
        (lambda folder: (folder / "extra").write_text("x"), "extra was added"),
        (lambda folder: (folder / "evidence.sig").write_text("{}"), "evidence.sig"),
        (lambda folder: models.seal(folder, "other"), "'other'"),
    ],
    ids=["unproved", "model swapped", "metadata changed", "file added", "signature torn", "another model's"],
)
def test_evidence_that_does_not_hold_is_refused_before_parsing(
    inspector: Inspector, folder: Path, home: Path, change: Callable[[Path], object], says: str
) -> None:
    models.seal(folder)
    key = signing.public_key()
    assert inspector.ask(request(folder, key=key)).decided == "pass"
    change(folder)
    result = inspector.ask(request(folder, key=key))
    assert result.refused is not None and result.refused.startswith("evidence: ") and says in result.refused


@pytest.mark.slow
def test_the_cache_names_folders_by_content_and_never_follows_a_link(folder: Path, tmp_path: Path) -> None:
    cache = Cache(tmp_path / "cache")
    before = digest_of(folder)
    (folder / "registered_model_meta").write_text("x")
    assert digest_of(folder) == before
    linked_folder(folder)
    assert digest_of(folder) != before
    incoming = cache.incoming()
    shutil.copytree(folder, incoming / "m", symlinks=True)
    kept = cache.keep(incoming / "m")
    assert kept.name == digest_of(kept) and kept.parent == tmp_path / "cache"
    assert (tmp_path / "cache").stat().st_mode & 0o777 == 0o700


@pytest.mark.slow
def test_only_signed_versions_serve_and_a_tampered_one_changes_nothing(
    folder: Path, home: Path, mlflow_server: str, tmp_path: Path
) -> None:
    models.seal(folder)
    name = "signed"
    other = models.save(tmp_path / "other", models.mlp(seed=2), {"x": [ROW]})
    for each in (folder, other):
        (each / "evidence.sig").unlink(missing_ok=True)
        models.seal(each, name)
    first = publish(mlflow_server, name, folder, ["champion"])
    with ServerProcess(f"{name}@champion", home=home, tracking_uri=mlflow_server, poll=0.1) as server:
        about = server.get("/health").json["models"][name]
        assert (about["version"], about["evidence"], about["decided"]) == (first, "verified", "pass")
        tampered = tmp_path / "tampered"
        shutil.copytree(other, tampered)
        (tampered / "model.onnx").write_bytes(models.mlp(seed=3).SerializeToString())
        bad = publish(mlflow_server, name, tampered, ["champion"])
        refused = wait_for(lambda: server.get("/health").json["models"][name]["refused"])
        assert refused["version"] == bad and "model.onnx was altered" in refused["reason"]
        assert server.post("/invocations", {"inputs": [ROW]}).version == first
        good = publish(mlflow_server, name, other, ["champion"])
        wait_for(lambda: server.post("/invocations", {"inputs": [ROW]}).version == good)


def test_an_answer_is_as_long_as_the_permits_that_it_is_about(home: Path) -> None:
    signing.private_key()
    permits = ("no permit",) * 5000
    asked = InspectionRequest(folder=None, model="digits", key=signing.public_key(), permits=permits)
    result = asyncio.run(inspection.inspect(asked))
    assert result.refused is None and len(result.permits) == len(permits)
