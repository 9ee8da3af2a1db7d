"""What is a message about? Make it yours: replace load_frame, schema, tokenizer and build_model.

It runs as it stands, on messages that it makes up. A request brings text: {"inputs": {"message": ["where is my parcel"]}}, or
the text alone as text/plain; the tokenizer travels with the model. It needs the package tokenizers: pip install 'slipway[text]'.
"""

from typing import TYPE_CHECKING, Any

from tasks.codecs import Text
from tasks.config import Gates, Train
from tasks.goals import Classify
from tasks.workloads import DEFAULT_RECIPES, Workload

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd
    import pandera.pandas as pa
    from torch import nn

SAID = {
    "billing": "invoice charged twice refund money card paid wrong amount receipt price",
    "delivery": "parcel late arrived broken courier address where shipped tracking missing",
    "login": "password forgot account locked email code reset cannot sign enter",
}

AROUND = "hello please my the is was i have a and not it again today thanks help with order why"

WORDS = sorted({*" ".join([*SAID.values(), AROUND]).split()})


def load_frame() -> "pd.DataFrame":
    """One row an example, the same rows every time. Yours may be `return pd.read_csv(Path(__file__).with_name("messages.csv"))`."""
    import numpy as np
    import pandas as pd

    draw = np.random.default_rng(0)
    rows = []
    for topic in draw.choice([*SAID], 3000):
        words = [*draw.choice(SAID[topic].split(), 2), *draw.choice(AROUND.split(), draw.integers(2, 9))]
        if draw.random() < 0.3:  # people write of more than one thing
            words.append(draw.choice(SAID[draw.choice([*SAID])].split()))
        rows.append((" ".join(draw.permutation(words)), topic))
    return pd.DataFrame(rows, columns=["message", "topic"])


def schema() -> "pa.DataFrameSchema":
    """What a valid row is: a run on rows that break it ends before anything is trained (pandera.readthedocs.io)."""
    import pandera.pandas as pa

    return pa.DataFrameSchema(
        {
            "message": pa.Column(str, pa.Check.str_length(1, 2000)),
            "topic": pa.Column(str, pa.Check.isin([*SAID])),
        }
    )


def tokenizer() -> str:
    """A tokenizer.json of words. Yours may be a file's path: tokenizer.save_pretrained(folder) of transformers writes one."""
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers

    numbers = {word: number for number, word in enumerate(["[PAD]", "[UNK]", *WORDS])}
    words = Tokenizer(models.WordLevel(numbers, unk_token="[UNK]"))
    words.normalizer = normalizers.Sequence([normalizers.NFKC(), normalizers.Lowercase()])
    words.pre_tokenizer = pre_tokenizers.Whitespace()
    return str(words.to_str())


def build_model(inputs: "dict[str, np.ndarray[Any, Any]]") -> "nn.Module":
    """The module, from the training inputs: {"input_ids": int64[n, length], "attention_mask": int64[n, length]}, 0 where there is no word."""
    import torch
    from torch import nn

    class Topics(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.embed = nn.Embedding(len(WORDS) + 2, 32)
            self.layers = nn.Sequential(
                nn.Linear(32, 64), nn.ReLU(), nn.Dropout(0.1), nn.Linear(64, len(SAID))
            )

        def forward(self, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> torch.Tensor:
            there = attention_mask[..., None].to(torch.float32)
            mean = (self.embed(input_ids) * there).sum(1) / there.sum(1).clamp(min=1)  # also of an empty text
            logits: torch.Tensor = self.layers(mean)
            return logits

    return Topics()


workload = Workload(
    name="template",  # the registered model's name
    load=load_frame,
    schema=schema,
    goal=Classify("topic"),  # the column to predict: an answer is its word, and the probability of each
    # what a request brings, by name; more may stand beside it: Image(…), Codes(…), or a function of the frame for numbers
    inputs={"message": Text(column="message", tokenizer=tokenizer, length=32)},
    model=build_model,
    train=Train(epochs=8, lr=5e-3),
    recipes=DEFAULT_RECIPES,  # compression candidates to try; () ships the model as it is
    gates=Gates(min_score=0.8),  # what a version has to hold to be promoted
)
