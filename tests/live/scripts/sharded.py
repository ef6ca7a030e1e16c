"""FSDP2: parameters are DTensors; started by torchrun."""

import os

import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard

dist.init_process_group("gloo")
mesh = init_device_mesh("cpu", (dist.get_world_size(),))
torch.manual_seed(0)
model = nn.Sequential(nn.Linear(16, 24), nn.ReLU(), nn.Linear(24, 24), nn.ReLU(), nn.Linear(24, 4))
for layer in model:
    if isinstance(layer, nn.Linear):
        fully_shard(layer, mesh=mesh)
fully_shard(model, mesh=mesh)
optimizer = torch.optim.Adam(model.parameters(), 3e-3)
torch.manual_seed(1 + dist.get_rank())
norms = []
for _ in range(12):
    x = torch.randn(32, 16)
    optimizer.zero_grad()
    F.cross_entropy(model(x), x[:, :4].argmax(1)).backward()
    norms.append([p.grad.full_tensor().norm().item() for p in model.parameters()])
    optimizer.step()
total = sum(p.full_tensor().double().sum().item() for p in model.parameters())
if os.environ["RANK"] == "0":
    print("done", total, norms)
dist.destroy_process_group()
