"""Loops with numerics of their own: bf16, accumulation, masks, single samples, rounding, spikes, averages, hooks."""

from collections.abc import Callable
from typing import Any

import torch
from benchmarks.strangers.generators import mlp
from benchmarks.strangers.plain import stack, xavier
from benchmarks.strangers.record import Stranger, classify, elsewhere, healthy, regress, sick
from benchmarks.strangers.spoil import shut
from benchmarks.strangers.step import finish
from benchmarks.strangers.tasks import product, spread_of_set
from benchmarks.truth.data import Pairs, flat_digits, parity, seeded, spirals, teacher
from benchmarks.truth.program import Program, adam, sgd
from benchmarks.truth.task import explained
from torch import Tensor, nn
from torch.nn import functional as F
from torch.optim import Optimizer


def half(model: nn.Module, batch: Any, optimizer: Any) -> Tensor:
    """bf16 autocast on the CPU."""
    x, y = batch
    with torch.autocast("cpu", dtype=torch.bfloat16):
        out = model(x)
    return finish(F.cross_entropy(out.float(), y), optimizer)


def half_overflow(model: nn.Module, batch: Any, optimizer: Any) -> Tensor:
    """fp16 with a loss scale that was meant for another loss."""
    x, y = batch
    loss = F.cross_entropy(model(x), y)
    scaled = loss.half() * 60000
    optimizer.zero_grad()
    scaled.backward()  # type: ignore[no-untyped-call]
    for p in model.parameters():
        if p.grad is not None:
            p.grad = (p.grad.half() * 1000).float() / 6e7
    optimizer.step()
    return loss.detach()


def accumulate(model: nn.Module, batch: Any, optimizer: Any) -> Tensor:
    """Four slices of a batch, one step."""
    x, y = batch
    optimizer.zero_grad()
    total = torch.zeros(())
    for a, b in zip(x.chunk(4), y.chunk(4), strict=True):
        loss = F.cross_entropy(model(a), b) / 4
        loss.backward()  # type: ignore[no-untyped-call]
        total = total + loss.detach()
    optimizer.step()
    return total


def never_zeroed(model: nn.Module, batch: Any, optimizer: Any) -> Tensor:
    """zero_grad() is missing: each step adds all the gradients before."""
    x, y = batch
    loss = F.cross_entropy(model(x), y)
    loss.backward()  # type: ignore[no-untyped-call]
    optimizer.step()
    return loss.detach()


def masked(model: nn.Module, batch: Any, optimizer: Any) -> Tensor:
    """Mean over the targets that are there."""
    x, y = batch
    there = ~y.isnan()
    gap = (model(x) - torch.where(there, y, 0.0)).square() * there
    return finish(gap.sum() / there.sum(), optimizer)


def masked_by_product(model: nn.Module, batch: Any, optimizer: Any) -> Tensor:
    """Missing targets are multiplied by 0, which leaves nan."""
    x, y = batch
    gap = (model(x) - y).square() * ~y.isnan()
    return finish(gap.sum(), optimizer)


def gaps() -> Pairs:
    """The teacher's task with a third of the targets missing."""
    g = seeded(71)
    return [(x, torch.where(torch.rand(y.shape, generator=g) < 0.3, torch.nan, y)) for x, y in teacher()]


def ones() -> Pairs:
    """Digits one at a time."""
    return [(x[i : i + 1], y[i : i + 1]) for x, y in flat_digits(64, 4) for i in range(64)]


class Standardise(nn.Module):
    """Over the features of a sample, or by mistake over the batch."""

    def __init__(self, axis: int) -> None:
        super().__init__()
        self.axis = axis

    def forward(self, x: Tensor) -> Tensor:
        return (x - x.mean(self.axis, keepdim=True)) / (x.std(self.axis, keepdim=True) + 1e-5)


class Round(nn.Module):
    """Activations in steps of a quarter; `straight` passes the gradient through."""

    def __init__(self, straight: bool) -> None:
        super().__init__()
        self.straight = straight

    def forward(self, x: Tensor) -> Tensor:
        rounded = (x.clamp(-2, 2) * 4).round() / 4
        return x + (rounded - x).detach() if self.straight else rounded


class Spike(torch.autograd.Function):
    """A step forward; backward the slope of a fast sigmoid of the given steepness."""

    @staticmethod
    def forward(ctx: Any, v: Tensor, steep: float) -> Tensor:
        ctx.save_for_backward(v)
        ctx.steep = steep
        return (v > 0).float()

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        (v,) = ctx.saved_tensors
        return grad / (1 + ctx.steep * v.abs()) ** 2, None


