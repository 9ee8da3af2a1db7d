"""A moving average of the weights: what the formula says, judged and shipped instead of the last ones."""

from pathlib import Path

import pytest
import torch
from predicting import predict
from torch import nn
from toy_training import FAST, Net, clouds, train_toy, workload

from tasks.training.average import Average
from tasks.training.checkpoint import load, load_weights
from tasks.workloads.scoring import score


def test_it_is_the_exponential_average_of_every_number_and_the_last_of_what_is_counted() -> None:
    module = nn.BatchNorm1d(3)
    average, expected = Average(module, 0.5), torch.ones(3)
    for step in range(1, 30):
        with torch.no_grad():
            module.weight.normal_()
        module(torch.randn(4, 3))
        average.update(step)
        decay = min(0.5, (1 + step) / (10 + step))
        expected = decay * expected + (1 - decay) * module.weight.detach()
    torch.testing.assert_close(average.values["weight"], expected)
    assert int(average.values["num_batches_tracked"]) == 29
    weights = module.weight.detach().clone()
    with average.in_place():
        assert torch.equal(module.weight, average.values["weight"])
    assert torch.equal(module.weight, weights)


def test_the_average_is_judged_and_ships_and_training_goes_on_from_the_weights(tmp_path: Path) -> None:
    torch.manual_seed(0)
    plain, module = Net(), Net()
    module.load_state_dict(plain.state_dict())
    last = train_toy(tmp_path / "plain", FAST, module=plain)
    averaged = train_toy(tmp_path / "averaged", FAST.model_copy(update={"average": 0.9}), module=module)
    for name, value in plain.state_dict().items():
        assert torch.equal(value, module.state_dict()[name]), (
            "the average changes nothing of the training itself"
        )
    state = load(max(averaged.path.parent.glob("last-*.pt")))
    assert averaged.epoch == last.epoch == 3
    assert all(torch.equal(value, state["average"][name]) for name, value in load_weights(averaged).items())
    assert not torch.equal(load_weights(averaged)["layers.0.weight"], load_weights(last)["layers.0.weight"])
    module.load_state_dict(load_weights(averaged))
    rows = clouds(100, 1)
    assert averaged.score == pytest.approx(score(workload(), rows.target, predict(module, rows.inputs)))
