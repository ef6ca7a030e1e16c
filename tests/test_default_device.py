"""Scripts that set a default device: what is ours lies where we need it, whatever the script has chosen.

The default here is `meta`, whose tensors hold nothing: whatever we made there by mistake fails at its first use.
"""

import os
import subprocess
import sys

SCRIPT = """
import torch
torch.set_default_device("meta")
import torch.nn.functional as F
from torch import nn
import fadeout

cpu = {"device": "cpu"}
draw = torch.Generator().manual_seed(0)
x = torch.randn(32, 6, generator=draw, **cpu)
y = torch.randint(0, 3, (32,), generator=draw, **cpu)


def net(act=nn.Sigmoid):
    hidden = [m for _ in range(10) for m in (nn.Linear(6, 6, **cpu), act())]
    return nn.Sequential(*hidden, nn.Linear(6, 3, **cpu))


class Reader(nn.Module):
    def __init__(self, kind):
        super().__init__()
        self.rnn, self.out = kind(4, 8, 2, batch_first=True, **cpu), nn.Linear(8, 3, **cpu)

    def forward(self, x):
        return self.out(self.rnn(x)[0][:, -1])


class Loop(nn.Module):
    def __init__(self):
        super().__init__()
        self.cell, self.out = nn.Linear(12, 8, **cpu), nn.Linear(8, 3, **cpu)

    def forward(self, x):
        h = x.new_zeros(len(x), 8)
        for t in range(x.shape[1]):
            h = torch.tanh(self.cell(torch.cat([x[:, t], h], -1)))
        return self.out(h)


exam = fadeout.examine(net(), (x, y), loss=F.cross_entropy)
print(exam.verdict)
print(fadeout.examine(net(nn.ReLU), (x, y), loss=F.cross_entropy).verdict)
for kind in (nn.LSTM, nn.GRU, nn.RNN):
    print(len(fadeout.examine(Reader(kind), (torch.randn(32, 12, 4, **cpu), y), loss=F.cross_entropy).time))
print(len(fadeout.examine(Loop(), (torch.randn(32, 12, 4, **cpu), y), loss=F.cross_entropy).time))
blocks = nn.TransformerEncoder(nn.TransformerEncoderLayer(16, 2, 32, batch_first=True, **cpu), 2)
tokens = torch.randn(4, 9, 16, **cpu)
print(fadeout.examine(blocks, (tokens, tokens), loss=F.mse_loss).verdict)
model = net()
optimizer = torch.optim.Adam(model.parameters(), 1e-3)
print(fadeout.examine(model, [(x, y)] * 4, loss=F.cross_entropy, optimizer=optimizer, steps=12).verdict)
print(fadeout.predict(net(), x).decades < -3)
with fadeout.watch(model, optimizer, store=sys_path, live=False) as seen:
    for _ in range(12):
        optimizer.zero_grad()
        F.cross_entropy(model(x), y).backward()
        optimizer.step()
print(seen.exam.verdict, seen.ended)
"""


def test_a_default_device_of_the_script_is_not_ours(tmp_path):
    script = f"sys_path = {str(tmp_path / 'run.db')!r}\n" + SCRIPT
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, env=dict(os.environ))
    assert done.returncode == 0, done.stderr[-3000:]
    print(done.stdout)
