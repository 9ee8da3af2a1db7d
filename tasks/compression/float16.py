"""Half-precision weights and arithmetic; inputs and outputs stay as they are. Halves the file; CPUs gain no speed."""

from pathlib import Path

from tasks.compression.method import Context, NotApplicable, OnnxMethod
from tasks.recipes import Float16


class HalfPrecision(Float16, OnnxMethod):
    """Numbers in 16 bits."""

    def apply(self, source: Path, target: Path, context: Context) -> tuple[str, ...]:
        import onnx
        from onnx import TensorProto
        from onnxruntime.transformers.float16 import convert_float_to_float16
        from onnxruntime.transformers.onnx_model import OnnxModel

        proto = onnx.load(source)
        del proto.graph.value_info[:]
        if not any(tensor.data_type == TensorProto.FLOAT for tensor in proto.graph.initializer):
            raise NotApplicable("nothing to halve: the graph has no 32-bit weights")
        halved = OnnxModel(convert_float_to_float16(proto, keep_io_types=True))
        halved.topological_sort()
        onnx.save(halved.model, target)
        return ()
