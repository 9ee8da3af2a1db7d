import os
import subprocess
import sys

import pytest
from decided import decided

from tasks.engines import Engine
from tasks.errors import UserError
from tasks.onnx import engines
from tasks.onnx.engines import described, missing, open_in, title, tried, versions


def _processor(monkeypatch: pytest.MonkeyPatch, *words: str) -> None:
    monkeypatch.setattr("tasks.system.processor.instructions", lambda cpuinfo=None: frozenset(words))


def _packages(monkeypatch: pytest.MonkeyPatch, **there: str) -> None:
    monkeypatch.setattr(engines, "installed", there.get)


def test_what_is_installed_is_tried_in_the_fastest_numbers_of_a_faked_processor(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    _packages(monkeypatch, onnxruntime="1.31.1", openvino="2026.4.1", onnx="1.23")
    _processor(monkeypatch, "avx512f", "avx512_bf16", "amx_bf16")
    assert [engine.choice for engine in tried(None)] == ["openvino:bf16"]
    _processor(monkeypatch, "avx2")
    assert [engine.choice for engine in tried(None)] == ["openvino:fp32"]
    _packages(monkeypatch, onnxruntime="1.31.1")
    assert tried(None) == ()


def test_onnx_runtime_needs_not_be_named_and_an_empty_list_leaves_the_others_out() -> None:
    assert tried([]) == tried(["onnxruntime"]) == ()
    assert versions([]) == versions(["onnxruntime"]) == {}


@pytest.mark.parametrize(
    "choice, said",
    [
        ("tensorrt", "There is no engine 'tensorrt': choose among onnxruntime, openvino."),
        ("openvino bf16", "'openvino bf16' is no engine: write NAME, NAME:PRECISION or NAME:PRECISION/ROWS"),
        ("openvino:int8", "engines: OpenVINO has no precision 'int8': choose bf16 or fp32."),
        (
            "onnxruntime:bf16",
            "engines: ONNX Runtime has no precision 'bf16': it computes as the file has it.",
        ),
        ("openvino:fp32/8", "engines: openvino:fp32/8: from how many rows on is measured; leave /8 out."),
    ],
)
def test_a_choice_that_there_is_not_gets_a_sentence(
    choice: str, said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    _packages(monkeypatch, onnxruntime="1.31.1", openvino="2026.4.1", onnx="1.23")
    with pytest.raises(UserError) as error:
        tried([choice])
    assert str(error.value).startswith(said)


def test_an_engine_that_is_not_installed_gets_a_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    _packages(monkeypatch, onnxruntime="1.31.1")
    with pytest.raises(
        UserError, match=r"^engines: OpenVINO is not installed: pip install 'slipway\[openvino\]'\.$"
    ):
        tried(["onnxruntime", "openvino"])
    _packages(monkeypatch, openvino="2026.4.1")
    with pytest.raises(
        UserError, match="^engines: OpenVINO is not installed with the package onnx: pip install"
    ):
        tried(["openvino"])


def test_a_precision_that_a_faked_processor_has_not_gets_a_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    _packages(monkeypatch, openvino="2026.4.1", onnx="1.23")
    _processor(monkeypatch, "avx2", "fma")
    with pytest.raises(
        UserError, match="needs amx_bf16 or avx512_bf16 or bf16, and this processor has none of them"
    ):
        tried(["openvino:bf16"])


def test_evidence_of_another_processor_is_told_from_this_faked_one(monkeypatch: pytest.MonkeyPatch) -> None:
    _packages(monkeypatch, openvino="2026.4.1", onnx="1.23")
    _processor(monkeypatch, "avx512f", "avx512_bf16", "avx512_vnni", "amx_bf16", "amx_int8")
    proved = described(Engine.parse("openvino:bf16/8"), "int8")
    assert proved.precision == "int8+bf16" and proved.instructions == ("amx_int8", "amx_bf16")
    assert title(proved) == "OpenVINO 2026.4.1 in int8+bf16 from 8 rows on"
    assert proved.choice == "openvino:bf16/8" and missing(proved) is None
    _processor(monkeypatch, "avx512f", "avx512_bf16", "avx512_vnni")
    assert (
        missing(proved)
        == "OpenVINO in int8+bf16 rests on amx_int8 and amx_bf16, which this processor has not."
    )
    with pytest.raises(UserError, match="rests on amx_int8"):
        open_in(proved, b"")


def test_onnx_runtime_is_described_by_the_files_own_numbers(monkeypatch: pytest.MonkeyPatch) -> None:
    _processor(monkeypatch, "avx512f", "avx512_vnni")
    assert described(Engine(), "int8").instructions == ("avx512_vnni",)
    assert described(Engine(), "fp32").precision == "fp32"
    assert Engine().is_always_there and Engine().precision is None  # as old evidence reads


@pytest.mark.slow
def test_the_default_opens_onnx_runtimes_own_session_and_imports_nothing_else() -> None:
    assert _loaded("") == "InferenceSession onnxruntime"
    assert _loaded(", precision='fp32'") == "OpenVinoSession onnx onnxruntime openvino"  # the look itself


def _loaded(precision: str) -> str:
    """The session's type and which of the three packages a fresh interpreter has, in which the file came from another."""
    name = "openvino" if precision else "onnxruntime"
    code = f"""import sys
from tasks.engines import Engine
from tasks.onnx.engines import open_in
session = open_in(Engine(name={name!r}{precision}), sys.stdin.buffer.read())
print(type(session).__name__, *sorted({{"onnx", "onnxruntime", "openvino"}} & {{*sys.modules}}))"""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run(
        [sys.executable, "-c", code],
        input=decided(),
        env=environment,
        capture_output=True,
        check=True,
        timeout=120,
    )
    return done.stdout.decode().strip()
