"""Structured pruning by torch-pruning: channels go with everything in other layers that hangs on them."""

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
import torch_pruning
from torch import nn

from tasks.compression.method import NotApplicable
from tasks.system.sentences import typed_line
from tasks.training.footprint import without_footprint
from tasks.training.module import all_outputs

Example = dict[str, torch.Tensor]

_NOT_FOLLOWED = "structured pruning cannot follow this module"


def remove_channels(
    module: nn.Module, example: Example, ratio: float, rounds: int, multiple_of: int
) -> Iterator[None]:
    """Remove the share `ratio` of each layer's channels from `module` in place, a part of it before each yield; `example` are its inputs.

    Magnitude decides, over all weights that hang on a channel (Fang et al. 2023, arXiv:2301.12900). Recurrent layers and
    those that give the outputs keep theirs; what is frozen stays so. Raises NotApplicable when the module has no other,
    or its forward fixes a shape.
    """
    before = _shapes(module)
    frozen = [name for name, parameter in module.named_parameters() if not parameter.requires_grad]
    expected = _output_shapes(module, example)
    pruner = _pruner(module, example, ratio, rounds, multiple_of)
    for _ in range(rounds):
        with _refused(_NOT_FOLLOWED):
            pruner.step()
        for name in frozen:  # by name: a smaller layer has other parameters
            module.get_parameter(name).requires_grad_(False)
        if _shapes(module) == before:
            raise NotApplicable("nothing to prune: no layer has channels that could go")
        _check_forward(module, example, expected)
        yield


def _pruner(module: nn.Module, example: Example, ratio: float, rounds: int, multiple_of: int) -> Any:
    heads = {layer: layer.num_heads for layer in module.modules() if isinstance(layer, nn.MultiheadAttention)}
    with _refused(_NOT_FOLLOWED):
        with torch.enable_grad(), warnings.catch_warnings():  # it follows gradients from the outputs back
            warnings.simplefilter("ignore")  # its advice on parameters outside layers: it leaves them alone
            pruner = torch_pruning.pruner.BasePruner(
                module.requires_grad_(True),
                example,
                output_transform=_followed_back,
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
    return pruner


def _followed_back(outputs: Any) -> list[torch.Tensor]:
    """The outputs that gradients reach: a class's number beside the logits says nothing of layers."""
    return [output for output in all_outputs(outputs).values() if output.requires_grad]


@contextmanager
def _refused(why: str) -> Iterator[None]:
    """Whatever is raised is a reason not to prune."""
    try:
        yield
    except Exception as error:
        raise NotApplicable(f"{why}: {typed_line(error)}") from error


def _giving_outputs(graph: Any) -> list[nn.Module]:
    """The layers whose channels reach the model's outputs: those must keep their shape."""
    return [
        group[0].dep.target.module
        for group in graph.get_all_groups()
        if any(not d.target.outputs and not graph.is_in_channel_pruning_fn(d.handler) for d, _ in group)
    ]


def _check_forward(module: nn.Module, example: Example, expected: list[torch.Size]) -> None:
    with _refused("the module's forward does not take pruned shapes"):
        shapes = _output_shapes(module, example)
    for shape, wanted in zip(shapes, expected, strict=True):
        if shape != wanted:
            raise NotApplicable(
                f"pruned, the module gives outputs of shape {list(shape)} instead of {list(wanted)}"
            )


def _output_shapes(module: nn.Module, example: Example) -> list[torch.Size]:
    with torch.no_grad(), without_footprint(module.eval()):
        return [output.shape for output in all_outputs(module(**example)).values()]


def _shapes(module: nn.Module) -> list[torch.Size]:
    return [parameter.shape for parameter in module.parameters()]
