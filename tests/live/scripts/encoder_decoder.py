"""Two networks under one loss, an optimizer each: what the second one is given is made by the first."""

import torch
import torch.nn.functional as F
from torch import nn

torch.manual_seed(0)
encoder = nn.Sequential(nn.Linear(16, 24), nn.Sigmoid(), nn.Linear(24, 8), nn.Sigmoid())
decoder = nn.Sequential(nn.Linear(8, 24), nn.Sigmoid(), nn.Linear(24, 4))
optimizers = [torch.optim.SGD(part.parameters(), 0.1) for part in (encoder, decoder)]
for _ in range(60):
    x = torch.randn(32, 16)
    for optimizer in optimizers:
        optimizer.zero_grad()
    F.cross_entropy(decoder(encoder(x)), x[:, :4].argmax(1)).backward()
    for optimizer in optimizers:
        optimizer.step()
print("done", sum(p.double().sum().item() for part in (encoder, decoder) for p in part.parameters()))
