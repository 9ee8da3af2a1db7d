"""Workloads of every kind of goal, each of a few hundred rows that are made up and a small model: `goal_workloads.py:tags`."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import pandera.pandas as pa
import torch
from torch import nn

from tasks.config import Data, Gates, Train
from tasks.goals import Classify, Forecast, Match, MultiLabel, Rank, Reconstruct, Regress, Tag
from tasks.goals.goal import Goal
from tasks.workloads import Rows, Workload

ROWS, WIDTH = 400, 12
LABELS = [f"Class{number}" for number in range(1, 15)]
WORDS = ["O", "name", "place"]


def draws(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def levels() -> pd.DataFrame:
    """WIDTH numbers a row, 14 labels, two amounts and a class that follow from them, a query of eight rows each and a gain."""
    rng = draws()
    x = rng.normal(size=(ROWS, WIDTH)).astype("float32")
    hidden = x @ rng.normal(size=(WIDTH, len(LABELS)))
    flags = (hidden > np.linspace(-2, 4, len(LABELS))).astype("float32")
    frame = pd.DataFrame(x, columns=[f"x{place}" for place in range(WIDTH)])
    frame[LABELS] = flags
    frame["weight"], frame["height"] = x[:, 0] * 2 + 1, x[:, 1] - x[:, 2]
    frame["kind"] = np.where(x[:, 3] > 0.3, "warm", np.where(x[:, 3] < -0.3, "cold", "mild"))
    frame["query"] = np.arange(ROWS) // 8
    frame["gain"] = np.clip(np.round(x[:, 4] + 1), 0, 3)
    return frame


def series() -> pd.DataFrame:
    """Windows of a series that remembers: 24 steps, and the 6 that follow."""
    rng, values = draws(1), np.zeros(ROWS * 3 + 40)
    for step in range(1, len(values)):
        values[step] = 0.9 * values[step - 1] + rng.normal()
    starts = range(0, ROWS * 3, 3)
    past = [values[start : start + 24].astype("float32") for start in starts]
    return pd.DataFrame({"past": past, "next": [values[s + 24 : s + 30].astype("float32") for s in starts]})


def sentences() -> pd.DataFrame:
    """Up to 10 numbers a row, 0 behind the end, and a tag for each that its number tells; most are outside."""
    rng = draws(2)
    tokens = [rng.integers(1, 30, rng.integers(3, 11)) for _ in range(ROWS)]
    tags = [[WORDS[1] if t < 4 else WORDS[2] if t > 27 else "O" for t in row] for row in tokens]
    return pd.DataFrame({"tokens": [list(map(int, row)) for row in tokens], "tags": tags})


def x_of(frame: pd.DataFrame) -> dict[str, Any]:
    return {"x": frame[[f"x{place}" for place in range(WIDTH)]].to_numpy("float32")}


def past_of(frame: pd.DataFrame) -> dict[str, Any]:
    return {"past": np.stack([np.asarray(cell, "float32") for cell in frame["past"]])}


def tokens_of(frame: pd.DataFrame) -> dict[str, Any]:
    padded = np.zeros((len(frame), 10), "int64")
    for row, cell in enumerate(frame["tokens"]):
        padded[row, : len(cell)] = cell
    return {"tokens": padded}


def halves_of(frame: pd.DataFrame) -> dict[str, Any]:
    """Two views of a row: the numbers, and the same with a little noise that the row itself decides."""
    x = x_of(frame)["x"]
    return {"left": x, "right": (x + 0.1 * np.sin(37 * x)).astype("float32")}


class Perceptron(nn.Module):
    """[n, WIDTH] to [n, width], or [n] where that is 0."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.width = width
        self.layers = nn.Sequential(nn.Linear(WIDTH, 32), nn.ReLU(), nn.Linear(32, max(1, width)))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        outputs: torch.Tensor = self.layers(x)
        return outputs if self.width else outputs[:, 0]


class Ahead(nn.Module):
    """The last value, and a change for each step (and quantile)."""

    def __init__(self, quantiles: int) -> None:
        super().__init__()
        self.quantiles = quantiles
        self.change = nn.Linear(24, 6 * max(1, quantiles))

    def forward(self, past: torch.Tensor) -> torch.Tensor:
        change = self.change(past)
        if not self.quantiles:
            return past[:, -1:] + change
        return past[:, -1:, None] + change.reshape(-1, 6, self.quantiles)


class Tagger(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.embed, self.out = nn.Embedding(32, 16), nn.Linear(16, len(WORDS))

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        logits: torch.Tensor = self.out(self.embed(tokens))
        return logits


class Pair(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.ours, self.theirs = nn.Linear(WIDTH, 8), nn.Linear(WIDTH, 8)

    def forward(self, left: torch.Tensor, right: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        return self.ours(left), self.theirs(right)


class Both(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Linear(WIDTH, 32), nn.ReLU())
        self.kind, self.amounts = nn.Linear(32, 3), nn.Linear(32, 2)
        self.label = nn.Parameter(torch.zeros(3))  # what the answer is called

    def forward(self, x: torch.Tensor) -> dict[str, torch.Tensor]:
        hidden = self.body(x)
        return {"logits": self.kind(hidden) + self.label, "prediction": self.amounts(hidden)}


def workload(
    name: str,
    goal: Goal | tuple[Goal, ...],
    model: Callable[[], nn.Module],
    load: Callable[[], pd.DataFrame] = levels,
    inputs: Callable[[pd.DataFrame], dict[str, Any]] = x_of,
    group: str | None = None,
) -> Workload:
    return Workload(
        rows=Rows(group=group),
        name=name,
        goal=goal,
        load=load,
        schema=pa.DataFrameSchema({}),
        inputs=inputs,
        model=model,
        data=Data(validation=0.2, test=0.3),
        train=Train(epochs=30, lr=2e-2, batch_size=64, threads=1),
        recipes=(),
        gates=Gates(min_slice_rows=20),
    )


labels = workload("labels", MultiLabel(*LABELS), lambda: Perceptron(14))
amounts = workload("amounts", Regress("weight", "height"), lambda: Perceptron(2))
ahead = workload("ahead", Forecast("next", horizon=6), lambda: Ahead(0), series, past_of)
spread = workload(
    "spread",
    Forecast("next", horizon=6, quantiles=(0.1, 0.5, 0.9), past="past"),
    lambda: Ahead(3),
    series,
    past_of,
)
tags = workload("tags", Tag("tags", length=10), Tagger, sentences, tokens_of)
order = workload("order", Rank("gain", query="query", at=5), lambda: Perceptron(0), group="query")
again = workload("again", Reconstruct("x"), lambda: Perceptron(WIDTH))
pairs = workload("pairs", Match(at=1), Pair, levels, halves_of)
both = workload("both", (Classify("kind"), Regress("weight", "height")), Both)
