"""Healthy losses that look odd: scaled, summed, negative, hinged, mostly ignored, smoothed, several at once."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import torch
from benchmarks.truth import data
from benchmarks.truth.controls.architectures import Custom
from benchmarks.truth.program import Program, adam, sgd
from benchmarks.truth.programs.cnn import cnn, resnet
from benchmarks.truth.programs.mlp import mlp
from benchmarks.truth.programs.recurrent import reader
from benchmarks.truth.programs.residual import residual
from benchmarks.truth.programs.transformer import encoder, gpt
from benchmarks.truth.task import accuracy, explained
from torch import Tensor, nn

F = nn.functional
Loss = Callable[[Tensor, Tensor], Tensor]


def programs() -> Iterator[Program]:
    """All of them."""
    yield from scaled()
    yield from other_losses()
    yield from ignored()
    yield from likelihoods()
    yield from several()


def _times(loss: Any, factor: float) -> Loss:
    return lambda out, y: loss(out, y) * factor


def scaled() -> Iterator[Program]:
    """The same loss times 1e-6 to 1e6, under SGD with the rate to match and under Adam; sums over the batch."""
    for factor in (1e-6, 1e-4, 65536.0, 1e6):
        for p, rate in ((mlp("digits", "relu", 6), 0.03), (resnet(4), 0.05), (mlp("parity", "tanh", 5, 32, 400), 0.1)):
            yield replace(
                p, loss=_times(p.loss, factor), optimizer=sgd(rate / factor), name=f"{p.name}-loss*{factor:g}-sgd"
            )
        for p in (mlp("digits", "gelu", 8), gpt(3), reader(), cnn(5), residual(30, "relu")):
            yield replace(
                p, loss=_times(p.loss, factor), optimizer=adam(2e-3 if p.name[0] != "l" else 1e-2, eps=1e-16),
                name=f"{p.name}-loss*{factor:g}",
            )  # fmt: skip
    for p in (mlp("digits", "relu", 6), cnn(5), encoder(3)):
        yield replace(p, loss=nn.CrossEntropyLoss(reduction="sum"), name=f"{p.name}-sum")
        yield replace(p, loss=nn.CrossEntropyLoss(reduction="sum"), optimizer=sgd(5e-4), name=f"{p.name}-sum-sgd")
    p = mlp("teacher", "gelu", 5, 32, 250)
    yield replace(p, loss=nn.MSELoss(reduction="sum"), name=f"{p.name}-sum")


def _hinge(out: Tensor, y: Tensor) -> Tensor:
    return F.multi_margin_loss(out, y)


def _focal(out: Tensor, y: Tensor) -> Tensor:
    losses = F.cross_entropy(out, y, reduction="none")
    return ((1 - (-losses).exp()) ** 2 * losses).mean()


def _one_hot_mse(out: Tensor, y: Tensor) -> Tensor:
    return F.mse_loss(out, F.one_hot(y, out.shape[-1]).float())


def _binary(out: Tensor, y: Tensor) -> Tensor:
    return F.binary_cross_entropy_with_logits(out, F.one_hot(y, out.shape[-1]).float())


def _expected_reward(out: Tensor, y: Tensor) -> Tensor:
    return -out.softmax(-1).gather(1, y[:, None]).mean()  # policy gradient in expectation: negative


def other_losses() -> Iterator[Program]:
    """Hinge, focal, smoothed, squared on one-hot targets, binary per class, reward; robust regression."""
    losses: dict[str, Loss] = {
        "hinge": _hinge, "focal": _focal, "smoothed": nn.CrossEntropyLoss(label_smoothing=0.2),
        "one-hot-mse": _one_hot_mse, "binary": _binary, "reward": _expected_reward,
    }  # fmt: skip
    for word, loss in losses.items():
        for p in (mlp("digits", "relu", 5), cnn(4)):
            yield replace(p, loss=loss, name=f"{p.name}-{word}")
    regress: dict[str, Loss] = {"l1": F.l1_loss, "huber": F.smooth_l1_loss, "mse*100": _times(F.mse_loss, 100.0)}
    for word, loss in regress.items():
        p = mlp("teacher", "tanh", 4, 32, 300)
        yield replace(p, loss=loss, name=f"{p.name}-{word}")


def ignored() -> Iterator[Program]:
    """Most targets are -100."""

    def hide(make: Callable[[], data.Pairs], share: float) -> Callable[[], data.Pairs]:
        def hidden() -> data.Pairs:
            g = data.seeded(22)
            return [(x, y.masked_fill(torch.rand(y.shape, generator=g) < share, -100)) for x, y in make()]

        return hidden

    for share in (0.5, 0.85):
        p = gpt(3)
        yield replace(p, batches=hide(data.text, share), name=f"gpt-3-ignored-{share:g}", bar=0.1)
        p = mlp("digits", "relu", 5, steps=250)
        yield replace(p, batches=hide(data.flat_digits, share), name=f"mlp-digits-ignored-{share:g}")


def _gaussian(out: Tensor, y: Tensor) -> Tensor:
    mean, logvar = out[:, :1], out[:, 1:]
    return 0.5 * ((y - mean).square() * (-logvar).exp() + logvar).mean() - 2.0


def _mean(model: nn.Module, x: Tensor) -> Tensor:
    found: Tensor = model(x)[:, :1]
    return found


def likelihoods() -> Iterator[Program]:
    """Losses below zero: a Gaussian likelihood, a cosine, a mixture's density."""
    p = mlp("teacher", "gelu", 4, 32, 300)

    def two_outputs() -> nn.Module:
        torch.manual_seed(0)
        return nn.Sequential(nn.Linear(12, 48), nn.GELU(), nn.Linear(48, 48), nn.GELU(), nn.Linear(48, 2))

    yield replace(
        p, model=two_outputs, loss=_gaussian, skill=explained(data.teacher, _mean), name="gaussian-likelihood",
    )  # fmt: skip

    def cosine(out: Tensor, y: Tensor) -> Tensor:
        return -F.cosine_similarity(out, F.one_hot(y, 10).float(), dim=-1).mean()

    yield replace(mlp("digits", "relu", 4), loss=cosine, name="negative-cosine")
    yield replace(mlp("digits", "tanh", 8), loss=cosine, name="negative-cosine-tanh")

    def shifted(out: Tensor, y: Tensor) -> Tensor:
        return F.cross_entropy(out, y) - 5.0

    yield replace(mlp("digits", "gelu", 5), loss=shifted, name="loss-minus-5")


