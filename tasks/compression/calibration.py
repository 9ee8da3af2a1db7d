"""Static quantisation that calibrates once, so that other choices of nodes cost little."""

from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
from onnxruntime.quantization import CalibrationMethod, QuantFormat, QuantType, quantize_static

from tasks.compression.graph import has_attention
from tasks.compression.quantiser_output import without_quantiser_output
from tasks.data.arrays import Array
from tasks.data.dataset import read_split
from tasks.recipes import Quantize
from tasks.records import Dataset

_ROWS = 512

_BATCH = 32


@dataclass
class StaticQuantiser:
    """One prepared graph with the ranges of its tensors, seen on training rows; writes it with any nodes in float."""

    knobs: Quantize
    seven_bits: bool
    prepared: Path
    op_types: tuple[str, ...]
    dataset: Dataset
    ranges: Path

    def __post_init__(self) -> None:
        graph = onnx.load(self.prepared)
        attention = has_attention(graph)
        types = {node.name: node.op_type for node in graph.graph.node}
        self._const_only = attention and self.knobs.op_types is None
        self._dense = not attention and {"Conv", "ConvTranspose"}.isdisjoint(types.values())
        self.nodes = {name: op_type for name, op_type in types.items() if op_type in self.op_types}
        """Names and types of the nodes that may be quantised."""

    def write(self, target: Path, keep_float: Collection[str] = (), only: str | None = None) -> None:
        """Quantise all nodes but those that are to stay in float and `keep_float`, or one alone, into `target`."""
        knobs = self.knobs
        with without_quantiser_output():
            quantize_static(
                self.prepared,
                target,
                _Reader(self.dataset, knobs.rows),
                quant_format=QuantFormat.QDQ,
                op_types_to_quantize=list(self.op_types),
                per_channel=not self._dense if knobs.per_channel is None else knobs.per_channel,
                reduce_range=self.seven_bits,
                # Linear layers alone ran 9 % faster with signed inputs and one scale a tensor; convolutions slower.
                activation_type=QuantType.QInt8 if self._dense else QuantType.QUInt8,
                weight_type=QuantType.QInt8,
                calibrate_method=next(m for m in CalibrationMethod if m.name.lower() == knobs.calibration),
                nodes_to_quantize=[only] if only else None,
                nodes_to_exclude=[*knobs.keep_float, *keep_float],
                extra_options={
                    "CalibStridedMinMax": 1,
                    "CalibTensorRangeSymmetric": False,
                    "CalibPercentile": knobs.percentile,
                    "MatMulConstBOnly": self._const_only,
                    # Between its layers there are floats anyway: to round what they give, too, took a tenth of the speed, in OpenVINO a third.
                    "OpTypesToExcludeOutputQuantization": ["MatMul", "Gemm"] if self._const_only else [],
                },
                calibration_cache_path=self.ranges,
            )


class _Reader:
    """Training rows from all over the split, in batches; onnxruntime asks for them a range at a time to save memory."""

    def __init__(self, dataset: Dataset, rows: int | None) -> None:
        self._inputs = read_split(dataset, "train").inputs
        available = len(next(iter(self._inputs.values())))
        count = min(rows or _ROWS, available)
        self._batches = np.array_split(np.linspace(0, available - 1, count).astype(int), -(-count // _BATCH))
        self._queue = iter(self._batches)

    def __len__(self) -> int:
        return len(self._batches)

    def set_range(self, start_index: int, end_index: int) -> None:
        self._queue = iter(self._batches[start_index:end_index])

    def get_next(self) -> dict[str, Array] | None:
        rows = next(self._queue, None)
        return None if rows is None else {name: array[rows] for name, array in self._inputs.items()}
