"""Learning from pairs: a contrastive encoder, one that predicts its slow copy, triplets, a Siamese net, a student."""

from typing import Any

import torch
from benchmarks.strangers.generators import mlp
from benchmarks.strangers.record import Stranger, elsewhere, healthy, sick
from benchmarks.truth.data import Pairs, flat_digits, seeded
from benchmarks.truth.program import Program, adam
from torch import Tensor, nn
from torch.nn import functional as F


class Embedder(nn.Module):
    """Digits to 12 numbers; `floor` puts a ReLU with that bias on them."""

    def __init__(self, floor: float | None = None) -> None:
        super().__init__()
        self.net, self.floor = mlp(64, 48, 12), floor

    def forward(self, x: Tensor) -> Tensor:
        z: Tensor = self.net(x)
        return z if self.floor is None else torch.relu(z + self.floor)


class Slow(nn.Module):
    """An encoder, a predictor, and the encoder's slow copy."""

    def __init__(self) -> None:
        super().__init__()
        self.net, self.predictor, self.slow = mlp(64, 48, 12), mlp(12, 24, 12), mlp(64, 48, 12)
        self.slow.requires_grad_(False)

    def forward(self, x: Tensor) -> Tensor:
        z: Tensor = self.net(x)
        return z


def far_apart(model: nn.Module) -> float:
    """How much more alike two digits of one class are than two of different classes, in deviations, at most 1."""
    x = torch.cat([x for x, _ in flat_digits()])[:512]
    y = torch.cat([y for _, y in flat_digits()])[:512]
    with torch.no_grad():
        z = model(x)
    if not z.isfinite().all():
        return -1.0
    z = z - z.mean(0)
    alike = F.normalize(z, dim=1) @ F.normalize(z, dim=1).T
    same = (y[:, None] == y).float() - torch.eye(len(y))
    other = (y[:, None] != y).float()
    gap = (alike * same).sum() / same.sum() - (alike * other).sum() / other.sum()
    return min(1.0, gap.item() / 1.0)


def views(x: Tensor) -> tuple[Tensor, Tensor]:
    """Two views with noise on them."""
    return x + 0.5 * torch.randn_like(x), x + 0.5 * torch.randn_like(x)


def _finish(loss: Tensor, optimizer: Any) -> Tensor:
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    return loss.detach()


def _supervised(model: nn.Module, batch: Any, temperature: float) -> Tensor:
    x, y = batch
    z = torch.cat([F.normalize(model(v), dim=1) for v in views(x)])
    y = torch.cat([y, y])
    scores = z @ z.T / temperature - 1e9 * torch.eye(len(z))
    same = (y[:, None] == y).float() - torch.eye(len(z))
    return -(torch.log_softmax(scores, 1) * same).sum() / same.sum()


def contrast(model: nn.Module, batch: Any, optimizer: Any) -> Tensor:
    """Supervised contrast at temperature 0.2."""
    return _finish(_supervised(model, batch, 0.2), optimizer)


def contrast_cold(model: nn.Module, batch: Any, optimizer: Any) -> Tensor:
    """Both views are compared by detached vectors; the regulariser alone has a graph."""
    x, _ = batch
    a, b = (model(v) for v in views(x))
    with torch.no_grad():
        loss = -F.cosine_similarity(a, b).mean()
    return _finish(loss + 1e-3 * a.square().mean(), optimizer)


def contrast_mixed(model: nn.Module, batch: Any, optimizer: Any) -> Tensor:
    """The labels belong to another order of the images."""
    x, y = batch
    return _finish(_supervised(model, (x, y[torch.randperm(len(y))]), 0.2), optimizer)


def triplets(model: nn.Module, batch: Any, optimizer: Any) -> Tensor:
    """Anchor, another of its class, one of another class; hinge of 1 on squared distances."""
    near, far = _distances(model, batch)
    return _finish(torch.relu(near - far + 1).mean(), optimizer)


def triplets_root(model: nn.Module, batch: Any, optimizer: Any) -> Tensor:
    """The same on distances: the root of 0, where an anchor is its own partner, has no slope."""
    x, y = batch
    z = model(x)
    gap = (z[:, None] - z[None]).square().sum(-1).sqrt()
    same = (y[:, None] == y).float()
    near, far = (gap * same).sum(1) / same.sum(1), (gap * (1 - same)).sum(1) / (1 - same).sum(1)
    return _finish(torch.relu(near - far + 1).mean(), optimizer)


def triplets_reversed(model: nn.Module, batch: Any, optimizer: Any) -> Tensor:
    """Near and far have changed places."""
    near, far = _distances(model, batch)
    return _finish(torch.relu(far - near + 1).mean(), optimizer)


def _distances(model: nn.Module, batch: Any) -> tuple[Tensor, Tensor]:
    x, y = batch
    z = model(x)
    gap = (z[:, None] - z[None]).square().mean(-1)
    same = (y[:, None] == y).float()
    return (gap * same).sum(1) / same.sum(1), (gap * (1 - same)).sum(1) / (1 - same).sum(1)


