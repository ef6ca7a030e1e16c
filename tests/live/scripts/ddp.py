"""DDP over gloo; started by torchrun."""

import os
import sys

import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import nn
from torch.nn.parallel import DistributedDataParallel

dist.init_process_group("gloo")
torch.manual_seed(0)
model = nn.Sequential(nn.Linear(16, 24), nn.ReLU(), nn.Linear(24, 24), nn.ReLU(), nn.Linear(24, 4))
call = DistributedDataParallel(model)
if "--compile" in sys.argv:
    call = torch.compile(call)
optimizer = torch.optim.Adam(model.parameters(), 3e-3)
torch.manual_seed(1 + dist.get_rank())
for _ in range(20):
    x = torch.randn(32, 16)
    optimizer.zero_grad()
    F.cross_entropy(call(x), x[:, :4].argmax(1)).backward()
    optimizer.step()
if os.environ["RANK"] == "0":
    print("done", sum(p.double().sum().item() for p in model.parameters()))
dist.destroy_process_group()