def several() -> Iterator[Program]:
    """Auxiliary heads, a tiny second term, distillation from a frozen teacher, a frozen judge behind the output."""

    def both(m: Any, x: Tensor) -> Tensor:
        h = m.b(m.a(x).relu()).relu()
        return torch.cat([m.main(h), m.side(h)], 1)

    def main_part(model: nn.Module, x: Tensor) -> Tensor:
        found: Tensor = model(x)[:, :10]
        return found

    def make() -> nn.Module:
        torch.manual_seed(0)
        return Custom(both, a=nn.Linear(64, 48), b=nn.Linear(48, 48), main=nn.Linear(48, 10), side=nn.Linear(48, 10))

    def weighted(weight: float) -> Loss:
        return lambda out, y: F.cross_entropy(out[:, :10], y) + weight * F.cross_entropy(out[:, 10:], y)

    for weight in (0.3, 1e-4):
        yield replace(
            mlp("digits", "relu", 4), model=make, loss=weighted(weight),
            skill=accuracy(data.flat_digits, main_part), name=f"side-head-{weight:g}",
        )  # fmt: skip

    def judged(m: Any, x: Tensor) -> Tensor:
        y: Tensor = m.judge(m.b(m.a(x).relu()))
        return y

    def with_judge() -> nn.Module:
        torch.manual_seed(0)
        judge = nn.Sequential(nn.Linear(32, 32), nn.Tanh(), nn.Linear(32, 10)).requires_grad_(False)
        return Custom(judged, a=nn.Linear(64, 48), b=nn.Linear(48, 32), judge=judge)

    yield replace(mlp("digits", "relu", 4), model=with_judge, name="frozen-judge")
