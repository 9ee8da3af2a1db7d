"""Structured pruning by torch-pruning: channels go with everything in other layers that hangs on them."""

import warnings
from collections.abc import Iterator
from typing import Any

import torch
import torch_pruning
from torch import nn

from tasks.compression.method import NotApplicable
from tasks.system.sentences import typed_line
from tasks.training.module import main_output

Example = dict[str, torch.Tensor]


def remove_channels(
    module: nn.Module, example: Example, ratio: float, rounds: int, multiple_of: int
) -> Iterator[None]:
    """Remove the share `ratio` of each layer's channels from `module` in place, a part of it before each yield; `example` are its inputs.

    Magnitude decides, over all weights that hang on a channel (Fang et al. 2023, arXiv:2301.12900). Recurrent layers and
    those that give the outputs keep theirs. Raises NotApplicable when the module has no other, or its forward fixes a shape.
    """
    before = _shapes(module)
    expected = module.eval()(**example).shape
    pruner = _pruner(module, example, ratio, rounds, multiple_of)
    for _ in range(rounds):
        _step(pruner)
        if _shapes(module) == before:
            raise NotApplicable("nothing to prune: no layer has channels that could go")
        _check_forward(module, example, expected)
        yield


def _pruner(module: nn.Module, example: Example, ratio: float, rounds: int, multiple_of: int) -> Any:
    heads = {layer: layer.num_heads for layer in module.modules() if isinstance(layer, nn.MultiheadAttention)}
    try:
        with torch.enable_grad(), warnings.catch_warnings():  # it follows gradients from the outputs back
            warnings.simplefilter(
                "ignore"
            )  # its advice on parameters outside layers, which it then leaves alone
            pruner = torch_pruning.pruner.BasePruner(
                module.requires_grad_(True),
                example,
                importance=torch_pruning.importance.GroupMagnitudeImportance(p=2),
                pruning_ratio=ratio,
                iterative_steps=rounds,
                round_to=multiple_of,
                num_heads=heads,
                in_channel_groups={},  # its defaults are shared between models
                out_channel_groups={},
            )
        pruner.ignored_layers += _giving_outputs(pruner.DG)
        # torch-pruning 1.6 takes the channels of one gate for those of all four, and knows no second layer
        pruner.ignored_layers += [layer for layer in module.modules() if isinstance(layer, nn.RNNBase)]
    except Exception as error:
        raise _cannot_follow(error) from error
    return pruner


def _step(pruner: Any) -> None:
    try:
        pruner.step()
    except Exception as error:
        raise _cannot_follow(error) from error


def _cannot_follow(error: Exception) -> NotApplicable:
    return NotApplicable(f"structured pruning cannot follow this module: {typed_line(error)}")


def _giving_outputs(graph: Any) -> list[nn.Module]:
    """The layers whose channels reach the model's outputs: those must keep their shape."""
    layers = []
    for group in graph.get_all_groups():
        if any(
            not dep.target.outputs and not graph.is_in_channel_pruning_fn(dep.handler) for dep, _ in group
        ):
            layers.append(group[0].dep.target.module)
    return layers


def _check_forward(module: nn.Module, example: Example, expected: torch.Size) -> None:
    try:
        with torch.inference_mode():
            shape = main_output(module(**example)).shape
    except Exception as error:
        raise NotApplicable(
            f"the module's forward does not take pruned shapes: {typed_line(error)}"
        ) from error
    if shape != expected:
        raise NotApplicable(
            f"pruned, the module gives outputs of shape {list(shape)} instead of {list(expected)}"
        )


def _shapes(module: nn.Module) -> list[torch.Size]:
    return [parameter.shape for parameter in module.parameters()]
