"""Ends as it is told to: by an error, an exit code, a signal, by itself."""

import os
import signal
import sys

import torch
from torch import nn

model = nn.Linear(4, 2)
optimizer = torch.optim.SGD(model.parameters(), 0.1)
for _ in range(3):
    optimizer.zero_grad()
    model(torch.ones(2, 4)).sum().backward()
    optimizer.step()
print(sys.argv, __name__, os.path.basename(__file__), sys.path[0] == os.path.dirname(os.path.abspath(__file__)))
how = sys.argv[1]
if how == "raises":
    raise RuntimeError("the user's own error")
if how == "exits":
    sys.exit(int(sys.argv[2]))
if how == "again" and not os.environ.get("SECOND"):
    os.environ["SECOND"] = "1"
    os.execv(sys.executable, [sys.executable, *sys.argv])
if how == "killed":
    os.kill(os.getpid(), getattr(signal, sys.argv[2]))
if how == "waits":
    print("waiting", flush=True)
    import time

    time.sleep(60)
if how == "counts":
    import time

    got = []
    for name in sys.argv[2:]:
        signal.signal(getattr(signal, name), lambda number, frame: got.append(number))
    print("waiting", flush=True)
    until = time.monotonic() + 20
    while not got and time.monotonic() < until:
        time.sleep(0.05)
    time.sleep(1.5)
    print("signals", len(got), flush=True)
    sys.exit(7)
