"""Programs that fail for another reason while the gradient flows: data, targets, losses, rates, steps, capacity."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from typing import Any

import torch
from benchmarks.truth import data
from benchmarks.truth.case import Case, Step
from benchmarks.truth.controls.loops import clipped, scheduled
from benchmarks.truth.faults.twist import put, swap_acts
from benchmarks.truth.program import Program, adam, alter, build, sgd
from benchmarks.truth.programs.autoencoder import autoencoder, elbo_loss, vae
from benchmarks.truth.programs.cnn import cnn, resnet
from benchmarks.truth.programs.contrastive import contrastive
from benchmarks.truth.programs.diffusion import diffusion
from benchmarks.truth.programs.dqn import dqn
from benchmarks.truth.programs.gan import gan
from benchmarks.truth.programs.graph import graph
from benchmarks.truth.programs.mlp import mlp
from benchmarks.truth.programs.recommender import recommender
from benchmarks.truth.programs.recurrent import reader
from benchmarks.truth.programs.residual import residual
from benchmarks.truth.programs.transformer import encoder, gpt
from benchmarks.truth.programs.unet import unet
from torch import Tensor, nn

F = nn.functional
Batches = list[Any]


def cases() -> Iterator[Case]:
    """All of the group; each names its reason as `fault`, and none is a fault of the gradient."""
    for reason, source in REASONS.items():
        for wrong, right in source():
            yield Case(
                name=f"elsewhere-{reason}:{right.name}", program=right.name, group="elsewhere", fault=reason,
                labels=("flows", "undetermined"), steps=wrong.steps, build=partial(build, wrong),
                twin=partial(build, right), skill=right.skill, bar=right.bar,
            )  # fmt: skip


Pairs = Iterator[tuple[Program, Program]]


def _classifiers() -> tuple[Program, ...]:
    return (
        mlp("digits", "relu", 6), mlp("parity", "tanh", 5, 32, 300), cnn(5), resnet(4), encoder(3),
        reader("lstm", 16, forget=3.0), residual(30, "relu"),
        mlp("digits", "tanh", 6, optimizer=sgd(0.03), name="mlp-digits-tanh-6-sgd"),
    )  # fmt: skip


def _with_batches(p: Program, change: Callable[[Batches], Batches]) -> Program:
    make = p.batches
    return replace(p, batches=lambda: change(make()))


def shuffled_targets() -> Pairs:
    """Each batch's targets in random order."""

    def change(batches: Batches) -> Batches:
        g = data.seeded(31)
        return [(x, y[torch.randperm(len(y), generator=g)]) for x, y in batches]

    for p in (
        *_classifiers(),
        mlp("teacher", "gelu", 5, 32, 250),
        autoencoder(nn.ReLU),
        recommender(),
        unet(),
        diffusion(),
    ):
        yield _with_batches(p, change), p


def random_labels() -> Pairs:
    """Labels without any relation to the inputs."""

    def change(batches: Batches) -> Batches:
        g = data.seeded(32)
        return [(x, torch.randint(0, int(y.max()) + 1, y.shape, generator=g)) for x, y in batches]

    for p in (mlp("digits", "gelu", 8), cnn(5), gpt(3), encoder(3), graph()):
        yield _with_batches(p, change), p


def targets_off() -> Pairs:
    """Targets of the batch after."""

    def change(batches: Batches) -> Batches:
        return [(x, batches[(i + 1) % len(batches)][1]) for i, (x, _) in enumerate(batches)]

    for p in (mlp("digits", "tanh", 6), resnet(4), gpt(3), autoencoder(nn.ReLU), mlp("teacher", "relu", 5, 32, 250)):
        yield _with_batches(p, change), p


def slow_rate() -> Pairs:
    """A rate of 1e-8, Adam and SGD; one that falls to nothing after five steps; clipping to next to nothing."""
    for p in (*_classifiers(), gpt(3), mlp("teacher", "gelu", 5, 32, 250), unet(), recommender()):
        plain = "sgd" in p.name or "resnet" in p.name
        yield replace(p, optimizer=sgd(1e-7) if plain else adam(1e-8)), p


def vanishing_rate() -> Pairs:
    """A schedule that is over after five steps."""
    for p in (mlp("digits", "relu", 6), cnn(5), encoder(3), gpt(3), residual(20, "gelu")):
        assert p.loss is not None
        yield replace(p, loss=None, train_step=scheduled(lambda i: 0.1 ** max(0, i - 3))(p.loss)), p


def clipped_away() -> Pairs:
    """The gradient clipped to 1e-6 under SGD."""
    for p in (
        mlp("digits", "relu", 6, optimizer=sgd(0.03), name="mlp-digits-relu-6-sgd"),
        mlp("digits", "tanh", 6, optimizer=sgd(0.03), name="mlp-digits-tanh-6-sgd"), resnet(4),
    ):  # fmt: skip
        assert p.loss is not None
        yield replace(p, loss=None, train_step=clipped(1e-6)(p.loss)), p


