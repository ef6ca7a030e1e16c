"""Examples of every finding: the smallest networks whose exam holds it, one function a code.

Each is deterministic and runs in a few seconds.  A page of this folder shows the body of its
function, with `fadeout.examine` where `asked` stands here.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

import fadeout
from fadeout.records import Exam


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """What is passed to fadeout.examine."""

    positional: tuple[Any, ...]
    named: dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Example:
    """A finding's code and the function that makes the call whose exam holds it."""

    code: str
    make: Callable[[], Call]


def asked(*positional: Any, **named: Any) -> Call:
    return Call(positional=positional, named=named)


def run(example: Example) -> Exam:
    """The exam of one example; the random state is put back."""
    with torch.random.fork_rng(devices=[]):
        call = example.make()
        return fadeout.examine(*call.positional, **call.named)


def vanishing() -> Call:
    torch.manual_seed(0)
    x = torch.randn(256, 64)
    y = x[:, :4].argmax(1)
    model = nn.Sequential(*(m for _ in range(12) for m in (nn.Linear(64, 64), nn.Sigmoid())), nn.Linear(64, 4))
    adam = torch.optim.Adam(model.parameters(), lr=1e-3)
    return asked(model, (x, y), loss=F.cross_entropy, optimizer=adam)


def exploding() -> Call:
    torch.manual_seed(0)
    x = torch.randn(256, 64)
    y = x[:, :4].argmax(1)
    model = nn.Sequential(*(m for _ in range(16) for m in (nn.Linear(64, 64), nn.ReLU())), nn.Linear(64, 4))
    for p in model.parameters():
        nn.init.normal_(p, std=0.3)
    return asked(model, (x, y), loss=F.cross_entropy)


