"""The training that `slipway new --like lightning` puts into the table's template: yours goes where LitChurn is."""

from typing import TYPE_CHECKING, Any

from tasks.workloads import Training

if TYPE_CHECKING:
    import torch
    from torch import nn


def fit(module: "nn.Module", training: Training) -> None:
    """The training, by Lightning: pip install 'slipway[lightning]'. Killed at any moment it goes on from its last epoch, to the bit."""
    import pytorch_lightning as pl
    import torch
    from torch.nn.functional import cross_entropy

    class LitChurn(pl.LightningModule):
        def __init__(self) -> None:
            super().__init__()
            self.net = module

        def training_step(self, batch: Any, _: int) -> "torch.Tensor":
            loss: torch.Tensor = cross_entropy(self.net(**batch.inputs), batch.targets["logits"])
            return loss

        def configure_optimizers(self) -> "torch.optim.Optimizer":
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
    trainer.fit(LitChurn(), training.loader(), ckpt_path=training.resume())
