"""Nets that reuse nets: frozen trunks, scales and biases alone, slow teachers, domains, experts, depth routers."""

from typing import Any

import torch
from benchmarks.strangers.record import Stranger, classify, elsewhere, healthy, regress, sick
from benchmarks.strangers.second.parts import elsewhere_optimizer, frozen, mlp, step_on
from benchmarks.strangers.spoil import shut
from benchmarks.strangers.step import finish
from benchmarks.strangers.tasks import modular, wedges
from benchmarks.truth.case import Setup
from benchmarks.truth.data import Pairs, cut, flat_digits, seeded, spirals
from benchmarks.truth.program import advance
from benchmarks.truth.task import accuracy
from torch import Tensor, nn
from torch.nn import functional as F


def trunk() -> nn.Sequential:
    """A net taught the digits at small cost."""
    net = mlp(64, 48, 32, 10)
    advance(Setup(model=net, batches=flat_digits(), loss=F.cross_entropy,
                  optimizer=torch.optim.Adam(net.parameters(), 5e-3), train_step=None), 100)  # fmt: skip
    for p in net.parameters():
        p.grad = None
    return net


def parity_of_digit() -> Pairs:
    """Digits; is the digit odd."""
    return [(x, y % 2) for x, y in flat_digits()]


class Probe(nn.Module):
    """A frozen trunk under no_grad and a head."""

    def __init__(self) -> None:
        super().__init__()
        self.trunk = nn.Sequential(*list(trunk())[:-1]).requires_grad_(False)
        self.head = mlp(32, 16, 2)

    def forward(self, x: Tensor) -> Tensor:
        with torch.no_grad():
            h = self.trunk(x)
        y: Tensor = self.head(h)
        return y


class ProbeWhole(Probe):
    """The block of no_grad goes on over the head; a bias was added later to make backward run."""

    def __init__(self) -> None:
        super().__init__()
        self.bias = nn.Parameter(torch.zeros(2))

    def forward(self, x: Tensor) -> Tensor:
        with torch.no_grad():
            h = self.head(self.trunk(x))
        y: Tensor = h + self.bias
        return y


class Scaled(nn.Module):
    """IA3: the taught net frozen, a scale and a shift learnt for each hidden unit."""

    def __init__(self, numbers: bool = False) -> None:
        super().__init__()
        self.net = trunk().requires_grad_(False)
        self.scales = nn.ParameterList(nn.Parameter(torch.ones(n)) for n in (48, 32, 10))
        self.shifts = nn.ParameterList(nn.Parameter(torch.zeros(n)) for n in (48, 32, 10))
        self.numbers = numbers

    def forward(self, x: Tensor) -> Tensor:
        h, at = x, 0
        for layer in self.net:
            h = layer(h)
            if isinstance(layer, nn.Linear):
                scale, shift = self.scales[at], self.shifts[at]
                if self.numbers and at < 2:
                    scale, shift = torch.tensor(scale.tolist()), torch.tensor(shift.tolist())
                h, at = h * scale + shift, at + 1
        return h


def halves_exchanged() -> Pairs:
    """Digits seen through a lens that exchanges the left and right halves: the old net fails at first."""
    return [(x.view(-1, 8, 2, 4).flip(2).reshape(-1, 64), y) for x, y in flat_digits()]


def biases_only() -> nn.Module:
    """The taught net with its last two biases and first layer free."""
    return frozen(trunk(), "0.", "2.bias", "4.bias")


class Domains(nn.Module):
    """Features, a head for the class, and a head for the domain behind a reversal of the gradient."""

    def __init__(self, gain: float = 0.1, cut_off: bool = False) -> None:
        super().__init__()
        self.features, self.classes, self.domain = mlp(3, 32, 32, 8), nn.Linear(8, 2), mlp(8, 16, 2)
        self.gain, self.cut_off = gain, cut_off

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.classes(self.features(x))
        return y

    def both(self, x: Tensor) -> tuple[Tensor, Tensor]:
        h = self.features(x)
        turned = h.detach() * (1 + self.gain) - self.gain * h  # value h, gradient times -gain
        return self.classes(h.detach() if self.cut_off else h), self.domain(turned)