class Frozen(nn.Module):
    """An encoder under a head, and one call too many."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder = nn.Sequential(nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, 32), nn.ReLU())
        self.head = nn.Linear(32, 4)

    def forward(self, x: Tensor) -> Tensor:
        code = self.encoder(x).detach()
        return self.head(code)


def severed() -> Call:
    torch.manual_seed(0)
    x = torch.randn(256, 64)
    y = x[:, :4].argmax(1)
    return asked(Frozen(), (x, y), loss=F.cross_entropy)


def not_finite() -> Call:
    torch.manual_seed(0)
    x = torch.randn(256, 64)
    y = x[:, :4].argmax(1)
    model = nn.Sequential(nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 4), nn.Softmax(1))
    nn.init.normal_(model[2].weight, std=30)
    return asked(model, (x, y), loss=lambda p, y: F.nll_loss(p.log(), y))


def dead() -> Call:
    torch.manual_seed(0)
    x = torch.randn(256, 64)
    y = x[:, :4].argmax(1)
    model = nn.Sequential(*(m for _ in range(4) for m in (nn.Linear(64, 64), nn.ReLU())), nn.Linear(64, 4))
    sgd = torch.optim.SGD(model.parameters(), lr=10)
    return asked(model, [(x, y)], loss=F.cross_entropy, optimizer=sgd, steps=40)


def saturated() -> Call:
    torch.manual_seed(0)
    x = torch.randn(256, 64)
    y = x[:, :4].argmax(1)
    model = nn.Sequential(nn.Linear(64, 64), nn.Tanh(), nn.Linear(64, 64), nn.Tanh(), nn.Linear(64, 4))
    for layer in model[:4:2]:
        nn.init.normal_(layer.weight, std=3)
    return asked(model, (x, y), loss=F.cross_entropy)


def bad_init() -> Call:
    torch.manual_seed(0)
    x = torch.randn(256, 64)
    y = x[:, :4].argmax(1)
    model = nn.Sequential(nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 4))
    for p in model.parameters():
        nn.init.constant_(p, 0.01)
    adam = torch.optim.Adam(model.parameters(), lr=1e-3)
    return asked(model, [(x, y)], loss=F.cross_entropy, optimizer=adam, steps=21)


class Reader(nn.Module):
    """The last state of a recurrence, and a head on it."""

    def __init__(self, rnn: nn.Module) -> None:
        super().__init__()
        self.rnn, self.head = rnn, nn.Linear(32, 4)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.rnn(x)[0][:, -1])


def forgetting() -> Call:
    torch.manual_seed(0)
    x = torch.randn(64, 60, 4)
    y = x[:, 0].argmax(1)  # the answer stands in the first of 60 steps
    model = Reader(nn.RNN(4, 32, batch_first=True))
    adam = torch.optim.Adam(model.parameters(), lr=1e-3)
    return asked(model, [(x, y)], loss=F.cross_entropy, optimizer=adam, steps=12)


class Residual(nn.Module):
    """A pre-norm block: x + f(norm(x))."""

    def __init__(self) -> None:
        super().__init__()
        self.branch = nn.Sequential(nn.LayerNorm(32), nn.Linear(32, 64), nn.GELU(), nn.Linear(64, 32))

    def forward(self, x: Tensor) -> Tensor:
        return x + self.branch(x)


def diluted() -> Call:
    torch.manual_seed(0)
    x = torch.randn(128, 32)
    y = (x[:, 0] * x[:, 1] > 0).long() + 2 * (x[:, 2] * x[:, 3] > 0)
    model = nn.Sequential(*(Residual() for _ in range(16)), nn.LayerNorm(32), nn.Linear(32, 4))
    adam = torch.optim.Adam(model.parameters(), lr=0.03)
    return asked(model, [(x, y)], loss=F.cross_entropy, optimizer=adam, steps=74)


class Streams(nn.Module):
    """Four residual streams, mixed freely before every block."""

    def __init__(self) -> None:
        super().__init__()
        self.mix = nn.ParameterList(torch.eye(4) + 0.5 * torch.randn(4, 4) for _ in range(16))
        self.blocks = nn.ModuleList(nn.Linear(32, 32) for _ in range(16))
        self.head = nn.Linear(32, 4)

    def forward(self, x: Tensor) -> Tensor:
        s = x[:, None].repeat(1, 4, 1)
        for mix, block in zip(self.mix, self.blocks, strict=True):
            s = mix @ s
            s = s + 0.1 * F.gelu(block(s.mean(1)))[:, None]
        return self.head(s.mean(1))


def streams() -> Call:
    torch.manual_seed(0)
    x = torch.randn(256, 32)
    y = x[:, :4].argmax(1)
    return asked(Streams(), (x, y), loss=F.cross_entropy)


def attention_saturated() -> Call:
    torch.manual_seed(0)
    x = torch.randn(32, 32, 32)
    y = x[:, 0, :4].argmax(1)
    layer = nn.TransformerEncoderLayer(32, 4, 64, dropout=0, batch_first=True, norm_first=True)
    layer.self_attn.in_proj_weight.data[:64] *= 16  # queries and keys
    model = nn.Sequential(layer, nn.Flatten(), nn.Linear(32 * 32, 4))
    return asked(model, (x, y), loss=F.cross_entropy)


def hasty_gates() -> Call:
    torch.manual_seed(0)
    x = torch.randn(64, 40, 4)
    y = x[:, 0].argmax(1)
    model = Reader(nn.LSTM(4, 32, batch_first=True))
    model.rnn.bias_ih_l0.data[32:64] = -4.0  # torch's order of gates: input, forget, cell, output
    return asked(model, (x, y), loss=F.cross_entropy)


def flushed() -> Call:
    torch.manual_seed(0)
    x = torch.randn(256, 64)
    y = x[:, :4].argmax(1)
    model = nn.Sequential(*(m for _ in range(16) for m in (nn.Linear(64, 64), nn.Sigmoid())), nn.Linear(64, 4))
    return asked(model, (x, y), loss=F.cross_entropy)


def below_eps() -> Call:
    torch.manual_seed(0)
    x = torch.randn(256, 64)
    y = x[:, :4].argmax(1)
    model = nn.Sequential(*(m for _ in range(10) for m in (nn.Linear(64, 64), nn.Sigmoid())), nn.Linear(64, 4))
    adam = torch.optim.Adam(model.parameters(), lr=1e-3, eps=1e-8)
    return asked(model, (x, y), loss=F.cross_entropy, optimizer=adam)


class Chunked(nn.Module):
    """A hand-written recurrence that lets its state go every ten steps."""

    def __init__(self) -> None:
        super().__init__()
        self.cell, self.head = nn.GRUCell(4, 32), nn.Linear(32, 4)

    def forward(self, x: Tensor) -> Tensor:
        h = x.new_zeros(len(x), 32)
        for t in range(x.shape[1]):
            if t % 10 == 0:
                h = h.detach()
            h = self.cell(x[:, t], h)
        return self.head(h)


def truncated() -> Call:
    torch.manual_seed(0)
    x = torch.randn(64, 40, 4)
    y = x[:, 0].argmax(1)
    return asked(Chunked(), (x, y), loss=F.cross_entropy)


class Averaging(nn.Module):
    """Attentions without an MLP between them, each four times as strong as its skip."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.ModuleList(nn.MultiheadAttention(32, 4, batch_first=True) for _ in range(12))
        self.head = nn.Linear(32, 4)

    def forward(self, x: Tensor) -> Tensor:
        for attention in self.layers:
            x = F.layer_norm(x + 4 * attention(x, x, x, need_weights=False)[0], (32,))
        return self.head(x[:, 0])