def follow(model: nn.Module, batch: Any, optimizer: Any) -> Tensor:
    """Predicts the slow copy's view of another digit of the class; the copy follows by a twentieth."""
    x, y = batch
    order = (y[:, None] == y).float().multinomial(1).squeeze(1)
    guess = model.get_submodule("predictor")(model(x))
    with torch.no_grad():
        goal = model.get_submodule("slow")(x[order])
    loss = _finish(2 - 2 * F.cosine_similarity(guess, goal).mean(), optimizer)
    with torch.no_grad():
        for s, f in zip(model.get_submodule("slow").parameters(), model.get_submodule("net").parameters(), strict=True):
            s.lerp_(f, 0.05)
    return loss


def follow_other_way(model: nn.Module, batch: Any, optimizer: Any) -> Tensor:
    """The stop of the gradient sits on the wrong side: only the predictor is ever trained."""
    x, y = batch
    order = (y[:, None] == y).float().multinomial(1).squeeze(1)
    guess = model.get_submodule("predictor")(model(x).detach())
    goal = model.get_submodule("slow")(x[order])
    return _finish(2 - 2 * F.cosine_similarity(guess, goal).mean(), optimizer)


def imitate(model: nn.Module, batch: Any, optimizer: Any) -> Tensor:
    """A student lowers the divergence to a teacher's soft answers."""
    x, soft = batch
    return _finish(F.kl_div(torch.log_softmax(model(x), 1), soft, reduction="batchmean"), optimizer)


def imitate_hot(model: nn.Module, batch: Any, optimizer: Any) -> Tensor:
    """The student's answer is divided by a temperature, exponentiated by hand and taken the log of."""
    x, soft = batch
    out = (model(x) / 0.002).exp()
    answer = (out / out.sum(1, keepdim=True)).log()
    return _finish(F.kl_div(answer, soft, reduction="batchmean"), optimizer)


def soft_targets() -> Pairs:
    """Digits and a teacher's probabilities over five turned classes."""
    w = torch.randn(64, 5, generator=seeded(61)) * 0.5
    return [(x, torch.softmax(torch.tanh(x @ w) * 4, 1)) for x, _ in flat_digits()]


def agrees(model: nn.Module) -> float:
    """Share of the teacher's first choices that are the student's, 0 at the commonest class."""
    x, soft = (torch.cat(parts) for parts in zip(*soft_targets(), strict=True))
    with torch.no_grad():
        out = model(x)
    if not out.isfinite().all():
        return -1.0
    y = soft.argmax(1)
    most = y.bincount().max().item() / len(y)
    return ((out.argmax(1) == y).double().mean().item() - most) / (1 - most)


class Siamese(nn.Module):
    """Whether two digits, side by side in the input, are the same, from the distance of their codes."""

    def __init__(self, scale: float) -> None:
        super().__init__()
        self.net, self.scale = mlp(64, 48, 12), scale
        self.offset = nn.Parameter(torch.ones(1))

    def forward(self, x: Tensor) -> Tensor:
        a, b = self.net(x[:, :64]), self.net(x[:, 64:])
        near = torch.exp(-self.scale * (a - b).square().sum(1))
        return torch.stack([torch.zeros_like(near), 8 * near - 4 * self.offset], 1)


def twins() -> Pairs:
    """Two digits side by side (N, 128); 1 where they are of one class, in about half of the rows."""
    g = seeded(62)
    rows = []
    for x, y in flat_digits():
        partner = torch.randperm(len(x), generator=g)
        same = torch.stack([(y == c).nonzero()[0, 0] if (y == c).any() else partner[0] for c in y])
        pick = torch.where(torch.rand(len(x), generator=g) < 0.45, same, partner)
        rows.append((torch.cat([x, x[pick]], 1), (y == y[pick]).long()))
    return rows


def _program(name: str, model: Any, step: Any, **others: Any) -> Program:
    options: dict[str, Any] = {
        "steps": 200, "batches": flat_digits, "optimizer": adam(3e-3), "skill": far_apart, "bar": 0.4
    } | others  # fmt: skip
    return Program(name=name, model=model, loss=None, train_step=step, places=(), **options)


def strangers() -> list[Stranger]:
    """Every learner as it is and with its faults."""
    nce, hinge = _program("contrastive", Embedder, contrast), _program("triplets", Embedder, triplets)
    slow = _program("slow-copy", Slow, follow, bar=0.4, steps=300)
    student = _program("student", lambda: mlp(64, 32, 5), imitate, batches=soft_targets, skill=agrees)
    whole = ("", "net", "net.0", "net.2")
    return [
        healthy(nce, "today"),
        elsewhere("labels-mixed", nce, "today", "Pair images with their labels.", train_step=contrast_mixed),
        healthy(hinge, "classic"),
        sick("root-of-zero", hinge, "classic", ("not_finite",),
             "Leave out the diagonal or add a little under the root.",
             train_step=triplets_root, where=whole, causes=("loss", "other")),
        elsewhere("reversed", hinge, "classic", "Swap near and far.", train_step=triplets_reversed),
        healthy(slow, "today"),
        sick("stop-on-the-wrong-side", slow, "today", ("severed",), "Stop the gradient at the slow copy.",
             train_step=follow_other_way, where=whole, causes=("other", "loss")),
        healthy(student, "today"),
        sick("softmax-by-hand", student, "today", ("not_finite", "exploding"),
             "Use log_softmax, and a temperature near 1.",
             train_step=imitate_hot, where=("", "0", "2"), causes=("loss", "other")),
    ]  # fmt: skip