def two_domains() -> Pairs:
    """Spirals with a third coordinate that tells the domain."""
    g = seeded(121)
    return [(torch.cat([x, torch.randint(0, 2, (len(x), 1), generator=g) * 2.0 - 1], 1), y) for x, y in spirals()]


def confuse(model: nn.Module, batch: Any, optimizer: Any) -> Tensor:
    """Class and domain, the latter turned round in the features."""
    assert isinstance(model, Domains)
    x, y = batch
    out, domain = model.both(x)
    return finish(F.cross_entropy(out, y) + F.cross_entropy(domain, (x[:, 2] > 0).long()), optimizer)


def domain_for_class(model: nn.Module, batch: Any, optimizer: Any) -> Tensor:
    """The class head is given the domain to learn, as far as it was noted down right."""
    assert isinstance(model, Domains)
    x, _ = batch
    d = ((x[:, 2] > 0) ^ (torch.rand(len(x)) < 0.15)).long()
    out, domain = model.both(x)
    return finish(F.cross_entropy(out, d) + F.cross_entropy(domain, d), optimizer)


class Taught(nn.Module):
    """A student and its slow average, which labels noisy views."""

    def __init__(self) -> None:
        super().__init__()
        self.student = mlp(2, 32, 32, 2)
        self.teacher = mlp(2, 32, 32, 2).requires_grad_(False)
        self.teacher.load_state_dict(self.student.state_dict())

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.teacher(x)
        return y


def _consistency(model: Taught, x: Tensor) -> Tensor:
    with torch.no_grad():
        wanted = torch.softmax(model.teacher(x), -1)
    return F.mse_loss(torch.softmax(model.student(x + 0.02 * torch.randn_like(x)), -1), wanted)


def teach(model: nn.Module, batch: Any, optimizer: Any, rate: float = 0.05) -> Tensor:
    """A quarter of the batch has labels, the rest agrees with the slow average."""
    assert isinstance(model, Taught)
    x, y = batch
    loss = finish(F.cross_entropy(model.student(x[:32]), y[:32]) + _consistency(model, x[32:]), optimizer)
    with torch.no_grad():
        for slow, fast in zip(model.teacher.parameters(), model.student.parameters(), strict=True):
            slow.lerp_(fast, rate)
    return loss


def teach_too_slow(model: nn.Module, batch: Any, optimizer: Any) -> Tensor:
    """The average moves by a ten-thousandth, which a run of this length never fills."""
    return teach(model, batch, optimizer, 1e-4)


class Switch(nn.Module):
    """One expert of four a pair, by noisy scores, scaled by its probability."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Embedding(7, 5)
        self.router = nn.Linear(10, 4)
        self.experts = nn.ModuleList(mlp(10, 24, 10) for _ in range(4))
        self.head = nn.Linear(10, 7)

    def send(self, h: Tensor, best: Tensor, chosen: Tensor) -> Tensor:
        outs = torch.stack([e(h) for e in self.experts], 1)
        return h + best * outs.gather(1, chosen.unsqueeze(-1).expand(-1, -1, 10)).squeeze(1)

    def both(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """The logits, and how far from even the experts are used."""
        h = self.embed(x).flatten(1)
        scores = self.router(h)
        p = torch.softmax(scores + torch.randn_like(scores) if self.training else scores, -1)
        best, chosen = p.max(-1, keepdim=True)
        used = F.one_hot(chosen.squeeze(1), 4).float().mean(0)
        return self.head(self.send(h, best, chosen)), 4 * (used * p.mean(0)).sum()

    def forward(self, x: Tensor) -> Tensor:
        return self.both(x)[0]


class SwitchRewrapped(Switch):
    """Tokens are gathered for their experts in a new tensor, filled from values."""

    def send(self, h: Tensor, best: Tensor, chosen: Tensor) -> Tensor:
        sent = torch.zeros(len(h), 10)
        for i, expert in enumerate(self.experts):
            mine = chosen.squeeze(1) == i
            sent[mine] = torch.tensor((best[mine] * expert(h[mine])).tolist()).view(-1, 10)
        return sent


def balanced(model: nn.Module, batch: Any, optimizer: Any) -> Tensor:
    """The classes, and a share of the experts' balance."""
    assert isinstance(model, Switch)
    x, y = batch
    out, uneven = model.both(x)
    return finish(F.cross_entropy(out, y) + 0.1 * uneven, optimizer)