def tokens_alike() -> Call:
    torch.manual_seed(0)
    x = torch.randn(16, 16, 32)
    y = x[:, 0, :4].argmax(1)
    return asked(Averaging(), (x, y), loss=F.cross_entropy)


def rate_too_high() -> Call:
    torch.manual_seed(0)
    x = torch.randn(256, 64)
    y = x[:, :4].argmax(1)
    model = nn.Sequential(nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 4))
    adam = torch.optim.Adam(model.parameters(), lr=1.0)
    return asked(model, (x, y), loss=F.cross_entropy, optimizer=adam)


def no_nonlinearity() -> Call:
    torch.manual_seed(0)
    x = torch.randn(256, 64)
    y = x[:, :4].argmax(1)
    model = nn.Sequential(nn.Linear(64, 64), nn.Linear(64, 64), nn.Linear(64, 4))
    return asked(model, (x, y), loss=F.cross_entropy)


def misplaced_activation() -> Call:
    torch.manual_seed(0)
    x = torch.randn(256, 64)
    y = x[:, :4].argmax(1)
    model = nn.Sequential(nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 4), nn.Softmax(1))
    return asked(model, (x, y), loss=F.cross_entropy)


def raw_input() -> Call:
    torch.manual_seed(0)
    x = torch.randint(256, (256, 64)).float()  # pixels as they come from a file
    y = x[:, :4].argmax(1)
    model = nn.Sequential(nn.Linear(64, 64), nn.Tanh(), nn.Linear(64, 4))
    return asked(model, (x, y), loss=F.cross_entropy)


def always_clipped() -> Call:
    torch.manual_seed(0)
    x = torch.randn(256, 64)
    y = x[:, :4].argmax(1)
    model = nn.Sequential(nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 4))

    def train_step(model: nn.Module, batch: tuple[Tensor, Tensor], optimizer: torch.optim.Optimizer) -> Tensor:
        optimizer.zero_grad()
        value = F.cross_entropy(model(batch[0]), batch[1])
        value.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 0.01)
        optimizer.step()
        return value

    sgd = torch.optim.SGD(model.parameters(), lr=1.0)
    return asked(model, [(x, y)], loss=F.cross_entropy, optimizer=sgd, train_step=train_step, steps=20)


class TwoHeads(nn.Module):
    """A head and a helper whose weight in the sum was set to zero."""

    def __init__(self) -> None:
        super().__init__()
        self.trunk, self.head, self.helper = nn.Linear(64, 64), nn.Linear(64, 4), nn.Linear(64, 4)

    def forward(self, x: Tensor) -> Tensor:
        h = F.relu(self.trunk(x))
        return self.head(h) + 0.0 * self.helper(h)


