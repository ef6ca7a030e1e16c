"""An adversarial pair that steps at once: both losses go back first, then both optimizers step."""

import torch
import torch.nn.functional as F
from torch import nn

torch.manual_seed(0)
generator = nn.Sequential(nn.Linear(4, 32), nn.ReLU(), nn.Linear(32, 2))
discriminator = nn.Sequential(nn.Linear(2, 32), nn.LeakyReLU(0.2), nn.Linear(32, 1))
to_make = torch.optim.Adam(generator.parameters(), 1e-3)
to_judge = torch.optim.Adam(discriminator.parameters(), 1e-3)
one, zero = torch.ones(64, 1), torch.zeros(64, 1)
for _ in range(60):
    fake = generator(torch.randn(64, 4))
    real = discriminator(torch.randn(64, 2) * 0.5 + 2)
    judged = discriminator(fake)
    makes = F.binary_cross_entropy_with_logits(judged, one)
    judges = F.binary_cross_entropy_with_logits(real, one) + F.binary_cross_entropy_with_logits(judged, zero)
    to_make.zero_grad()
    makes.backward(retain_graph=True, inputs=list(generator.parameters()))
    to_judge.zero_grad()
    judges.backward(inputs=list(discriminator.parameters()))
    to_make.step()
    to_judge.step()
print("done", sum(p.double().sum().item() for p in [*generator.parameters(), *discriminator.parameters()]))