def _index_mse(out: Tensor, y: Tensor) -> Tensor:
    return F.mse_loss(out, y[:, None].float().expand_as(out))


def _over_batch(out: Tensor, y: Tensor) -> Tensor:
    return F.nll_loss(out.log_softmax(0), y)


def _mean_of_batch(out: Tensor, y: Tensor) -> Tensor:
    goal = F.one_hot(y, out.shape[-1]).float().mean(0)
    return F.mse_loss(out.softmax(-1).mean(0), goal)


def _entropy(out: Tensor, y: Tensor) -> Tensor:
    return -(out.softmax(-1) * out.log_softmax(-1)).sum(-1).mean()


def _first_class(out: Tensor, y: Tensor) -> Tensor:
    return F.cross_entropy(out, torch.zeros_like(y))


def wrong_losses() -> Pairs:
    """Squared error on class numbers, softmax over the batch, the mean of the batch, entropy, one class for all."""
    losses = (_index_mse, _over_batch, _mean_of_batch, _entropy, _first_class)
    for i, p in enumerate(_classifiers()):
        for j, loss in enumerate(losses):
            if (i + j) % 2 == 0:
                yield (
                    replace(p, loss=loss, name=f"{p.name}{loss.__name__}"),
                    replace(p, name=f"{p.name}{loss.__name__}"),
                )


def broadcast_loss() -> Pairs:
    """(N, 1) against (N,): every prediction is held against every target."""
    for act in ("relu", "tanh", "gelu"):
        p = mlp("teacher", act, 5, 32, 250)
        yield replace(p, loss=lambda out, y: (out - y.squeeze(1)).square().mean()), p
    p = recommender()
    yield replace(p, loss=lambda out, y: (out - y.squeeze(1)).square().mean()), p