def unmoved() -> Call:
    torch.manual_seed(0)
    x = torch.randn(256, 64)
    y = x[:, :4].argmax(1)
    model = TwoHeads()
    adam = torch.optim.Adam(model.parameters(), lr=1e-3)
    return asked(model, [(x, y)], loss=F.cross_entropy, optimizer=adam, steps=21)


def rate_too_low() -> Call:
    torch.manual_seed(0)
    x = torch.randn(256, 64)
    y = x[:, :4].argmax(1)
    model = nn.Sequential(nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 4))
    adam = torch.optim.Adam(model.parameters(), lr=1e-9)
    return asked(model, (x, y), loss=F.cross_entropy, optimizer=adam)


def elsewhere() -> Call:
    torch.manual_seed(0)
    batches = [(torch.randn(64, 16), torch.randint(4, (64,))) for _ in range(30)]  # labels that say nothing of x
    model = nn.Sequential(nn.Linear(16, 32), nn.ReLU(), nn.Linear(32, 4))
    sgd = torch.optim.SGD(model.parameters(), lr=0.01)
    return asked(model, batches, loss=F.cross_entropy, optimizer=sgd, steps=30)


def nothing_moves() -> Call:
    torch.manual_seed(0)
    x = torch.randn(256, 64)
    y = x[:, :4].argmax(1)
    model, other = (nn.Sequential(nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 4)) for _ in range(2))
    adam = torch.optim.Adam(other.parameters(), lr=1e-3)  # the parameters of another network
    return asked(model, [(x, y)], loss=F.cross_entropy, optimizer=adam, steps=6)


def norm_statistics() -> Call:
    torch.manual_seed(0)
    x = torch.randn(256, 64)
    y = x[:, :4].argmax(1)
    model = nn.Sequential(nn.Linear(64, 64), nn.BatchNorm1d(64), nn.ReLU(), nn.Linear(64, 4))
    model.eval()  # its running statistics are still 0 and 1
    return asked(model, (x, y), loss=F.cross_entropy)


def shattered() -> Call:
    torch.manual_seed(0)
    x = torch.randn(256, 64)
    y = x[:, :4].argmax(1)
    model = nn.Sequential(*(m for _ in range(20) for m in (nn.Linear(64, 64), nn.Tanh())), nn.Linear(64, 4))
    for layer in model[::2]:
        nn.init.normal_(layer.weight, std=0.5)
    adam = torch.optim.Adam(model.parameters(), lr=1e-3)
    return asked(model, [(x, y)], loss=F.cross_entropy, optimizer=adam, steps=11)


def noisy() -> Call:
    torch.manual_seed(0)
    batches = [(torch.randn(8, 64), torch.randint(4, (8,))) for _ in range(40)]  # labels that say nothing of x
    model = nn.Sequential(nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 4))
    sgd = torch.optim.SGD(model.parameters(), lr=0.01)
    return asked(model, batches, loss=F.cross_entropy, optimizer=sgd, steps=30)


def dormant() -> Call:
    torch.manual_seed(0)
    x = torch.randn(128, 64)
    tasks = [torch.randint(4, (128,)) for _ in range(30)]  # 30 tasks on the same inputs, ten steps each
    model = nn.Sequential(*(m for _ in range(3) for m in (nn.Linear(64, 64), nn.ReLU())), nn.Linear(64, 4))
    adam = torch.optim.Adam(model.parameters(), lr=0.03)
    batches = [(x, y) for y in tasks for _ in range(10)]
    return asked(model, batches, loss=F.cross_entropy, optimizer=adam, steps=300)


class DyT(nn.Module):
    """A tanh in the place of a norm."""

    def __init__(self, alpha: float) -> None:
        super().__init__()
        self.alpha = nn.Parameter(torch.tensor(alpha))

    def forward(self, x: Tensor) -> Tensor:
        return torch.tanh(self.alpha * x)


