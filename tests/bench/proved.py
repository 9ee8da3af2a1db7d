"""The digits and a linear model of them as an ONNX candidate, made in seconds: for tests of the proof."""

from pathlib import Path

import numpy as np
import torch
from torch import nn

from tasks.config import Data, Gates
from tasks.data.arrays import load_arrays
from tasks.data.dataset import prepare, read_split
from tasks.measured import Champion, Comparison, Report
from tasks.onnx.export import write_export
from tasks.onnx.exporter_output import quietly
from tasks.onnx.exporters import with_torchscript
from tasks.onnx.sizes import batch_of
from tasks.proof.holdout import Answered, compare_with
from tasks.records import Candidate, Dataset
from tasks.workloads.catalogue import load_workload


class Linear(nn.Module):
    def __init__(self, weights: np.ndarray) -> None:  # type: ignore[type-arg]
        super().__init__()
        self.inner = nn.Linear(65, 10, bias=False)
        self.inner.weight = nn.Parameter(torch.from_numpy(weights.T.astype("float32").copy()))

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        flat = image.flatten(1) / 16
        logits: torch.Tensor = self.inner(torch.cat([flat, torch.ones_like(flat[:, :1])], dim=1))
        return logits


def fitted(dataset: Dataset, noise: float = 0.0) -> Linear:
    """Ridge regression onto the classes, in closed form; `noise` on the weights makes it worse."""
    rows = read_split(dataset, "train")
    features = np.hstack([rows.inputs["image"].reshape(len(rows), -1) / 16, np.ones((len(rows), 1))])
    wanted = np.eye(10)[rows.target]
    weights = np.linalg.solve(features.T @ features + np.eye(65), features.T @ wanted)
    return Linear(weights + noise * np.random.default_rng(0).normal(size=weights.shape))


def make_digits(folder: Path) -> tuple[Dataset, Candidate]:
    """The split dataset and the linear model as the candidate fp32."""
    dataset = prepare("digits", Data(), folder)
    return dataset, candidate(dataset, folder / "fp32" / "model.onnx", "fp32")


def candidate(dataset: Dataset, path: Path, name: str, noise: float = 0.0) -> Candidate:
    module, samples = fitted(dataset, noise).eval(), read_split(dataset, "validation")
    with quietly():  # not export_module: its first exporter takes seconds to import
        proto = with_torchscript(module, load_workload("digits"), dataset, batch_of(samples, 3))
    return Candidate(name=name, onnx=write_export(proto, "torchscript", module, dataset, samples, path, {}))


def compared(reference: str, dataset: Dataset, report: Report, champion: Champion) -> Comparison:
    """A report's kept outputs against a champion."""
    assert report.outputs is not None
    answered = Answered(dataset, report.split, load_arrays(report.outputs))
    return compare_with(load_workload(reference), answered, champion, Gates())
