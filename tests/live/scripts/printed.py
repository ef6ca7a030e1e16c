"""Trains for several epochs and prints what it measures after each."""

import torch
import torch.nn.functional as F
from torch import nn

torch.manual_seed(0)
x = torch.randn(256, 16)
y = x[:, :4].argmax(1)
model = nn.Sequential(nn.Linear(16, 24), nn.Sigmoid(), nn.Linear(24, 24), nn.Sigmoid(), nn.Linear(24, 4))
optimizer = torch.optim.SGD(model.parameters(), 0.1)
for epoch in range(6):
    for rows in torch.randperm(len(x)).split(32):
        optimizer.zero_grad()
        F.cross_entropy(model(x[rows]), y[rows]).backward()
        optimizer.step()
    with torch.no_grad():
        print(f"epoch {epoch}: val_acc={(model(x).argmax(1) == y).float().mean().item():.4f}", flush=True)
