"""The engine beside ONNX Runtime, in the fastest numbers that the processor of whoever runs the tests has."""

from tasks.engines import Engine
from tasks.onnx.engines import described, tried

OPENVINO = Engine.parse(tried(("openvino",))[0].choice)

HERE = described(OPENVINO, "fp32")
"""As a proof on this machine would name it, of a file in fp32."""

IN = f"in {OPENVINO.numbers}"
