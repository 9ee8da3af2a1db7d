"""Workloads whose requests are text and words beside numbers, and pictures; each named as file:attribute. Their tokenizer is beside the frame."""

import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pandera.pandas as pa
import torch
from coded import jpegs, texts, write_tokenizer
from torch import Tensor, nn

from tasks.codecs import Codes, Image, Text
from tasks.config import Train
from tasks.goals import Classify
from tasks.workloads.workload import Workload

ROWS, PICTURES, LENGTH = 600, 160, 48

FOLDER = Path(os.environ.get("CODED_FOLDER", "."))
"""Where the tokenizer lies: a test gives each session one of its own."""


def tokenizer() -> Path:
    path = FOLDER / "tokenizer.json"
    return path if path.exists() else write_tokenizer(path)


def glosses() -> pd.DataFrame:
    """Texts, a word and two numbers; the class follows from the text's length and the word."""
    draw = np.random.default_rng(0)
    frame = pd.DataFrame({"gloss": texts(ROWS), "plan": draw.choice(["basic", "plus", "none"], ROWS)})
    frame["low"], frame["high"] = draw.normal(size=(2, ROWS)).astype("float32")
    long = frame["gloss"].str.len() > 60
    return frame.assign(kind=np.where(long, "long", "short"))


def numbers(frame: pd.DataFrame) -> "np.ndarray[Any, Any]":
    return frame[["low", "high"]].to_numpy("float32")


class Reader(nn.Module):
    """The mean of what is there, the word and the numbers."""

    def __init__(self) -> None:
        super().__init__()
        self.embed, self.plans, self.head = nn.Embedding(200, 12), nn.Embedding(3, 4), nn.Linear(18, 2)

    def forward(self, input_ids: Tensor, attention_mask: Tensor, plan: Tensor, numbers: Tensor) -> Tensor:
        there = attention_mask[..., None].to(torch.float32)
        mean = (self.embed(input_ids) * there).sum(1) / there.sum(1)
        logits: Tensor = self.head(torch.cat([mean, self.plans(plan), numbers], 1))
        return logits


def digits() -> pd.DataFrame:
    from sklearn.datasets import load_digits

    return pd.DataFrame({"photo": jpegs(PICTURES), "digit": load_digits().target[:PICTURES]})


class Seer(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Sequential(nn.Conv2d(3, 4, 3, 2), nn.ReLU(), nn.Flatten(), nn.Linear(4 * 11 * 11, 10))

    def forward(self, image: Tensor) -> Tensor:
        logits: Tensor = self.head(image.permute(0, 3, 1, 2).to(torch.float32) / 255)
        return logits


reads = Workload(
    name="reads",
    kind="classification",
    load=glosses,
    schema=pa.DataFrameSchema({"gloss": pa.Column(str), "kind": pa.Column(str)}),
    target="kind",
    inputs={
        "gloss": Text(column="gloss", tokenizer=tokenizer(), length=LENGTH),
        "plan": Codes(column="plan", words=("basic", "plus")),
        "numbers": numbers,
    },
    model=Reader,
    train=Train(epochs=1),
    recipes=(),
)

sees = Workload(
    name="sees",
    kind="classification",
    load=digits,
    schema=pa.DataFrameSchema({"digit": pa.Column("int64")}),
    target="digit",
    inputs={"photo": Image(column="photo", size=(24, 24))},
    model=Seer,
    train=Train(epochs=1),
    recipes=(),
)

told = replace(reads, name="told", kind=None, target=None, goal=Classify("kind"))
shown = replace(sees, name="shown", kind=None, target=None, goal=Classify("digit"))
"""The same with words in the answer."""