class Spiking(nn.Module):
    """Leaky neurons that fire for eight steps, read by their mean rate."""

    def __init__(self, steep: float | None, threshold: float = 1.0) -> None:
        super().__init__()
        self.fc1, self.fc2, self.head = nn.Linear(2, 48), nn.Linear(48, 6), nn.Linear(6, 2)
        self.steep, self.threshold = steep, threshold
        with torch.no_grad():
            self.fc1.weight.mul_(3)
            self.fc2.weight.mul_(3)

    def forward(self, x: Tensor) -> Tensor:
        v1, v2 = torch.zeros(len(x), 48), torch.zeros(len(x), 6)
        rate = torch.zeros(len(x), 6)
        for _ in range(8):
            v1 = 0.8 * v1 + self.fc1(x)
            s1 = self.fire(v1)
            v1 = v1 - s1.detach() * self.threshold
            v2 = 0.8 * v2 + self.fc2(s1)
            s2 = self.fire(v2)
            v2 = v2 - s2.detach() * self.threshold
            rate = rate + s2 / 8
        y: Tensor = self.head(rate)
        return y

    def fire(self, v: Tensor) -> Tensor:
        if self.steep is None:
            return (v > self.threshold).float()
        found: Tensor = Spike.apply(v - self.threshold, self.steep)  # type: ignore[no-untyped-call]
        return found


class Averaged(nn.Module):
    """A net and the running average of its weights, as a script keeps both."""

    def __init__(self) -> None:
        super().__init__()
        self.net, self.average = mlp(64, 32, 10), mlp(64, 32, 10)
        self.average.load_state_dict(self.net.state_dict())
        self.average.requires_grad_(False)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.net(x)
        return y


def averaging(model: nn.Module, batch: Any, optimizer: Any) -> Tensor:
    """Label smoothing, then the average follows."""
    x, y = batch
    loss = finish(F.cross_entropy(model(x), y, label_smoothing=0.1), optimizer)
    _pull(model.get_submodule("average"), model.get_submodule("net"), 0.02)
    return loss


def averaging_back(model: nn.Module, batch: Any, optimizer: Any) -> Tensor:
    """The copy runs the wrong way: each step puts the net back to the average."""
    x, y = batch
    loss = finish(F.cross_entropy(model(x), y, label_smoothing=0.1), optimizer)
    _pull(model.get_submodule("net"), model.get_submodule("average"), 1.0)
    return loss


def _pull(to: nn.Module, other: nn.Module, share: float) -> None:
    with torch.no_grad():
        for a, b in zip(to.parameters(), other.parameters(), strict=True):
            a.lerp_(b, share)


def clipping(parameters: Any) -> Optimizer:
    """SGD that clips by a hook before each step."""
    found = list(parameters)
    optimizer = torch.optim.SGD(found, lr=0.1, momentum=0.9)
    optimizer.register_step_pre_hook(lambda opt, args, kwargs: _clip(opt))
    return optimizer


def _clip(optimizer: Any) -> None:
    nn.utils.clip_grad_norm_([p for g in optimizer.param_groups for p in g["params"]], 1.0)


class SetNet(nn.Module):
    """Members by themselves, their mean and largest, then a head."""

    def __init__(self, cast: bool = False) -> None:
        super().__init__()
        self.member, self.head, self.cast = mlp(3, 32, 4), mlp(8, 32, 1), cast

    def forward(self, x: Tensor) -> Tensor:
        z = self.member(x)
        if self.cast:
            z = z.long().float()
        y: Tensor = self.head(torch.cat([z.mean(1), z.amax(1)], 1))
        return y


def cut_loss(out: Tensor, y: Tensor) -> Tensor:
    """Someone cured "does not require grad" by asking for it."""
    return F.mse_loss(out.detach(), y).requires_grad_(True) + 0 * out.mean()


def strangers() -> list[Stranger]:
    """Every loop as it is and with its faults."""
    return [*_halves(), *_sums(), *_masks(), *_singles(), *_steps(), *_copies(), *_sets()]


def _halves() -> list[Stranger]:
    sound = classify("bf16", lambda: mlp(64, 32, 32, 10), flat_digits, loss=None, train_step=half)
    return [
        healthy(sound, "today"),
        sick("fp16-scaled-out", sound, "today", ("not_finite", "exploding"), "Use bf16, or a scaler that adapts.",
             train_step=half_overflow, causes=("loss", "other")),
    ]  # fmt: skip


