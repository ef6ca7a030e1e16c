"""LBFGS: a step asks its closure several times."""

import torch
import torch.nn.functional as F
from torch import nn

torch.manual_seed(0)
x = torch.randn(64, 8)
y = x[:, :3].argmax(1)
model = nn.Sequential(nn.Linear(8, 12), nn.Sigmoid(), nn.Linear(12, 12), nn.Sigmoid(), nn.Linear(12, 3))
optimizer = torch.optim.LBFGS(model.parameters(), lr=0.2, max_iter=4)


def closure():
    optimizer.zero_grad()
    loss = F.cross_entropy(model(x), y)
    loss.backward()
    return loss


for _ in range(40):
    loss = optimizer.step(closure)
print("done", loss.item())
