"""One network, trained by an optimizer for its matrices and another for its biases."""

import torch
import torch.nn.functional as F
from torch import nn

torch.manual_seed(0)
parts = []
for _ in range(4):
    parts += [nn.Linear(16, 16), nn.Sigmoid()]
model = nn.Sequential(*parts, nn.Linear(16, 4))
optimizers = [
    torch.optim.SGD([p for p in model.parameters() if p.dim() > 1], 0.05, momentum=0.9),
    torch.optim.AdamW([p for p in model.parameters() if p.dim() == 1], 1e-3),
]
schedules = [torch.optim.lr_scheduler.CosineAnnealingLR(o, 60) for o in optimizers]
for _ in range(60):
    x = torch.randn(32, 16)
    loss = F.cross_entropy(model(x), x[:, :4].argmax(1))
    for optimizer in optimizers:
        optimizer.zero_grad()
    loss.backward()
    for optimizer, schedule in zip(optimizers, schedules, strict=True):
        optimizer.step()
        schedule.step()
print("done", loss.item())