def tanh_for_norm() -> Call:
    torch.manual_seed(0)
    x = 30 * torch.randn(256, 64)  # a stream of this size
    y = x[:, :4].argmax(1)
    model = nn.Sequential(nn.Linear(64, 64), DyT(2.0), nn.Linear(64, 4))
    return asked(model, (x, y), loss=F.cross_entropy)


def answers_ignored() -> Call:
    torch.manual_seed(0)
    x, y = torch.randn(256, 16), torch.randn(256)
    model = nn.Sequential(nn.Linear(16, 32), nn.ReLU(), nn.Linear(32, 1))  # (256, 1) against (256)

    def loss(out, y):
        return (out - y).square().mean()

    adam = torch.optim.Adam(model.parameters(), lr=1e-3)
    return asked(model, [(x, y)], loss=loss, optimizer=adam, steps=30)


class Listed(nn.Module):
    """Hidden layers in a plain list."""

    def __init__(self) -> None:
        super().__init__()
        self.hidden = [nn.Linear(64, 64) for _ in range(3)]
        self.head = nn.Linear(64, 4)

    def forward(self, x: Tensor) -> Tensor:
        for layer in self.hidden:
            x = F.relu(layer(x))
        return self.head(x)


def unregistered() -> Call:
    torch.manual_seed(0)
    x = torch.randn(256, 64)
    y = x[:, :4].argmax(1)
    model = Listed()
    adam = torch.optim.Adam(model.parameters(), lr=1e-3)  # which holds the head alone
    return asked(model, (x, y), loss=F.cross_entropy, optimizer=adam)


def unheld() -> Call:
    torch.manual_seed(0)
    x = torch.randn(256, 64)
    y = x[:, :4].argmax(1)
    model = nn.Sequential(nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 4))
    adam = torch.optim.Adam(model[-1].parameters(), lr=1e-3)  # of the last layer alone
    return asked(model, (x, y), loss=F.cross_entropy, optimizer=adam)


def stale() -> Call:
    torch.manual_seed(0)
    x = torch.randn(256, 16)
    y = x[:, :1] * x[:, 1:2]
    model = nn.Sequential(nn.Linear(16, 32), nn.Tanh(), nn.Linear(32, 1))
    adam = torch.optim.Adam(model.parameters(), lr=1e-3)

    def train_step(model, batch, optimizer):
        loss = F.mse_loss(model(batch[0]), batch[1])
        loss.backward()
        optimizer.step()
        return loss

    return asked(model, [(x, y)], optimizer=adam, train_step=train_step, steps=20)


EXAMPLES = (
    Example(code="FO101", make=vanishing),
    Example(code="FO102", make=exploding),
    Example(code="FO103", make=severed),
    Example(code="FO104", make=not_finite),
    Example(code="FO105", make=dead),
    Example(code="FO106", make=saturated),
    Example(code="FO107", make=bad_init),
    Example(code="FO108", make=forgetting),
    Example(code="FO201", make=diluted),
    Example(code="FO202", make=streams),
    Example(code="FO203", make=attention_saturated),
    Example(code="FO204", make=hasty_gates),
    Example(code="FO205", make=flushed),
    Example(code="FO206", make=below_eps),
    Example(code="FO207", make=truncated),
    Example(code="FO208", make=tokens_alike),
    Example(code="FO209", make=rate_too_high),
    Example(code="FO210", make=no_nonlinearity),
    Example(code="FO211", make=misplaced_activation),
    Example(code="FO212", make=raw_input),
    Example(code="FO213", make=norm_statistics),
    Example(code="FO214", make=always_clipped),
    Example(code="FO215", make=unmoved),
    Example(code="FO216", make=shattered),
    Example(code="FO217", make=noisy),
    Example(code="FO218", make=dormant),
    Example(code="FO219", make=tanh_for_norm),
    Example(code="FO220", make=unregistered),
    Example(code="FO221", make=unheld),
    Example(code="FO301", make=rate_too_low),
    Example(code="FO302", make=elsewhere),
    Example(code="FO303", make=nothing_moves),
    Example(code="FO304", make=answers_ignored),
    Example(code="FO305", make=stale),
)
