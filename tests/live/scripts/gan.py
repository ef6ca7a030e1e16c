"""A small adversarial pair."""

import torch
import torch.nn.functional as F
from torch import nn

torch.manual_seed(0)


class Generator(nn.Module):
    def __init__(self):
        super().__init__()
        self.body = nn.Sequential(nn.Linear(4, 32), nn.ReLU(), nn.Linear(32, 2))

    def forward(self, z):
        return self.body(z)


class Discriminator(nn.Module):
    def __init__(self):
        super().__init__()
        self.body = nn.Sequential(nn.Linear(2, 32), nn.LeakyReLU(0.2), nn.Linear(32, 1))

    def forward(self, x):
        return self.body(x)


generator, discriminator = Generator(), Discriminator()
to_make = torch.optim.Adam(generator.parameters(), 1e-3, betas=(0.5, 0.999))
to_judge = torch.optim.Adam(discriminator.parameters(), 1e-3, betas=(0.5, 0.999))
one, zero = torch.ones(64, 1), torch.zeros(64, 1)
for _ in range(30):
    real = torch.randn(64, 2) * 0.5 + 2
    fake = generator(torch.randn(64, 4))
    to_judge.zero_grad()
    loss = F.binary_cross_entropy_with_logits(discriminator(real), one)
    loss = loss + F.binary_cross_entropy_with_logits(discriminator(fake.detach()), zero)
    loss.backward()
    to_judge.step()
    to_make.zero_grad()
    F.binary_cross_entropy_with_logits(discriminator(fake), one).backward()
    to_make.step()
print("done", sum(p.double().sum().item() for p in [*generator.parameters(), *discriminator.parameters()]))
