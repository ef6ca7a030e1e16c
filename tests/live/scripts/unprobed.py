"""A network whose forward can be called once a batch only, so that no probe succeeds."""

import torch
from torch import nn


class Once(nn.Module):
    def __init__(self):
        super().__init__()
        self.body = nn.Linear(4, 1)

    def forward(self, batch):
        if not batch:
            raise LookupError("this batch was used before")
        return self.body(batch.pop())


model = Once()
optimizer = torch.optim.SGD(model.parameters(), 0.1)
used = set()
batches = iter([torch.randn(8, 4) for _ in range(20)])


class Batch:
    def __init__(self):
        self.rows = next(batches)

    def __bool__(self):
        return id(self) not in used

    def pop(self):
        used.add(id(self))
        kept.append(self)
        return self.rows


kept = []
for _ in range(20):
    optimizer.zero_grad()
    model(Batch()).pow(2).mean().backward()
    optimizer.step()
print("done")
