"""8-bit weights and arithmetic by ONNX Runtime's quantiser: dynamic, or static with calibration."""

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from tasks.compression.folding import fold
from tasks.compression.graph import WEIGHTED, has_attention, prepare, quantized_nodes, weighted
from tasks.compression.int8_support import multiplies_int8_exactly
from tasks.compression.method import Context, NotApplicable, OnnxMethod
from tasks.compression.quantiser_output import without_quantiser_output
from tasks.recipes import Quantize
from tasks.system.sentences import some

if TYPE_CHECKING:
    import onnx

    from tasks.workloads.workload import Workload

DYNAMIC = ("MatMul", "Gemm", "LSTM", "Gather", "Attention")
"""Op types that gain by dynamic quantisation. Conv can be named, but its 8-bit kernel without scales is slow."""

CARRIERS = (
    "Relu Clip LeakyRelu MaxPool AveragePool GlobalAveragePool Add Concat Pad Resize "
    "Reshape Flatten Squeeze Unsqueeze Transpose Slice Split"
).split()
"""Op types that pass 8-bit numbers on, so that nothing goes back to float between two layers."""


class Quantization(Quantize, OnnxMethod):
    """Weights in 8 bits. Dynamic: inputs are scaled as they come; static: by ranges seen on training rows."""

    def problem(self, workload: "Workload", rows: int | None) -> str | None:
        if rows is not None and self.rows is not None and self.rows > rows:
            return f"rows={self.rows} for calibration, but there are {rows} training rows: give at most that many"
        return None

    def apply(self, source: Path, target: Path, context: Context) -> tuple[str, ...]:
        import onnx

        prepared = prepare(source, target.parent)
        graph = onnx.load(prepared)
        op_types = self.types_for(graph)
        nodes = weighted(graph, op_types)
        if not nodes:
            raise NotApplicable(
                f"nothing to quantise: no {', '.join(op_types[:5])} with constant weights in the graph"
            )
        self._check_kept(graph)
        notes: tuple[str, ...] = ()
        if self.mode == "dynamic":
            self._dynamic(prepared, target, op_types)
        else:
            notes = self._static(prepared, target, op_types, context)
        if not quantized_nodes(onnx.load(target)):
            raise NotApplicable("nothing to quantise: no node took 8-bit weights")
        fold(target, prepared)
        return (*self._float_types(graph, nodes), *notes)

    def types_for(self, graph: "onnx.ModelProto") -> tuple[str, ...]:
        """The op types to quantise: those that were asked for, or those that do not spoil this kind of graph."""
        if isinstance(self.op_types, tuple):
            return self.op_types
        if self.mode == "dynamic":
            return (*DYNAMIC, "Conv") if self.op_types == "all" else DYNAMIC
        if self.op_types == "all":
            from onnxruntime.quantization.registry import QDQRegistry, QLinearOpsRegistry

            return tuple(sorted({*QDQRegistry, *QLinearOpsRegistry}))
        return WEIGHTED if has_attention(graph) else (*WEIGHTED, *CARRIERS)

    @property
    def seven_bits(self) -> bool:
        return not multiplies_int8_exactly() if self.reduce_range is None else self.reduce_range

    def _dynamic(self, prepared: Path, target: Path, op_types: tuple[str, ...]) -> None:
        from onnxruntime.quantization import QuantType, quantize_dynamic

        with without_quantiser_output():
            quantize_dynamic(
                prepared,
                target,
                op_types_to_quantize=["MatMul" if name == "Gemm" else name for name in op_types],
                per_channel=bool(self.per_channel),
                reduce_range=self.seven_bits,
                weight_type=QuantType.QInt8,
                nodes_to_exclude=list(self.keep_float),
            )

    def _static(
        self, prepared: Path, target: Path, op_types: tuple[str, ...], context: Context
    ) -> tuple[str, ...]:
        from tasks.compression.calibration import StaticQuantiser
        from tasks.compression.sensitivity import keep_sensitive_in_float

        with tempfile.TemporaryDirectory(dir=target.parent, prefix=".quantizing-") as scratch:
            ranges = Path(scratch) / "ranges.json"
            quantiser = StaticQuantiser(self, self.seven_bits, prepared, op_types, context.dataset, ranges)
            quantiser.write(target)
            return keep_sensitive_in_float(quantiser, target, context)

    def _check_kept(self, graph: "onnx.ModelProto") -> None:
        names = {node.name for node in graph.graph.node}
        if unknown := [name for name in self.keep_float if name not in names]:
            raise NotApplicable(f"keep_float names no node {', '.join(unknown)} in the graph")

    def _float_types(self, graph: "onnx.ModelProto", nodes: "list[onnx.NodeProto]") -> tuple[str, ...]:
        """What has weights and stays in float because of its type."""
        left = [node for node in weighted(graph, (*WEIGHTED, "LSTM", "GRU", "RNN")) if node not in nodes]
        if not left:
            return ()
        names = some([f"{node.name} ({node.op_type})" for node in left], 6)
        return (f"in float, as {self.mode} quantisation is not for their type: {names}",)
