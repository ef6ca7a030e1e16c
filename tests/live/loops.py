"""Training loops as people write them; each is run with and without a watch."""

import contextlib
import hashlib
import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.checkpoint import checkpoint

STEPS = 24


def net(depth: int = 4, *, dropout: float = 0.0, batchnorm: bool = False, width: int = 24) -> nn.Sequential:
    parts: list[nn.Module] = []
    for i in range(depth):
        parts.append(nn.Linear(16 if i == 0 else width, width))
        if batchnorm:
            parts.append(nn.BatchNorm1d(width))
        parts += [nn.Tanh(), nn.Dropout(dropout)] if dropout else [nn.Tanh()]
    return nn.Sequential(*parts, nn.Linear(width, 4))


def data() -> tuple[torch.Tensor, torch.Tensor]:
    draw = torch.Generator(torch.get_default_device()).manual_seed(7)
    x = torch.randn(256, 16, generator=draw)
    return x, (x[:, :4].argmax(1))


def batch(x, y, rows: int = 32):
    chosen = torch.randint(len(x), (rows,))
    return x[chosen], y[chosen]


@dataclass(slots=True)
class Loop:
    """What a loop hands over: its model and optimizer, and one iteration."""

    models: list[nn.Module]
    optimizers: list[Any]
    iterate: Callable[[], None]
    steps: int = STEPS


def plain(make, **options) -> Loop:
    model = net(**options)
    optimizer = make(model.parameters())
    x, y = data()

    def iterate():
        a, b = batch(x, y)
        loss = F.cross_entropy(model(a), b)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()

    return Loop([model], [optimizer], iterate)


def sgd() -> Loop:
    return plain(lambda p: torch.optim.SGD(p, 0.1, momentum=0.9))


def adam() -> Loop:
    return plain(lambda p: torch.optim.Adam(p, 1e-2))


def fused_adam() -> Loop:
    return plain(lambda p: torch.optim.Adam(p, 1e-2, fused=True))


def dropout_and_batchnorm() -> Loop:
    return plain(lambda p: torch.optim.Adam(p, 1e-2), dropout=0.2, batchnorm=True)


def accumulated() -> Loop:
    model = net()
    optimizer = torch.optim.Adam(model.parameters(), 1e-2)
    x, y = data()

    def iterate():
        for _ in range(4):
            a, b = batch(x, y, 8)
            (nn.CrossEntropyLoss()(model(a), b) / 4).backward()
        optimizer.step()
        optimizer.zero_grad(set_to_none=False)

    return Loop([model], [optimizer], iterate)


def scaled(fused: bool, clip: bool = False) -> Loop:
    """float16 autocast with a loss scaler; an overflow at the start makes it skip steps."""
    model = net()
    optimizer = torch.optim.Adam(model.parameters(), 1e-2, fused=fused)
    scaler = torch.amp.GradScaler(torch.get_default_device().type, init_scale=2.0**24, growth_interval=5)
    x, y = data()

    def iterate():
        a, b = batch(x, y)
        with torch.autocast(torch.get_default_device().type, dtype=torch.float16):
            loss = F.cross_entropy(model(a), b)
        optimizer.zero_grad()
        scaler.scale(loss).backward()
        if clip:
            scaler.unscale_(optimizer)
            nn.utils.clip_grad_norm_(model.parameters(), 0.1)
        scaler.step(optimizer)
        scaler.update()

    return Loop([model], [optimizer], iterate)


def bf16() -> Loop:
    model = net()
    optimizer = torch.optim.AdamW(model.parameters(), 1e-2)
    x, y = data()

    def iterate():
        a, b = batch(x, y)
        with torch.autocast(torch.get_default_device().type, dtype=torch.bfloat16):
            loss = F.cross_entropy(model(a), b)
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()

    return Loop([model], [optimizer], iterate)


def clipped() -> Loop:
    model = net()
    optimizer = torch.optim.SGD(model.parameters(), 0.5)
    x, y = data()

    def iterate():
        a, b = batch(x, y)
        optimizer.zero_grad()
        F.cross_entropy(model(a), b).backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 0.05)
        optimizer.step()

    return Loop([model], [optimizer], iterate)


def lbfgs() -> Loop:
    model = net(2)
    optimizer = torch.optim.LBFGS(model.parameters(), lr=0.5, max_iter=4)
    x, y = data()

    def iterate():
        a, b = batch(x, y)

        def closure():
            optimizer.zero_grad()
            loss = F.cross_entropy(model(a), b)
            loss.backward()
            return loss

        optimizer.step(closure)

    return Loop([model], [optimizer], iterate)


