"""Shares of the learning rate by name: the first that fits, what is frozen stays as it is to the bit, and a wrong name is said."""

from pathlib import Path

import pytest
import torch
from torch import nn
from toy_training import FAST, clouds, workload

from tasks.compression.channels import remove_channels
from tasks.compression.masks import bake_masks, mask_smallest
from tasks.config import Train
from tasks.errors import UserError
from tasks.training.groups import check_groups, freeze, share_of
from tasks.training.optimizer import make_optimizer, set_rate
from tasks.training.trainer import fit


class Based(nn.Module):
    """A base with batch normalisation, with and without weights of its own, and a head."""

    def __init__(self) -> None:
        super().__init__()
        self.base = nn.Sequential(
            nn.Linear(4, 16), nn.BatchNorm1d(16), nn.ReLU(), nn.BatchNorm1d(16, affine=False)
        )
        self.head = nn.Linear(16, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        logits: torch.Tensor = self.head(self.base(x))
        return logits


def config(groups: dict[str, float]) -> Train:
    return Train.model_validate({**FAST.model_dump(), "groups": groups})


def test_the_first_group_that_fits_has_a_weight_and_the_rest_the_whole_rate() -> None:
    groups = Train(groups={"base.0.*": 0, "base.*": 0.1, "*.bias": 2}).groups
    names = (
        "base.0.bias",
        "base.1.bias",
        "head.bias",
        "head.weight",
        "base.1.parametrizations.weight.original",
    )
    assert [share_of(name, groups) for name in names] == [0, 0.1, 2, 1, 0.1]


def test_groups_go_through_json_and_a_store_that_sorts_names_in_their_order() -> None:
    train = Train(groups={"zz*": 0.5, "a*": 0, "*": 2})
    assert Train.model_validate_json(train.model_dump_json()) == train
    assert [group["weights"] for group in train.model_dump()["groups"]] == ["zz*", "a*", "*"]
    assert hash(train) == hash(Train(groups={"zz*": 0.5, "a*": 0, "*": 2}))


def test_a_group_learns_at_its_share_of_the_rate() -> None:
    train = Train(groups={"base.*": 0.25}, optimizer="sgd", weight_decay=0)
    torch.manual_seed(0)
    module = Based()
    before = {name: weight.detach().clone() for name, weight in module.named_parameters()}
    optimizer = make_optimizer(module, train)
    set_rate(optimizer, 0.1)
    module(torch.randn(8, 4)).square().mean().backward()
    optimizer.step()
    for name, weight in module.named_parameters():
        assert weight.grad is not None
        rate = 0.025 if name.startswith("base") else 0.1
        torch.testing.assert_close(before[name] - weight.detach(), rate * weight.grad, rtol=1e-4, atol=1e-7)


def state_after(module: nn.Module, train: Train, folder: Path) -> dict[str, torch.Tensor]:
    fit(module, clouds(200), clouds(100, 1), train, folder, workload=workload())
    return {name: value.clone() for name, value in module.state_dict().items()}


@pytest.mark.parametrize("shrink", ["not", "masked", "channels"])
def test_what_is_frozen_is_the_same_to_the_bit_statistics_too_also_when_it_is_trained_again_smaller(
    shrink: str, tmp_path: Path
) -> None:
    torch.manual_seed(0)
    module, train = Based(), config({"base.*": 0})
    if shrink != "not":  # as a training before it leaves them
        with torch.no_grad():
            for statistics in (module.base[1], module.base[3]):
                statistics.running_mean.normal_()  # type: ignore[union-attr, operator]
        freeze(module, train.groups)
    if shrink == "masked":
        assert mask_smallest(module, 0.5)
    if shrink == "channels":
        next(remove_channels(module, {"x": torch.randn(2, 4)}, 0.5, 1, 1))
        assert module.base[0].weight.shape[0] < 16
    before = {name: value.clone() for name, value in module.state_dict().items()}
    after = state_after(module, train, tmp_path)
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    assert changed == {name for name in before if name.startswith("head") and "0.kept" not in name}
    bake_masks(module)


def test_what_is_not_frozen_learns_and_counts(tmp_path: Path) -> None:
    torch.manual_seed(0)
    module = Based()
    before = {name: value.clone() for name, value in module.state_dict().items()}
    after = state_after(module, config({"base.0.*": 0}), tmp_path)
    same = {name for name in before if torch.equal(before[name], after[name])}
    assert same == {"base.0.weight", "base.0.bias"}


@pytest.mark.parametrize(
    ("groups", "said"),
    [
        ({"bass.*": 0.1}, r"no weight is called 'bass.\*'; near are base"),
        ({"qqqq": 0.1}, r"no weight is called 'qqqq'; near are base.0.weight, base.0.bias, base.1.weight and 4 more"),
        ({"*": 0.1, "head.*": 1}, r"'head.\*' comes after what takes all its weights .*: put it before"),
        ({"*": 0}, "train.groups freezes every weight: give one a share above 0"),
    ],
)  # fmt: skip
def test_a_group_that_means_nothing_is_refused(groups: dict[str, float], said: str) -> None:
    with pytest.raises(UserError, match=said):
        check_groups(Based(), Train(groups=groups).groups)


def test_statistics_without_weights_are_a_name_too() -> None:
    check_groups(Based(), Train(groups={"base.3.*": 0}).groups)