def one_class_a_batch() -> Pairs:
    """Data sorted by class, never shuffled."""

    def change(batches: Batches) -> Batches:
        x, y = torch.cat([b[0] for b in batches]), torch.cat([b[1] for b in batches])
        order = y.argsort(stable=True)
        size = len(batches[0][0])
        return data.cut(x[order], y[order], size, len(batches))

    for p in _classifiers():
        steps = (p.steps // 16) * 16  # whole epochs, so that the last batches are of the last class
        yield replace(_with_batches(p, change), steps=steps), replace(p, steps=steps)


def _no_step(loss: Any) -> Step:
    def step(model: nn.Module, batch: Any, optimizer: Any) -> Tensor:
        optimizer.zero_grad()
        value: Tensor = loss(model(batch[0]), batch[1])
        value.backward()
        return value.detach()

    return step


def _cleared_too_soon(loss: Any) -> Step:
    def step(model: nn.Module, batch: Any, optimizer: Any) -> Tensor:
        value: Tensor = loss(model(batch[0]), batch[1])
        value.backward()
        optimizer.zero_grad()
        optimizer.step()
        return value.detach()

    return step


def _put_back(loss: Any) -> Step:
    def step(model: nn.Module, batch: Any, optimizer: Any) -> Tensor:
        before = [p.detach().clone() for p in model.parameters()]
        optimizer.zero_grad()
        value: Tensor = loss(model(batch[0]), batch[1])
        value.backward()
        optimizer.step()
        with torch.no_grad():
            for p, old in zip(model.parameters(), before, strict=True):
                p.copy_(old)  # the script loads its checkpoint at the top of the loop
        return value.detach()

    return step


def missing_steps() -> Pairs:
    """No step, gradients cleared before it, weights loaded again at every step."""
    for i, p in enumerate(_classifiers()):
        for j, loop in enumerate((_no_step, _cleared_too_soon, _put_back)):
            if (i + j) % 3 == 0 or i < 2:
                named = replace(p, name=f"{p.name}{loop.__name__}")
                yield replace(named, loss=None, train_step=loop(p.loss)), named


def other_parameters() -> Pairs:
    """An optimizer that holds the parameters of an earlier copy, or the last bias alone."""
    for p in (mlp("digits", "relu", 6), cnn(5), gpt(3), encoder(3)):
        make = p.model
        yield replace(p, optimizer=lambda _, make=make: torch.optim.Adam(make().parameters(), lr=1e-3)), p
    for p in (mlp("parity", "tanh", 5, 32, 300), resnet(4), residual(30, "relu")):
        yield replace(p, optimizer=lambda ps: torch.optim.Adam(list(ps)[-1:], lr=1e-3)), p


def blind_inputs() -> Pairs:
    """Constant inputs, noise instead of them, pixels shuffled anew in every sample, columns that decide left out."""

    def constant(batches: Batches) -> Batches:
        return [(x[:1].expand_as(x).clone(), y) for x, y in batches]

    def noise(batches: Batches) -> Batches:
        g = data.seeded(33)
        return [(torch.randn(x.shape, generator=g), y) for x, y in batches]

    def scrambled(batches: Batches) -> Batches:
        g = data.seeded(34)
        rows = []
        for x, y in batches:
            flat = x.flatten(1)
            order = torch.rand(flat.shape, generator=g).argsort(1)
            rows.append((flat.gather(1, order).view_as(x), y))
        return rows

    def mixed(batches: Batches) -> Batches:
        return [(x.transpose(0, 1).reshape(x.shape), y) for x, y in batches]

    hosts = (mlp("digits", "relu", 6), mlp("parity", "tanh", 5, 32, 300), cnn(5), resnet(4), residual(30, "relu"))
    for i, p in enumerate(hosts):
        for j, change in enumerate((constant, noise, scrambled)):
            if (i + j) % 2 == 0 or i == 0:
                named = replace(p, name=f"{p.name}-{change.__name__}")
                yield _with_batches(named, change), named
    for p in (mlp("digits", "gelu", 6), reader("lstm", 16, forget=3.0), mlp("teacher", "tanh", 5, 32, 250)):
        yield _with_batches(replace(p, name=f"{p.name}-mixed"), mixed), replace(p, name=f"{p.name}-mixed")


def linear_nets() -> Pairs:
    """No nonlinearity: a deep product of matrices on a task that is not linear."""
    for p in (
        mlp("parity", "tanh", 4, 32, 300), mlp("spirals", "tanh", 4, 32, 300), mlp("parity", "relu", 4, 32, 300),
        residual(12, "relu", task="parity", steps=300), mlp("spirals", "relu", 6, 32, 300),
    ):  # fmt: skip

        def change(model: nn.Module) -> None:
            swap_acts(model, nn.Identity)
            for m in model.modules():
                if isinstance(m, nn.Linear):
                    nn.init.orthogonal_(m.weight)

        yield alter(p, change), p


def narrow_nets() -> Pairs:
    """A waist of one unit."""
    for p in (mlp("digits", "relu", 5), mlp("digits", "tanh", 5), cnn(5), residual(16, "gelu")):

        def change(model: nn.Module) -> None:
            head = model.get_submodule("head")
            assert isinstance(head, nn.Linear)
            waist = nn.Linear(head.in_features, 1)
            put(model, "head", nn.Sequential(waist, nn.Linear(1, head.out_features)))

        yield alter(p, change), p


class _OverBatch(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x.softmax(0)


def wrong_axis() -> Pairs:
    """A softmax over the batch in front of the loss."""
    for p in (mlp("digits", "relu", 6), mlp("parity", "tanh", 5, 32, 300), encoder(3)):
        yield alter(p, lambda m: put(m, "head", nn.Sequential(m.get_submodule("head"), _OverBatch()))), p


def other_kinds() -> Pairs:
    """Reasons of their own: a divergence that outweighs all, unrelated views, random rewards, other data."""
    p = vae()
    yield (
        replace(p, loss=lambda out, x: elbo_loss(out, x) + 500 * (out[1].square() + out[2].exp() - 1 - out[2]).mean()),
        p,
    )
    p = contrastive()

    def unrelated(batches: Batches) -> Batches:
        g = data.seeded(35)
        return [(torch.cat([x.chunk(2)[0], x.chunk(2)[1][torch.randperm(len(y), generator=g)]]), y) for x, y in batches]

    yield _with_batches(p, unrelated), p
    p = dqn()

    def rewards(batches: Batches) -> Batches:
        g = data.seeded(36)
        return [(s, a, torch.randn(r.shape, generator=g), n) for s, a, r, n in batches]

    yield _with_batches(p, rewards), p
    for hard in (True, False):
        p = gan(hard=hard)
        yield _with_batches(p, lambda batches: [torch.randn_like(b) * 3 + 5 for b in batches]), p
    p = reader("gru", 16)
    yield _with_batches(p, lambda batches: [(x.flip(1)[:, :-1], y) for x, y in batches]), p  # the first token is lost


REASONS: dict[str, Callable[[], Pairs]] = {
    "shuffled-targets": shuffled_targets,
    "random-labels": random_labels,
    "targets-off": targets_off,
    "slow-rate": slow_rate,
    "vanishing-rate": vanishing_rate,
    "clipped-away": clipped_away,
    "wrong-loss": wrong_losses,
    "broadcast-loss": broadcast_loss,
    "one-class-a-batch": one_class_a_batch,
    "missing-step": missing_steps,
    "other-parameters": other_parameters,
    "blind-inputs": blind_inputs,
    "linear-net": linear_nets,
    "narrow-net": narrow_nets,
    "wrong-axis": wrong_axis,
    "other": other_kinds,
}
