"""Static quantisation that calibrates once, so that other choices of nodes cost little."""

from collections.abc import Collection
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnxruntime.quantization import CalibrationMethod, QuantFormat, QuantType, quantize_static

from tasks.compression.graph import has_attention
from tasks.compression.quantiser_output import without_quantiser_output
from tasks.data.dataset import read_split
from tasks.recipes import Quantize
from tasks.records import Dataset

_ROWS = 512

_BATCH = 32


class StaticQuantiser:
    """One prepared graph with the ranges of its tensors, seen on training rows; writes it with any nodes in float."""

    def __init__(
        self,
        knobs: Quantize,
        seven_bits: bool,
        prepared: Path,
        op_types: tuple[str, ...],
        dataset: Dataset,
        scratch: Path,
    ) -> None:
        graph = onnx.load(prepared)
        self._knobs = knobs
        self._seven_bits = seven_bits
        self._prepared = prepared
        self._op_types = op_types
        self._dataset = dataset
        self._ranges = scratch / "ranges.json"
        self._const_only = has_attention(graph) and knobs.op_types is None
        types = {node.op_type for node in graph.graph.node}
        self._dense = not has_attention(graph) and types.isdisjoint({"Conv", "ConvTranspose"})
        self.nodes = {node.name: node.op_type for node in graph.graph.node if node.op_type in op_types}
        """Names and types of the nodes that may be quantised."""

    def write(self, target: Path, keep_float: Collection[str] = (), only: str | None = None) -> None:
        """Quantise all nodes but `keep_float`, or one alone, into `target`."""
        methods = {
            "minmax": CalibrationMethod.MinMax,
            "entropy": CalibrationMethod.Entropy,
            "percentile": CalibrationMethod.Percentile,
        }
        with without_quantiser_output():
            quantize_static(
                self._prepared,
                target,
                _Reader(self._dataset, self._knobs.rows),
                quant_format=QuantFormat.QDQ,
                op_types_to_quantize=list(self._op_types),
                per_channel=not self._dense if self._knobs.per_channel is None else self._knobs.per_channel,
                reduce_range=self._seven_bits,
                # Linear layers alone ran 9 % faster with signed inputs and one scale a tensor; convolutions slower.
                activation_type=QuantType.QInt8 if self._dense else QuantType.QUInt8,
                weight_type=QuantType.QInt8,
                calibrate_method=methods[self._knobs.calibration],
                nodes_to_quantize=[only] if only else None,
                nodes_to_exclude=list(keep_float),
                extra_options=self._options(),
                calibration_cache_path=self._ranges,
            )

    def _options(self) -> dict[str, Any]:
        options: dict[str, Any] = {
            "CalibStridedMinMax": 1,
            "CalibTensorRangeSymmetric": False,
            "MatMulConstBOnly": self._const_only,
        }
        if self._knobs.calibration == "percentile":
            options["CalibPercentile"] = self._knobs.percentile
        return options


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

    def get_next(self) -> dict[str, np.ndarray[Any, Any]] | None:
        rows = next(self._queue, None)
        return None if rows is None else {name: array[rows] for name, array in self._inputs.items()}
