"""How torch's exporters are called."""

import pytest
import torch
from torch import nn

from tasks.onnx.exporter_output import quietly
from tasks.onnx.exporters import _read_operators_once


@pytest.mark.slow
def test_what_somebody_registers_for_one_export_is_not_in_the_next_and_every_export_is_the_same() -> None:
    from torch.onnx._internal.exporter._registration import ONNXRegistry

    _read_operators_once()
    module, rows = nn.Sequential(nn.Linear(8, 8), nn.ReLU()), (torch.ones(3, 8),)
    with quietly():
        first = ONNXRegistry().from_torchlib()
        operator, ways = next((name, len(ways)) for name, ways in first.functions.items())
        first.functions[operator].append(first.functions[operator][0])
        assert len(ONNXRegistry.from_torchlib().functions[operator]) == ways
        made = [torch.onnx.export(module, rows, dynamo=True, verbose=False) for _ in range(2)]
    assert len({program.model_proto.SerializeToString() for program in made if program is not None}) == 1
