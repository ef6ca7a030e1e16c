"""Learning from pairs: a contrastive encoder, one that predicts its slow copy, triplets, a student."""

from typing import Any

import torch
from benchmarks.strangers.generators import mlp
from benchmarks.strangers.record import Stranger, elsewhere, healthy, sick
from benchmarks.strangers.spoil import shut
from benchmarks.strangers.step import finish
from benchmarks.truth.data import Pairs, flat_digits, seeded
from benchmarks.truth.program import Program, adam
from benchmarks.truth.task import accuracy
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
        self.net, self.predictor, self.slow = coder(), mlp(12, 24, 12), coder()
        self.slow.load_state_dict(self.net.state_dict())
        self.slow.requires_grad_(False)

    def forward(self, x: Tensor) -> Tensor:
        z: Tensor = self.net(x)
        return z


def coder() -> nn.Sequential:
    """Digits to 12 numbers with batch norms, which keep them apart."""
    return nn.Sequential(nn.Linear(64, 48), nn.BatchNorm1d(48), nn.ReLU(), nn.Linear(48, 12), nn.BatchNorm1d(12))


def far_apart(model: nn.Module) -> float:
    """How much more alike digits of one class are than those of two classes, 0 for the pixels themselves, at most 1."""
    x = torch.cat([x for x, _ in flat_digits()])[:512]
    y = torch.cat([y for _, y in flat_digits()])[:512]
    with torch.no_grad():
        z = model(x)
    if not z.isfinite().all():
        return -1.0
    raw = _gap(x, y)
    return min(1.0, (_gap(z, y) - raw) / (1 - raw))


def _gap(z: Tensor, y: Tensor) -> float:
    z = F.normalize(z - z.mean(0), dim=1)
    same = (y[:, None] == y).float() - torch.eye(len(y))
    other = (y[:, None] != y).float()
    alike = z @ z.T
    return float(((alike * same).sum() / same.sum() - (alike * other).sum() / other.sum()).item())


def views(x: Tensor) -> tuple[Tensor, Tensor]:
    """Two views with noise on them."""
    return x + 0.5 * torch.randn_like(x), x + 0.5 * torch.randn_like(x)


def _supervised(model: nn.Module, batch: Any, temperature: float) -> Tensor:
    x, y = batch
    z = torch.cat([F.normalize(model(v), dim=1) for v in views(x)])
    y = torch.cat([y, y])
    scores = z @ z.T / temperature - 1e9 * torch.eye(len(z))
    same = (y[:, None] == y).float() - torch.eye(len(z))
    return -(torch.log_softmax(scores, 1) * same).sum() / same.sum()


def contrast(model: nn.Module, batch: Any, optimizer: Any) -> Tensor:
    """Supervised contrast at temperature 0.2."""
    return finish(_supervised(model, batch, 0.2), optimizer)


def contrast_cold(model: nn.Module, batch: Any, optimizer: Any) -> Tensor:
    """Both views are compared by detached vectors; the regulariser alone has a graph."""
    x, _ = batch
    a, b = (model(v) for v in views(x))
    with torch.no_grad():
        loss = -F.cosine_similarity(a, b).mean()
    return finish(loss + 1e-3 * a.square().mean(), optimizer)


def contrast_mixed(model: nn.Module, batch: Any, optimizer: Any) -> Tensor:
    """The labels belong to another order of the images."""
    x, y = batch
    return finish(_supervised(model, (x, y[torch.randperm(len(y))]), 0.2), optimizer)


def triplets(model: nn.Module, batch: Any, optimizer: Any) -> Tensor:
    """Anchor, another of its class, one of another class; hinge of 1 on squared distances."""
    near, far = _distances(model, batch)
    return finish(torch.relu(near - far + 1).mean(), optimizer)


def triplets_root(model: nn.Module, batch: Any, optimizer: Any) -> Tensor:
    """The same on distances: the root of 0, where an anchor is its own partner, has no slope."""
    x, y = batch
    z = model(x)
    gap = (z[:, None] - z[None]).square().sum(-1).sqrt()
    same = (y[:, None] == y).float()
    near, far = (gap * same).sum(1) / same.sum(1), (gap * (1 - same)).sum(1) / (1 - same).sum(1)
    return finish(torch.relu(near - far + 1).mean(), optimizer)


def triplets_reversed(model: nn.Module, batch: Any, optimizer: Any) -> Tensor:
    """Near and far have changed places."""
    near, far = _distances(model, batch)
    return finish(torch.relu(far - near + 1).mean(), optimizer)


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
    loss = finish(2 - 2 * F.cosine_similarity(guess, goal).mean(), optimizer)
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
    return finish(2 - 2 * F.cosine_similarity(guess, goal).mean(), optimizer)


def imitate(model: nn.Module, batch: Any, optimizer: Any) -> Tensor:
    """A student lowers the divergence to a teacher's soft answers."""
    x, soft = batch
    return finish(F.kl_div(torch.log_softmax(model(x), 1), soft, reduction="batchmean"), optimizer)


def imitate_hot(model: nn.Module, batch: Any, optimizer: Any) -> Tensor:
    """The student's answer is divided by a temperature, exponentiated by hand and taken the log of."""
    x, soft = batch
    out = (model(x) / 0.002).exp()
    answer = (out / out.sum(1, keepdim=True)).log()
    return finish(F.kl_div(answer, soft, reduction="batchmean"), optimizer)


def soft_targets() -> Pairs:
    """Digits and a teacher's probabilities over five turned classes."""
    w = torch.randn(64, 5, generator=seeded(61)) * 0.5
    return [(x, torch.softmax(torch.tanh(x @ w) * 4, 1)) for x, _ in flat_digits()]


def first_choices() -> Pairs:
    """Digits and the teacher's first choice, for the skill alone."""
    return [(x, soft.argmax(1)) for x, soft in soft_targets()]


def _program(name: str, model: Any, step: Any, **others: Any) -> Program:
    options: dict[str, Any] = {
        "steps": 200, "batches": flat_digits, "optimizer": adam(3e-3), "skill": far_apart, "bar": 0.4
    } | others  # fmt: skip
    return Program(name=name, model=model, loss=None, train_step=step, places=(), **options)


def strangers() -> list[Stranger]:
    """Every learner as it is and with its faults."""
    nce, hinge = _program("contrastive", Embedder, contrast), _program("triplets", Embedder, triplets)
    slow = _program("slow-copy", Slow, follow, bar=0.25)
    student = _program("student", lambda: mlp(64, 32, 5), imitate, batches=soft_targets, skill=accuracy(first_choices))
    whole = ("", "net", "net.0", "net.2")
    return [
        healthy(nce, "today"),
        sick("codes-rectified", nce, "today", ("dead", "bad_init", "severed"), "Leave the codes without a ReLU.",
             model=lambda: Embedder(-40.0), where=whole, causes=("slope", "weight")),
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
        sick("units-shut", student, "today", ("dead", "bad_init", "severed"), "Start the biases at 0.",
             model=lambda: shut(mlp(64, 32, 5), -60.0, "0"), where=("0", "1", ""), causes=("slope", "weight")),
        sick("softmax-by-hand", student, "today", ("not_finite", "exploding"),
             "Use log_softmax, and a temperature near 1.",
             train_step=imitate_hot, where=("", "0", "2"), causes=("loss", "other")),
    ]  # fmt: skip
