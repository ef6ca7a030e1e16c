"""Trains in a thread of its own, while the first one waits."""

import threading

import torch
import torch.nn.functional as F
from torch import nn


def work():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(16, 24), nn.Sigmoid(), nn.Linear(24, 24), nn.Sigmoid(), nn.Linear(24, 4))
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    for _ in range(60):
        x = torch.randn(32, 16)
        optimizer.zero_grad()
        F.cross_entropy(model(x), x[:, :4].argmax(1)).backward()
        optimizer.step()
    print("done", sum(p.double().sum().item() for p in model.parameters()), flush=True)


thread = threading.Thread(target=work)
thread.start()
thread.join()