def _sums() -> list[Stranger]:
    sound = classify("accumulated", lambda: xavier(stack(8, 32, 2, 3, nn.SiLU), 1.4), parity, loss=None,
                     train_step=accumulate, optimizer=sgd(0.1), steps=200)  # fmt: skip
    hooked = classify("clipped-by-hook", lambda: mlp(2, 32, 32, 2, act=nn.Tanh), spirals, optimizer=clipping, steps=250)
    return [
        healthy(sound, "classic"),
        elsewhere("never-zeroed", sound, "classic", "Call zero_grad() in each step.", train_step=never_zeroed),
        healthy(hooked, "classic"),
    ]


def _masks() -> list[Stranger]:
    sound = Program(
        name="masked", steps=200, model=lambda: mlp(12, 32, 32, 1, act=nn.SiLU), batches=gaps, loss=None,
        optimizer=adam(5e-3), train_step=masked, skill=explained(teacher), places=(),
    )  # fmt: skip
    return [
        healthy(sound, "classic"),
        sick("nan-times-zero", sound, "classic", ("not_finite",),
             "Select the targets that are there before the difference.",
             train_step=masked_by_product, causes=("loss", "other")),
    ]  # fmt: skip


def _singles() -> list[Stranger]:
    def make(axis: int) -> Callable[[], nn.Module]:
        return lambda: nn.Sequential(nn.Linear(64, 32), Standardise(axis), nn.ReLU(), nn.Linear(32, 10))

    sound = classify("one-by-one", make(1), ones, steps=300)
    return [
        healthy(sound, "classic"),
        sick("std-of-one", sound, "classic", ("not_finite",), "Standardise over the features.", model=make(0),
             where=("", "1"), causes=("norm", "other")),
    ]  # fmt: skip


def _steps() -> list[Stranger]:
    def rounded(straight: bool) -> Callable[[], nn.Module]:
        return lambda: nn.Sequential(nn.Linear(8, 48), nn.SiLU(), nn.Linear(48, 6), Round(straight), nn.Linear(6, 2))

    quantised = classify("rounded-straight-through", rounded(True), parity, lr=1e-2, steps=250)
    spiking = classify("spiking", lambda: Spiking(2.0), spirals, lr=1e-2, steps=150)
    spikes = ("", "fc1", "fc2")
    return [
        healthy(quantised, "today"),
        sick("round", quantised, "today", ("severed", "dead"), "Pass the gradient straight through the rounding.",
             model=rounded(False), where=("3", "2", "0", "1"), causes=("slope", "other")),
        healthy(spiking, "today"),
        sick("no-surrogate", spiking, "today", ("severed", "dead"), "Give the spike a surrogate slope.",
             model=lambda: Spiking(None), where=spikes, causes=("slope", "other")),
        sick("silent", spiking, "today", ("dead", "saturated", "vanishing"),
             "Lower the threshold so that neurons fire.",
             model=lambda: Spiking(50.0, 60.0), where=spikes, causes=("slope", "weight", "other")),
    ]  # fmt: skip


def _copies() -> list[Stranger]:
    sound = classify("average-of-weights", Averaged, flat_digits, loss=None, train_step=averaging)
    return [
        healthy(sound, "classic"),
        elsewhere("copied-back", sound, "classic", "Let the average follow the net.", train_step=averaging_back),
    ]


def _sets() -> list[Stranger]:
    sets = regress("set-net", SetNet, spread_of_set, lr=5e-3, steps=200)
    field = regress("plain-field", lambda: mlp(4, 32, 1, act=nn.SiLU), product, lr=1e-2)
    return [
        healthy(sets, "today"),
        sick("members-shut", sets, "today", ("dead", "bad_init", "severed"), "Start the biases at 0.",
             model=lambda: shut(SetNet(), -30.0, "member.0"), where=("member", "member.0", "member.1", ""),
             causes=("slope", "weight")),
        sick("cast-to-long", sets, "today", ("severed",), "Keep the members floats.", model=lambda: SetNet(True),
             where=("", "member", "member.0", "member.2"), causes=("other",)),
        healthy(field, "classic"),
        sick("loss-asks-for-grad", field, "classic", ("severed",), "Compute the loss with its graph.", loss=cut_loss,
             where=("", "2"), causes=("loss", "other")),
    ]  # fmt: skip