def balanced_alone(model: nn.Module, batch: Any, optimizer: Any) -> Tensor:
    """The targets are zeros of the right shape, left over from a dry run."""
    return balanced(model, (batch[0], torch.zeros_like(batch[1])), optimizer)


class Skipping(nn.Module):
    """Mixture of depths: each layer works on the half of the points that a router ranks first."""

    def __init__(self, depth: int = 4, width: int = 24) -> None:
        super().__init__()
        self.enter, self.head = nn.Linear(2, width), nn.Linear(width, 2)
        self.routers = nn.ModuleList(nn.Linear(width, 1) for _ in range(depth))
        self.layers = nn.ModuleList(nn.Sequential(nn.LayerNorm(width), mlp(width, 48, width)) for _ in range(depth))

    def forward(self, x: Tensor) -> Tensor:
        h = self.enter(x)
        for router, layer in zip(self.routers, self.layers, strict=True):
            rank = router(h).squeeze(1)
            top = rank.topk(len(x) // 2).indices
            update = torch.sigmoid(rank[top]).unsqueeze(1) * layer(h[top])
            h = h.index_add(0, top, update)
        y: Tensor = self.head(h)
        return y


class Conditioned(nn.Module):
    """FiLM: a context scales and shifts the features; the scale starts at 0 around 1."""

    def __init__(self, mode: str = "sound") -> None:
        super().__init__()
        self.body1, self.body2, self.head = nn.Linear(2, 32), nn.Linear(32, 32), nn.Linear(32, 1)
        self.film = mlp(2, 16, 128)
        self.mode = mode
        last = self.film[-1]
        assert isinstance(last, nn.Linear)
        nn.init.zeros_(last.weight)
        nn.init.zeros_(last.bias)

    def forward(self, both: Tensor) -> Tensor:
        x, context = both.chunk(2, -1)
        made = self.film(context)
        if self.mode == "numpy":
            made = torch.as_tensor(made.detach().cpu().numpy())
        a, b, c, d = made.chunk(4, -1)
        h = F.gelu((1 + a) * self.body1(x) + b)
        h = F.gelu((1 + c) * self.body2(h) + d)
        y: Tensor = self.head(h)
        return y


def turned_products() -> Pairs:
    """A point and a direction (N, 4); the target is the product of the point's part along the direction and x."""
    x = torch.randn(1024, 4, generator=seeded(122))
    y = (x[:, :1] * x[:, 2:3] + x[:, 1:2] * x[:, 3:]) * 0.7
    return cut(x, y, 64, 16)


class Tasks(nn.Module):
    """Two tasks on one trunk, weighed by learnt uncertainties; the classes answer."""

    def __init__(self) -> None:
        super().__init__()
        self.body, self.classes, self.value = mlp(2, 32, 32), nn.Linear(32, 2), nn.Linear(32, 1)
        self.logs = nn.Parameter(torch.zeros(2))

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.classes(F.gelu(self.body(x)))
        return y


def both_tasks(model: nn.Module, batch: Any, optimizer: Any, shared: bool = True) -> Tensor:
    """Class and radius; exp(-s) L + s."""
    assert isinstance(model, Tasks)
    x, y = batch
    h = F.gelu(model.body(x))
    first = F.cross_entropy(model.classes(h if shared else h.detach()), y)
    second = F.mse_loss(model.value(h), x.square().sum(1, keepdim=True))
    losses = torch.stack([first, second])
    return finish(((-model.logs).exp() * losses + model.logs).sum(), optimizer)


def both_tasks_cut(model: nn.Module, batch: Any, optimizer: Any) -> Tensor:
    """The features are detached for the classes, so that the tasks don't quarrel."""
    return both_tasks(model, batch, optimizer, shared=False)


def strangers() -> list[Stranger]:
    """Every program as it is and with its faults."""
    return [*_frozen(), *_teachers(), *_routers(), *_mixed()]


def _frozen() -> list[Stranger]:
    probe = classify("frozen-trunk", Probe, parity_of_digit, steps=150)
    scales = classify("scales-and-shifts", Scaled, halves_exchanged, lr=2e-2, steps=250)
    biases = classify("half-thawed", biases_only, halves_exchanged, lr=1e-2, steps=150)
    head = ("", "head", "head.0", "head.2")
    return [
        healthy(probe, "today"),
        sick("head-under-no-grad", probe, "today", ("severed",), "End no_grad before the head.", model=ProbeWhole,
             where=head, causes=("other",)),
        elsewhere("optimizer-of-a-copy", probe, "today", "Make the optimizer for this model.",
                  optimizer=elsewhere_optimizer(3e-3)),
        healthy(scales, "today"),
        sick("scales-as-numbers", scales, "today", ("severed",), "Use the scales themselves.",
             model=lambda: Scaled(True), where=("", "scales", "shifts"), causes=("other",)),
        healthy(biases, "today"),
        elsewhere("all-but-a-bias-frozen", biases, "today", "Thaw the first layer.",
                  model=lambda: frozen(trunk(), "4.bias")),
    ]  # fmt: skip


def _teachers() -> list[Stranger]:
    domains = classify("domain-adversary", Domains, two_domains, lr=1e-2, train_step=confuse, loss=None, steps=250)
    taught = classify("slow-teacher", Taught, spirals, lr=1e-2, train_step=teach, loss=None, steps=250)
    return [
        healthy(domains, "today"),
        sick("features-cut-for-classes", domains, "today", ("severed",), "Let the class loss reach the features.",
             model=lambda: Domains(cut_off=True), where=("", "features", "features.*"), causes=("other", "loss")),
        elsewhere("domain-for-class", domains, "today", "Give the class head its classes.",
                  train_step=domain_for_class),
        healthy(taught, "today"),
        elsewhere("average-too-slow", taught, "today", "Let the average follow in a hundred steps.",
                  train_step=teach_too_slow),
    ]  # fmt: skip


def _routers() -> list[Stranger]:
    switch = classify("switch", Switch, modular, lr=1e-2, train_step=balanced, loss=None, steps=250)
    depths = classify("skipped-depths", Skipping, wedges, lr=5e-3, steps=300, bar=0.4)
    return [
        healthy(switch, "today"),
        sick("experts-rewrapped", switch, "today", ("severed",), "Fill the new tensor with the experts' own outputs.",
             model=SwitchRewrapped, where=("", "experts", "experts.*", "embed"), causes=("other",)),
        elsewhere("targets-zeroed", switch, "today", "Ask for the sum, not for a constant.",
                  train_step=balanced_alone),
        healthy(depths, "today"),
        sick("routers-shut", depths, "today", ("saturated", "vanishing", "dead", "bad_init"),
             "Start the routers at 0.", model=lambda: shut(Skipping(), -40.0, "routers"),
             where=("", "layers", "layers.*", "routers", "routers.*"), causes=("slope", "other", "weight")),
        elsewhere("classes-exchanged", depths, "today", "Read the classes in their order.",
                  train_step=step_on(F.cross_entropy, lambda x, y: (x, 1 - y))),
    ]  # fmt: skip


def _mixed() -> list[Stranger]:
    film = regress("conditioned", Conditioned, turned_products, lr=5e-3, steps=250)
    tasks = classify("two-tasks", Tasks, spirals, lr=1e-2, train_step=both_tasks, loss=None, steps=250,
                     skill=accuracy(spirals))  # fmt: skip
    return [
        healthy(film, "today"),
        sick("context-by-numpy", film, "today", ("severed",), "Keep the context's graph.",
             model=lambda: Conditioned("numpy"), where=("", "film", "film.0", "film.2"), causes=("other",)),
        elsewhere("context-of-others", film, "today", "Pair points with their contexts.",
                  train_step=step_on(F.mse_loss, lambda x, y: (torch.cat([x[:, :2], x[:, 2:].roll(1, 0)], 1), y))),
        healthy(tasks, "today"),
        sick("classes-cut", tasks, "today", ("severed",), "Let the classes train the trunk.",
             train_step=both_tasks_cut, where=("", "body", "body.0", "body.2"), causes=("other", "loss")),
    ]  # fmt: skip
