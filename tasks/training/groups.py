"""Which weights learn at which share of the learning rate, and what is frozen: by the names in `train.groups`."""

import difflib
import re
from collections.abc import Iterator, Sequence
from fnmatch import fnmatchcase

from torch import nn
from torch.nn.modules.batchnorm import _NormBase

from tasks.config import Group
from tasks.errors import UserError
from tasks.system.sentences import some

Groups = Sequence[Group]


def check_groups(module: nn.Module, groups: Groups) -> None:
    """Raise UserError for a pattern that no weight is left for, and when nothing would learn."""
    free = dict.fromkeys(_names(module))
    for group in groups:
        fitting = [name for name in _names(module) if fnmatchcase(name, group.weights)]
        if not fitting:
            raise UserError(
                f"train.groups: no weight is called {group.weights!r}; near are {some(_near(module, group.weights), 3)}."
            )
        if not any(name in free for name in fitting):
            raise UserError(
                f"train.groups: {group.weights!r} comes after what takes all its weights ({some(fitting, 2)}): put it before."
            )
        for name in fitting:
            free.pop(name, None)
    learned = [name for name, parameter in module.named_parameters() if parameter.requires_grad]
    if learned and not any(share_of(name, groups) for name in learned):
        raise UserError("train.groups freezes every weight: give one a share above 0, or leave a group out.")


def share_of(name: str, groups: Groups) -> float:
    """The share of the first group that a weight's name fits; 1 where none does."""
    plain = _plain(name)
    return next((group.share for group in groups if fnmatchcase(plain, group.weights)), 1.0)


def freeze(module: nn.Module, groups: Groups) -> None:
    """What has no share in the learning rate gets no gradient either."""
    for name, parameter in module.named_parameters():
        if not share_of(name, groups):
            parameter.requires_grad_(False)


def learning_mode(module: nn.Module, groups: Groups) -> None:
    """The module as it learns: normalisation that is frozen uses its statistics, and leaves them as they are."""
    module.train()
    for names, layer in _normalising(module):
        if not any(share_of(name, groups) for name in names):
            layer.eval()


def _names(module: nn.Module) -> list[str]:
    """Every name that a group may mean: of parameters, and of statistics where a layer has nothing else."""
    names = [name for name, _ in module.named_parameters()]
    names += [name for layer_names, _ in _normalising(module) for name in layer_names]
    return list(dict.fromkeys(map(_plain, names)))


def _normalising(module: nn.Module) -> Iterator[tuple[list[str], nn.Module]]:
    for path, layer in module.named_modules():
        if isinstance(layer, _NormBase) and layer.track_running_stats:
            own = [name for name, _ in layer.named_parameters()] or ["running_mean"]
            yield [f"{path}.{name}".lstrip(".") for name in own], layer


def _plain(name: str) -> str:
    """A weight that is masked while it is pruned goes by the name that it has before and after."""
    return re.sub(r"parametrizations\.(\w+)\.original\d*$", r"\1", name)


def _near(module: nn.Module, pattern: str) -> list[str]:
    """Weights and layers whose names are like it; the first weights where none is."""
    names = _names(module)
    parts = [name.split(".") for name in names]
    known = dict.fromkeys(".".join(part[:length]) for part in parts for length in range(1, len(part) + 1))
    return difflib.get_close_matches(pattern.rstrip(".*"), known, n=3, cutoff=0.5) or names
