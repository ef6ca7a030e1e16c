"""Trains in a process that it spawns; its loader forks workers."""

import torch
import torch.multiprocessing as mp
import torch.nn.functional as F
from torch import nn
from torch.utils.data import DataLoader, TensorDataset


def work(rank):
    torch.manual_seed(0)
    x = torch.randn(128, 16)
    model = nn.Sequential(nn.Linear(16, 24), nn.Tanh(), nn.Linear(24, 4))
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    loader = DataLoader(TensorDataset(x, x[:, :4].argmax(1)), batch_size=16, num_workers=2)
    for _ in range(2):
        for a, b in loader:
            optimizer.zero_grad()
            F.cross_entropy(model(a), b).backward()
            optimizer.step()
    print("done", sum(p.double().sum().item() for p in model.parameters()), flush=True)


if __name__ == "__main__":
    mp.spawn(work, nprocs=1)
