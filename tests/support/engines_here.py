"""The engine beside ONNX Runtime, in the fastest numbers that the processor of whoever runs the tests has."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tasks.engines import Engine
from tasks.onnx.engines import described, tried
from tasks.onnx.openvino_session import OpenVinoSession

OPENVINO = Engine.parse(tried(("openvino",))[0].choice)

HERE = described(OPENVINO, "fp32")
"""As a proof on this machine would name it, of a file in fp32."""

CRASHING = Path(__file__).parent / "crashing_engine"
"""On PYTHONPATH, a fake of OpenVINO that ends the process which has it take a graph."""

IN = f"in {OPENVINO.numbers}"


@contextmanager
def asked() -> Iterator[list[Any]]:
    """What has an element for each batch that OpenVINO itself, and not ONNX Runtime beside it, is asked meanwhile."""
    batches: list[Any] = []
    real = OpenVinoSession._request
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(OpenVinoSession, "_request", lambda self: batches.append(self) or real(self))
        yield batches
