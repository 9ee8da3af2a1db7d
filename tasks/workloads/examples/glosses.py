"""What kind of thing a dictionary's definition defines: 63,245 of WordNet's noun glosses in its ten largest lexical classes.

The model takes the text's bytes and finds the words by itself, so training and serving cannot cut them differently.
"""

import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tasks.config import Gates, Train
from tasks.errors import UserError
from tasks.recipes import Recipe
from tasks.workloads.workload import Workload

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd
    import pandera.pandas as pa
    from torch import Tensor, nn

KINDS = {
    **{4: "act", 5: "animal", 6: "artifact", 7: "attribute", 10: "communication"},
    **{15: "location", 18: "person", 20: "plant", 26: "state", 27: "substance"},
}
"""WordNet's numbers of its ten largest classes of nouns (lexnames(5WN)); they hold 77% of all glosses."""

LENGTH, WORDS, WIDTH = 128, 24, 64

ROWS, PAIR_ROWS = 2**15, 2**16

PRIME = 2**31 - 1


def load_frame() -> "pd.DataFrame":
    """One row a gloss: the definition without its examples, and its class."""
    import pandas as pd

    path = Path(os.environ.get("WORDNET_HOME") or "/usr/share/wordnet") / "data.noun"
    try:
        lines = path.read_text(encoding="ascii").splitlines()
    except FileNotFoundError as error:
        raise UserError(
            f"WordNet is not at {path}: apt-get install wordnet-base, or set WORDNET_HOME to the folder of data.noun."
        ) from error
    except UnicodeDecodeError as error:
        raise UserError(
            f"{path} is not ASCII text at byte {error.start}: WordNet 3.0's data.noun is needed."
        ) from error
    parts = [line.partition(" | ") for line in lines if not line.startswith("  ")]  # its licence is indented
    rows = [(gloss.split('; "')[0].strip(), int(head.split()[1])) for head, _, gloss in parts]
    frame = pd.DataFrame(rows, columns=["gloss", "number"])
    frame = frame[frame["number"].isin(KINDS)].reset_index(drop=True)
    return pd.DataFrame({"gloss": frame["gloss"], "kind": frame["number"].map(KINDS).astype(str)})


def schema() -> "pa.DataFrameSchema":
    import pandera.pandas as pa

    kind = pa.Column(str, pa.Check.isin(list(KINDS.values())))
    return pa.DataFrameSchema(
        {"gloss": pa.Column(str, pa.Check.str_length(min_value=1)), "kind": kind}, strict=True
    )


def to_inputs(frame: "pd.DataFrame") -> "dict[str, np.ndarray[Any, Any]]":
    """{"text": uint8[n, 128]}: UTF-8, cut there, zeros behind the end. A request may be of any other length."""
    import numpy as np

    cut = [gloss.encode()[:LENGTH] for gloss in frame["gloss"]]
    return {"text": np.array(cut, dtype=f"S{LENGTH}").view("uint8").reshape(-1, LENGTH)}


def hash_words(text: "Tensor", multipliers: "Tensor") -> "tuple[Tensor, Tensor]":
    """uint8[n, length] → for each of the first 24 words three numbers below PRIME, int64[n, 3, 24]; and which there are.

    The whole word, its first four characters, its last three: each a sum of characters times a random multiplier for
    the place, modulo a prime (universal hashing; Carter & Wegman 1979). ASCII capitals are small letters.
    """
    import torch
    from torch.nn.functional import pad

    codes = text.long()
    codes = codes + 32 * ((codes >= 65) & (codes <= 90))
    of_word = ((codes >= 97) & (codes <= 122)) | ((codes >= 48) & (codes <= 57)) | (codes >= 128)
    letter = of_word.long()
    begins = letter * (1 - pad(letter, (1, 0))[:, :-1])
    number = begins.cumsum(1) * letter
    mine = (number.unsqueeze(1) == torch.arange(1, WORDS + 1, device=text.device).unsqueeze(1)).long()
    position = torch.arange(text.shape[1], device=text.device)
    first = (mine * (begins * position).unsqueeze(1)).sum(2, keepdim=True)
    size = mine.sum(2, keepdim=True)
    from_start = position - (mine * first).sum(1)
    from_end = (mine * (first + size)).sum(1) - position
    last = len(multipliers) - 1
    forward = codes * multipliers[from_start.clamp(0, last)]
    backward = codes * multipliers[from_end.clamp(0, last)]
    chosen = [
        forward * letter,
        forward * (from_start < 4).long(),
        backward * (from_end <= 3).long(),
    ]
    hashes = [(mine * values.unsqueeze(1)).sum(2) % PRIME for values in chosen]
    return torch.stack(hashes, 1), size.squeeze(2) > 0


