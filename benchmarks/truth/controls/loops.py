"""Healthy loops: accumulation, clipping, schedules, loss scales, penalties, noise, mixed precision, several models."""

import math
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import torch
from benchmarks.truth import data
from benchmarks.truth.case import Step
from benchmarks.truth.program import Program, adam, adamw, sgd
from benchmarks.truth.programs.autoencoder import autoencoder
from benchmarks.truth.programs.cnn import cnn, resnet
from benchmarks.truth.programs.mlp import mlp
from benchmarks.truth.programs.recurrent import elman, reader
from benchmarks.truth.programs.residual import residual
from benchmarks.truth.programs.transformer import encoder, gpt
from benchmarks.truth.task import accuracy, explained
from torch import Tensor, nn

Loss = Callable[[Tensor, Tensor], Tensor]


def programs() -> Iterator[Program]:
    """All of them."""
    hosts = (
        mlp("digits", "relu", 6), mlp("digits", "tanh", 6, optimizer=sgd(0.03), name="mlp-digits-tanh-6-sgd"),
        cnn(5), gpt(3), reader("gru", 16, steps=400), resnet(4), residual(20, "gelu"),
    )  # fmt: skip
    for i, p in enumerate(hosts):
        assert p.loss is not None
        for j, (word, step) in enumerate(STEPS.items()):
            if (i + j) % 2 == 0:  # every second pair, so that each loop meets three or four programs
                yield replace(p, loss=None, train_step=step(p.loss), name=f"{p.name}-{word}")
    yield from decayed()
    p = elman(16, nn.Tanh, 1.0)
    yield replace(p, loss=None, train_step=clipped(0.1)(nn.functional.cross_entropy), name="elman-T16-clipped")
    for p, skill in (
        (mlp("digits", "relu", 5), accuracy(data.flat_digits, _ask_double)),
        (autoencoder(nn.GELU), explained(data.unit_digits, _ask_double)),
    ):
        yield replace(
            p,
            model=_double(p.model),
            batches=_double_batches(p.batches),
            skill=skill,
            name=f"{p.name}-float64",
        )


def _ask_double(model: nn.Module, x: Tensor) -> Tensor:
    found: Tensor = model(x.double())
    return found


def _plain(model: nn.Module, x: Tensor, y: Tensor, loss: Loss) -> Tensor:
    return loss(model(x), y)


def accumulated(count: int) -> Callable[[Loss], Step]:
    """The batch in `count` parts, gradients summed, one step."""

    def make(loss: Loss) -> Step:
        def step(model: nn.Module, batch: Any, optimizer: Any) -> Tensor:
            optimizer.zero_grad()
            total = torch.zeros(())
            for x, y in zip(batch[0].chunk(count), batch[1].chunk(count), strict=True):
                part = _plain(model, x, y, loss) / count
                part.backward()
                total = total + part.detach()
            optimizer.step()
            return total

        return step

    return make


def clipped(limit: float) -> Callable[[Loss], Step]:
    """Global norm clipped; 0.1 bites at every step."""

    def make(loss: Loss) -> Step:
        def step(model: nn.Module, batch: Any, optimizer: Any) -> Tensor:
            optimizer.zero_grad()
            value = _plain(model, *batch, loss)
            value.backward()
            nn.utils.clip_grad_norm_(model.parameters(), limit)
            optimizer.step()
            return value.detach()

        return step

    return make


def scheduled(shape: Callable[[int], float]) -> Callable[[Loss], Step]:
    """A rate that follows a schedule; the count stands in the optimizer's own group, so that a copy goes on from it."""

    def make(loss: Loss) -> Step:
        def step(model: nn.Module, batch: Any, optimizer: Any) -> Tensor:
            for group in optimizer.param_groups:
                group.setdefault("peak", group["lr"])
                group["count"] = group.get("count", 0) + 1
                group["lr"] = group["peak"] * shape(group["count"])
            optimizer.zero_grad()
            value = _plain(model, *batch, loss)
            value.backward()
            optimizer.step()
            return value.detach()

        return step

    return make


