"""Lightning's Trainer as most people call it: it validates, logs, and keeps checkpoints."""

import logging
import warnings

import lightning as pl
import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

warnings.filterwarnings("ignore")
logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
pl.seed_everything(0, verbose=False)


class Classifier(pl.LightningModule):
    def __init__(self):
        super().__init__()
        self.net = nn.Sequential(nn.Linear(16, 24), nn.Sigmoid(), nn.Linear(24, 24), nn.Sigmoid(), nn.Linear(24, 4))

    def training_step(self, batch, index):
        x, y = batch
        loss = F.cross_entropy(self.net(x), y)
        self.log("train_loss", loss)
        return loss

    def validation_step(self, batch, index):
        x, y = batch
        found = self.net(x)
        self.log("val_loss", F.cross_entropy(found, y))
        self.log("val_acc", (found.argmax(1) == y).float().mean())

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), 0.1)


x = torch.randn(320, 16)
rows = TensorDataset(x, x[:, :4].argmax(1))
model = Classifier()
trainer = pl.Trainer(
    max_epochs=6, log_every_n_steps=2, enable_progress_bar=False, enable_model_summary=False, accelerator="cpu"
)
trainer.fit(model, DataLoader(rows, batch_size=32, shuffle=True), DataLoader(rows, batch_size=64))
print("done", trainer.global_step)