def _transformer() -> "nn.Module":
    """One encoder block before its norm, four heads; [n, 24, 64] and a mask [n, 24, 1] to the same."""
    from torch import nn

    class Block(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.place = nn.Parameter(nn.init.normal_(nn.Embedding(WORDS, WIDTH).weight.detach(), std=0.02))
            self.before, self.between = nn.LayerNorm(WIDTH), nn.LayerNorm(WIDTH)
            self.query, self.key, self.value, self.out = (nn.Linear(WIDTH, WIDTH) for _ in range(4))
            self.mix = nn.Sequential(nn.Linear(WIDTH, 128), nn.GELU(), nn.Dropout(0.3), nn.Linear(128, WIDTH))
            self.dropout = nn.Dropout(0.3)

        def forward(self, hidden: "Tensor", mask: "Tensor") -> "Tensor":
            hidden = hidden + self.place
            normed = self.before(hidden)
            layers = (self.query, self.key, self.value)
            query, key, value = (layer(normed).unflatten(-1, (4, -1)).transpose(1, 2) for layer in layers)
            absent = (1 - mask).transpose(1, 2).unsqueeze(1) * -1e4
            weights = (query @ key.transpose(2, 3) / key.shape[-1] ** 0.5 + absent).softmax(-1)
            hidden = hidden + self.dropout(self.out((weights @ value).transpose(1, 2).flatten(2)))
            mixed: Tensor = hidden + self.dropout(self.mix(self.between(hidden)))
            return mixed

    return Block()


def _lstm() -> "nn.Module":
    """An LSTM of width 32 in both directions, which makes the 64 that the head takes."""
    from torch import nn

    class BiLstm(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.lstm = nn.LSTM(WIDTH, WIDTH // 2, batch_first=True, bidirectional=True)

        def forward(self, hidden: "Tensor", mask: "Tensor") -> "Tensor":
            read: Tensor = self.lstm(hidden * mask)[0]
            return read

    return BiLstm()


def _build(make_encoder: "Callable[[], nn.Module]") -> "Callable[[], nn.Module]":
    """Bytes → words → encoder → pooled, plus each word's and each pair's own vote ("wide & deep"; Cheng et al. 2016)."""

    def build() -> "nn.Module":
        import torch
        from torch import nn

        class GlossNet(nn.Module):
            multipliers: "Tensor"

            def __init__(self) -> None:
                super().__init__()
                chance = torch.Generator().manual_seed(7)
                self.register_buffer("multipliers", torch.randint(1, PRIME, (64,), generator=chance))
                self.words = nn.Embedding(ROWS, WIDTH)
                nn.init.normal_(self.words.weight, std=0.3)
                self.votes = nn.Embedding(PAIR_ROWS, len(KINDS))
                nn.init.zeros_(self.votes.weight)
                self.encoder = make_encoder()
                self.dropout = nn.Dropout(0.3)
                self.head = nn.Linear(2 * WIDTH, len(KINDS))

            def forward(self, text: "Tensor") -> "Tensor":
                hashes, there = hash_words(text, self.multipliers)
                if self.training:
                    there = there & (torch.rand_like(there, dtype=torch.float32) > 0.15)
                mask = there.unsqueeze(2).to(torch.float32)
                count = mask.sum(1).clamp(min=1)
                kinds = torch.tensor([1, 7919, 104729], device=text.device).view(1, 3, 1)
                hidden = self.dropout(self.words(hashes * kinds % ROWS).sum(1))
                hidden = self.encoder(hidden, mask)
                highest = (hidden * mask + (mask - 1) * 50).amax(1) * mask.amax(1)
                pooled = torch.cat([(hidden * mask).sum(1) / count, highest], 1)
                word = hashes[:, 0]
                pair = word * 31 + nn.functional.pad(word, (0, 1))[:, 1:] * 17
                votes = (self.votes(word % PAIR_ROWS) + self.votes(pair % PAIR_ROWS)) * mask
                logits: Tensor = self.head(pooled) + 8 * votes.sum(1) / count.sqrt()
                return logits

        return GlossNet()

    return build


workload = Workload(
    name="glosses",
    kind="classification",
    load=load_frame,
    schema=schema,
    target="kind",
    inputs=to_inputs,
    model={"transformer": _build(_transformer), "lstm": _build(_lstm)},
    dynamic={"text": {1: "length"}},
    slices=("kind",),
    train=Train(epochs=3, lr=2e-3, batch_size=128, weight_decay=0.05, patience=None),
    recipes=(
        Recipe.model_validate({"name": "int8-dynamic", "steps": [{"kind": "quantize", "mode": "dynamic"}]}),
        Recipe.model_validate({"name": "float16", "steps": [{"kind": "float16"}]}),
    ),
    gates=Gates(min_score=0.84),
)