def loss_scaled(scale: float) -> Callable[[Loss], Step]:
    """What a gradient scaler does: the loss times 65536, the gradients divided before the step."""

    def make(loss: Loss) -> Step:
        def step(model: nn.Module, batch: Any, optimizer: Any) -> Tensor:
            optimizer.zero_grad()
            value = _plain(model, *batch, loss)
            (value * scale).backward()
            for p in model.parameters():
                if p.grad is not None:
                    p.grad /= scale
            optimizer.step()
            return value.detach()

        return step

    return make


def autocast(loss: Loss) -> Step:
    """bfloat16 forward."""

    def step(model: nn.Module, batch: Any, optimizer: Any) -> Tensor:
        optimizer.zero_grad()
        with torch.autocast("cpu", torch.bfloat16):
            out = model(batch[0])
        value = loss(out.float(), batch[1])
        value.backward()
        optimizer.step()
        return value.detach()

    return step


def penalised(loss: Loss) -> Step:
    """A weight penalty written into the loss, and noise on the gradients."""

    def step(model: nn.Module, batch: Any, optimizer: Any) -> Tensor:
        optimizer.zero_grad()
        value = _plain(model, *batch, loss)
        (value + 1e-4 * sum(p.square().sum() for p in model.parameters())).backward()
        for p in model.parameters():
            if p.grad is not None:
                p.grad += 0.05 * p.grad.std(correction=0) * torch.randn_like(p.grad)
        optimizer.step()
        return value.detach()

    return step


def looked_ahead(loss: Loss) -> Step:
    """Sharpness-aware: the gradient at a point a little uphill."""

    def step(model: nn.Module, batch: Any, optimizer: Any) -> Tensor:
        optimizer.zero_grad()
        value = _plain(model, *batch, loss)
        value.backward()
        with torch.no_grad():
            grads = [p.grad for p in model.parameters() if p.grad is not None]
            norm = torch.stack([g.norm() for g in grads]).norm() + 1e-12
            moves = [(p, 0.02 * p.grad / norm) for p in model.parameters() if p.grad is not None]
            for p, move in moves:
                p += move
        optimizer.zero_grad()
        _plain(model, *batch, loss).backward()
        with torch.no_grad():
            for p, move in moves:
                p -= move
        optimizer.step()
        return value.detach()

    return step


STEPS: dict[str, Callable[[Loss], Step]] = {
    "accumulated": accumulated(4),
    "clipped-1": clipped(1.0),
    "clipped-0.1": clipped(0.1),
    "cosine": scheduled(lambda i: 0.5 * (1 + math.cos(math.pi * min(i / 250, 1.0)))),
    "warmup": scheduled(lambda i: min(i / 50, 1.0)),
    "scaler": loss_scaled(65536.0),
    "autocast": autocast,
    "penalised": penalised,
    "sam": looked_ahead,
}


def decayed() -> Iterator[Program]:
    """Weight decay that pulls visibly."""
    yield mlp("digits", "relu", 6, optimizer=adamw(2e-3, weight_decay=1.0), name="mlp-digits-relu-6-decay1")
    yield mlp("digits", "tanh", 8, optimizer=sgd(0.03, weight_decay=5e-3), name="mlp-digits-tanh-8-decay")
    yield resnet(5, optimizer=sgd(0.05, weight_decay=1e-2), name="resnet-5-decay")
    yield encoder(3, optimizer=adamw(2e-3, weight_decay=0.5), name="encoder-3-decay")
    yield cnn(5, optimizer=adam(3e-3, amsgrad=True), name="cnn-relu-5-amsgrad")


def _double(make: Callable[[], nn.Module]) -> Callable[[], nn.Module]:
    return lambda: make().double()


def _double_batches(make: Callable[[], Any]) -> Callable[[], Any]:
    return lambda: [tuple(t.double() if t.is_floating_point() else t for t in batch) for batch in make()]
