"""A LightningModule of one's own, to a champion. Make it yours: replace load_frame, schema, build_model and Tumours.

It runs as it stands, on the 569 breast tumours that ship inside scikit-learn. Lightning's Trainer turns the crank; one callback
offers each epoch's weights and saves Lightning's own checkpoint, so that a killed training goes on to the bit (docs/own-training.md).
It needs the package pytorch-lightning: pip install 'slipway[lightning]'.
"""

from typing import TYPE_CHECKING, Any

from tasks.config import Gates, Train
from tasks.goals import Classify
from tasks.workloads import DEFAULT_RECIPES, Training, Workload

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd
    import pandera.pandas as pa
    from torch import nn


def load_frame() -> "pd.DataFrame":
    """One row an example, the same rows every time: 30 measurements of a tumour's cells, and what it was."""
    from sklearn.datasets import load_breast_cancer

    frame = load_breast_cancer(as_frame=True).frame
    return frame.assign(tumour=frame.pop("target").map({0: "malignant", 1: "benign"}))


def schema() -> "pa.DataFrameSchema":
    """What a valid row is: a run on rows that break it ends before anything is trained (pandera.readthedocs.io)."""
    import pandera.pandas as pa

    return pa.DataFrameSchema(
        {
            "mean radius": pa.Column("float64", pa.Check.gt(0)),
            "tumour": pa.Column(str, pa.Check.isin(["benign", "malignant"])),
        }
    )


def to_inputs(frame: "pd.DataFrame") -> "dict[str, np.ndarray[Any, Any]]":
    """{"cells": float32[n, 30]}: the names of `forward`, and of a request."""
    return {"cells": frame.drop(columns="tumour", errors="ignore").to_numpy("float32")}


def build_model(inputs: "dict[str, np.ndarray[Any, Any]]") -> "nn.Module":
    """What ships: a plain module that keeps the mean and scale of its training inputs. Your LightningModule trains it."""
    import torch
    from torch import nn

    class Net(nn.Module):
        mean: torch.Tensor
        scale: torch.Tensor

        def __init__(self) -> None:
            super().__init__()
            cells = torch.tensor(inputs["cells"])
            self.register_buffer("mean", cells.mean(0))
            self.register_buffer("scale", cells.std(0) + 1e-6)
            self.layers = nn.Sequential(
                nn.Linear(cells.shape[1], 32), nn.ReLU(), nn.Dropout(0.2), nn.Linear(32, 2)
            )

        def forward(self, cells: torch.Tensor) -> torch.Tensor:
            logits: torch.Tensor = self.layers((cells - self.mean) / self.scale)
            return logits

    return Net()


def fit(module: "nn.Module", training: Training) -> None:
    """Lightning's own loop; the best of what is offered is what ships."""
    import pytorch_lightning as pl
    import torch
    from torch.nn.functional import cross_entropy

    class Tumours(pl.LightningModule):
        def __init__(self) -> None:
            super().__init__()
            self.net = module

        def training_step(self, batch: Any, _: int) -> torch.Tensor:
            loss: torch.Tensor = cross_entropy(self.net(**batch.inputs), batch.targets["logits"])
            return loss

        def configure_optimizers(self) -> torch.optim.Optimizer:
            return torch.optim.AdamW(self.parameters(), lr=training.config.lr)

    class Keep(pl.Callback):
        def on_train_epoch_end(self, trainer: Any, _: Any) -> None:
            training.offer(module, epoch=trainer.current_epoch)  # judged; the best one ships
            trainer.save_checkpoint(path := training.folder / "last.ckpt", weights_only=False)
            training.save(path, epoch=trainer.current_epoch)

    trainer = pl.Trainer(
        max_epochs=training.config.epochs,
        accelerator=training.device.type,
        devices=1,
        callbacks=[Keep()],
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    trainer.fit(Tumours(), training.loader(), ckpt_path=training.resume())


workload = Workload(
    name="template",  # the registered model's name
    goal=Classify("tumour"),
    load=load_frame,
    schema=schema,
    inputs=to_inputs,
    model=build_model,
    fit=fit,
    train=Train(epochs=15, lr=3e-3, batch_size=32),
    recipes=DEFAULT_RECIPES,  # compression candidates to try; () ships the model as it is
    gates=Gates(min_score=0.9),  # what a version has to hold to be promoted
)
