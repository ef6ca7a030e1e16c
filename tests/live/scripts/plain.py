"""A plain loop with arguments of its own."""

import argparse

import torch
import torch.nn.functional as F
from torch import nn

parser = argparse.ArgumentParser()
parser.add_argument("--steps", type=int, default=30)
parser.add_argument("--depth", type=int, default=3)
parser.add_argument("--sigmoid", action="store_true")
parser.add_argument("--compile", action="store_true")
arguments = parser.parse_args()

torch.manual_seed(0)
x = torch.randn(256, 16)
y = x[:, :4].argmax(1)
parts = []
for _ in range(arguments.depth):
    parts += [nn.Linear(16, 16), nn.Sigmoid() if arguments.sigmoid else nn.ReLU()]
model = nn.Sequential(*parts, nn.Linear(16, 4))
call = torch.compile(model) if arguments.compile else model
optimizer = torch.optim.Adam(model.parameters(), 3e-3)
for _ in range(arguments.steps):
    rows = torch.randint(len(x), (32,))
    loss = F.cross_entropy(call(x[rows]), y[rows])
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
if arguments.compile:
    from torch._dynamo.utils import counters

    print("breaks", sum(counters["graph_break"].values()), "graphs", counters["stats"]["unique_graphs"])
print("done", f"{loss.item():.6f}", sum(p.double().sum().item() for p in model.parameters()))