class Checkpointed(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first, self.blocks, self.head = (
            nn.Linear(16, 24),
            nn.ModuleList(nn.Linear(24, 24) for _ in range(3)),
            nn.Linear(24, 4),
        )

    def forward(self, x):
        x = torch.tanh(self.first(x))
        for block in self.blocks:
            x = checkpoint(lambda h, block=block: torch.tanh(block(h)), x, use_reentrant=False)
        return self.head(x)


def checkpointed() -> Loop:
    model = Checkpointed()
    optimizer = torch.optim.Adam(model.parameters(), 1e-2)
    x, y = data()

    def iterate():
        a, b = batch(x, y)
        optimizer.zero_grad()
        F.cross_entropy(model(a), b).backward()
        optimizer.step()

    return Loop([model], [optimizer], iterate)


def sparse() -> Loop:
    model = nn.Sequential(nn.EmbeddingBag(50, 12, sparse=True), nn.Linear(12, 4))
    optimizer = torch.optim.SGD(model.parameters(), 0.1)

    def iterate():
        ids = torch.randint(50, (16, 5))
        optimizer.zero_grad()
        F.cross_entropy(model(ids), ids[:, 0] % 4).backward()
        optimizer.step()

    return Loop([model], [optimizer], iterate)


def frozen_then_thawed() -> Loop:
    model = net()
    for p in model[0].parameters():
        p.requires_grad_(False)
    optimizer = torch.optim.Adam([p for p in model.parameters() if p.requires_grad], 1e-2)
    x, y = data()
    done = [0]

    def iterate():
        done[0] += 1
        if done[0] == 10:  # parameters are added during training
            for p in model[0].parameters():
                p.requires_grad_(True)
            optimizer.add_param_group({"params": list(model[0].parameters())})
        a, b = batch(x, y)
        optimizer.zero_grad()
        F.cross_entropy(model(a), b).backward()
        optimizer.step()

    return Loop([model], [optimizer], iterate)


class Own(nn.Module):
    """A model that carries its own loss, takes keywords and writes into a buffer."""

    def __init__(self) -> None:
        super().__init__()
        self.body, self.seen = net(), 0
        self.register_buffer("count", torch.zeros(()))

    def forward(self, *, inputs, labels):
        self.count += 1
        self.seen += 1
        logits = self.body(inputs)
        return {"loss": F.cross_entropy(logits, labels), "logits": logits}


def own_loss() -> Loop:
    model = Own()
    optimizer = torch.optim.AdamW(model.parameters(), 1e-2)
    x, y = data()

    def iterate():
        a, b = batch(x, y)
        optimizer.zero_grad()
        model(inputs=a, labels=b)["loss"].backward()
        optimizer.step()

    return Loop([model], [optimizer], iterate)


class Parts(nn.Module):
    """Never called as a whole: its parts are."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder, self.decoder = nn.Linear(16, 8), nn.Linear(8, 4)

    def encode(self, x):
        return torch.tanh(self.encoder(x))


def called_by_parts() -> Loop:
    model = Parts()
    optimizer = torch.optim.Adam(model.parameters(), 1e-2)
    x, y = data()

    def iterate():
        a, b = batch(x, y)
        optimizer.zero_grad()
        F.cross_entropy(model.decoder(model.encode(a)), b).backward()
        optimizer.step()

    return Loop([model], [optimizer], iterate)


def gan() -> Loop:
    g = nn.Sequential(nn.Linear(4, 16), nn.ReLU(), nn.Linear(16, 16))
    d = nn.Sequential(nn.Linear(16, 16), nn.LeakyReLU(0.2), nn.Linear(16, 1))
    og, od = torch.optim.Adam(g.parameters(), 1e-3), torch.optim.Adam(d.parameters(), 1e-3)
    x, _ = data()
    one, zero = torch.ones(32, 1), torch.zeros(32, 1)

    def iterate():
        real = x[torch.randint(len(x), (32,))]
        fake = g(torch.randn(32, 4))
        od.zero_grad()
        F.binary_cross_entropy_with_logits(d(real), one).backward()
        F.binary_cross_entropy_with_logits(d(fake.detach()), zero).backward()
        od.step()
        og.zero_grad()
        F.binary_cross_entropy_with_logits(d(fake), one).backward()
        og.step()

    return Loop([g, d], [og, od], iterate)


def siamese() -> Loop:
    model = net()
    optimizer = torch.optim.Adam(model.parameters(), 1e-2)
    x, _ = data()

    def iterate():
        a = x[torch.randint(len(x), (16,))]
        optimizer.zero_grad()
        loss = (model(a) - model(a + 0.1)).square().mean() - 0.1 * model(-a).square().mean()
        loss.backward()
        optimizer.step()

    return Loop([model], [optimizer], iterate)


def written_inputs() -> Loop:
    """A loop that writes into its batch after the forward."""
    model = net()
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    x, y = data()

    def iterate():
        a, b = batch(x, y)
        optimizer.zero_grad()
        loss = F.cross_entropy(model(a.clone().add_(0)), b)
        a.zero_()
        loss.backward()
        optimizer.step()

    return Loop([model], [optimizer], iterate)


def retained_graph() -> Loop:
    model = net()
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    x, y = data()
    kept = []

    def iterate():
        a, b = batch(x, y)
        optimizer.zero_grad()
        loss = F.cross_entropy(model(a), b)
        loss.backward(retain_graph=True)
        kept.append(loss)
        optimizer.step()

    return Loop([model], [optimizer], iterate)


def scheduled() -> Loop:
    loop = adam()
    scheduler = torch.optim.lr_scheduler.OneCycleLR(loop.optimizers[0], 1e-2, total_steps=STEPS + 2)
    inner = loop.iterate

    def iterate():
        inner()
        scheduler.step()

    return Loop(loop.models, loop.optimizers, iterate)


def evaluated() -> Loop:
    """Evaluation between the steps, in eval mode and without gradients."""
    loop = dropout_and_batchnorm()
    x, _ = data()
    inner = loop.iterate

    def iterate():
        inner()
        loop.models[0].eval()
        with torch.no_grad():
            loop.models[0](x[:8])
        loop.models[0].train()

    return Loop(loop.models, loop.optimizers, iterate)


def compiled() -> Loop:
    model = net(batchnorm=True)
    fast = torch.compile(model)
    optimizer = torch.optim.Adam(model.parameters(), 1e-2)
    x, y = data()

    def iterate():
        a, b = batch(x, y)
        loss = F.cross_entropy(fast(a), b)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()

    return Loop([fast], [optimizer], iterate)


LOOPS: dict[str, Callable[[], Loop]] = {
    loop.__name__: loop
    for loop in (
        sgd,
        adam,
        fused_adam,
        dropout_and_batchnorm,
        accumulated,
        bf16,
        clipped,
        lbfgs,
        checkpointed,
        sparse,
        frozen_then_thawed,
        own_loss,
        called_by_parts,
        gan,
        siamese,
        written_inputs,
        retained_graph,
        scheduled,
        evaluated,
    )
} | {
    "scaled": lambda: scaled(False),
    "scaled_fused": lambda: scaled(True),
    "scaled_clipped": lambda: scaled(False, True),
    "scaled_fused_clipped": lambda: scaled(True, True),
}


def fingerprint(loop: Loop) -> str:
    """Weights, buffers, optimizer states and random states, to the bit."""
    digest = hashlib.sha256()
    for model in loop.models:
        for value in model.state_dict().values():
            digest.update(value.detach().cpu().contiguous().numpy().tobytes())
    for optimizer in loop.optimizers:
        for state in optimizer.state.values():
            for value in state.values():
                if isinstance(value, torch.Tensor) and value.layout == torch.strided:
                    digest.update(value.detach().cpu().contiguous().numpy().tobytes())
    digest.update(torch.get_rng_state().numpy().tobytes())
    if torch.get_default_device().type == "cuda":
        digest.update(torch.cuda.get_rng_state().numpy().tobytes())
    digest.update(repr(random.getstate()).encode())
    return digest.hexdigest()


def trained(make: Callable[[], Loop], watching=None) -> tuple[str, Loop, Any]:
    """Seed, make, train; the fingerprint, the loop, and what watched."""
    torch.manual_seed(0)
    random.seed(0)
    loop = make()
    with watching(loop) if watching is not None else contextlib.nullcontext() as seen:
        for _ in range(loop.steps):
            loop.iterate()
        found = fingerprint(loop)
    return found, loop, seen
