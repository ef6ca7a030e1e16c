"""Healthy starts that look sick: zeros that open, tiny scales, frozen parts, drift, sparsity, converged networks."""

from collections.abc import Iterator
from typing import Any

import torch
from benchmarks.truth.faults.twist import change_weights, hidden, put, weighted
from benchmarks.truth.program import Program, adam, advance, alter, sgd
from benchmarks.truth.programs.cnn import cnn, resnet
from benchmarks.truth.programs.mlp import mlp
from benchmarks.truth.programs.recurrent import reader
from benchmarks.truth.programs.residual import residual
from benchmarks.truth.programs.transformer import encoder, gpt
from torch import Tensor, nn


class Scaled(nn.Module):
    """x + scale * branch(x), the scale learnt: ReZero at 0, LayerScale per feature at 1e-6."""

    def __init__(self, branch: nn.Module, width: int, start: float) -> None:
        super().__init__()
        self.branch = branch
        self.scale = nn.Parameter(torch.full((width,), start))

    def forward(self, x: Tensor) -> Tensor:
        return x + self.scale * self.branch(x)


class Lora(nn.Module):
    """A frozen Linear plus B A x with B zero."""

    def __init__(self, base: nn.Linear, rank: int) -> None:
        super().__init__()
        self.base = base.requires_grad_(False)
        self.a = nn.Linear(base.in_features, rank, bias=False)
        self.b = nn.Linear(rank, base.out_features, bias=False)
        nn.init.zeros_(self.b.weight)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.base(x) + self.b(self.a(x))
        return y


def programs() -> Iterator[Program]:
    """All of them."""
    yield from zero_starts()
    yield from frozen_parts()
    yield from drifts()
    yield from converged()


def _scale_blocks(start: float, width: int) -> Any:
    def change(model: nn.Module) -> None:
        for name, m in list(model.get_submodule("blocks").named_children()):
            m.skip = False  # type: ignore[assignment]
            put(model, f"blocks.{name}", Scaled(m, width, start))

    return change


def _zero_head(model: nn.Module) -> None:
    for p in model.get_submodule("head").parameters():
        nn.init.zeros_(p)


def _zero_last_norm(model: nn.Module) -> None:
    for name, p in model.named_parameters():
        if name.endswith("bn2.weight"):
            nn.init.zeros_(p)


def _fixup(model: nn.Module) -> None:
    blocks = list(model.get_submodule("blocks"))  # type: ignore[arg-type]
    for block in blocks:
        block.bn1, block.bn2 = nn.Identity(), nn.Identity()
        block.conv1.weight.data *= len(blocks) ** -0.5
        nn.init.zeros_(block.conv2.weight)


def _zero_projections(model: nn.Module) -> None:
    for name, p in model.named_parameters():
        if name.endswith(("proj.weight", "mlp.2.weight")):
            nn.init.zeros_(p)


def zero_starts() -> Iterator[Program]:
    """Branches, heads and projections that start at nothing."""
    for depth, act in ((12, "relu"), (30, "relu"), (50, "gelu")):
        base = residual(depth, act, normed=False, optimizer=adam(3e-3))
        yield alter(base, _scale_blocks(0.0, 32), name=f"rezero-{act}-{depth}")
        base = residual(depth, act, optimizer=adam(3e-3))
        yield alter(base, _scale_blocks(1e-6, 32), name=f"layerscale-{act}-{depth}")
    base = residual(24, "relu", optimizer=sgd(0.05))
    yield alter(base, _scale_blocks(1e-6, 32), name="layerscale-relu-24-sgd")
    yield alter(residual(24, "relu", normed=False, optimizer=sgd(0.05)), _scale_blocks(0.0, 32), name="rezero-24-sgd")
    for p in (
        mlp("digits", "relu", 5),
        mlp("parity", "tanh", 5, 32, 300),
        cnn(6),
        resnet(5),
        encoder(3),
        gpt(3),
        reader(),
    ):
        yield change_weights(p, _zero_head, name=f"{p.name}-zero-head")
    yield change_weights(resnet(5), _zero_last_norm, name="resnet-5-zero-gamma")
    yield change_weights(resnet(10), _zero_last_norm, name="resnet-10-zero-gamma")
    yield change_weights(resnet(5, optimizer=adam(2e-3)), _fixup, name="fixup-5")
    yield change_weights(resnet(10, optimizer=adam(2e-3)), _fixup, name="fixup-10")
    yield change_weights(gpt(4), _zero_projections, name="gpt-4-zero-projections")
    yield change_weights(encoder(6), _zero_projections, name="encoder-6-zero-projections")


def _freeze(*stems: str) -> Any:
    def change(model: nn.Module) -> None:
        for name, p in model.named_parameters():
            if name.startswith(stems):
                p.requires_grad_(False)

    return change


def _lora(rank: int) -> Any:
    def change(model: nn.Module) -> None:
        for name, m in list(weighted(model)):
            if isinstance(m, nn.Linear) and name != "head":
                put(model, name, Lora(m, rank))
        for name, p in model.named_parameters():
            if name.endswith(("embed.weight", "position")) or ".ln" in name:
                p.requires_grad_(False)

    return change


def frozen_parts() -> Iterator[Program]:
    """Backbones that don't train, on purpose; adapters beside them."""
    yield alter(mlp("digits", "relu", 6), _freeze("inp", "blocks.0", "blocks.1", "blocks.2"), name="frozen-mlp-front")
    yield alter(mlp("digits", "tanh", 4), _freeze("inp", "blocks"), name="frozen-mlp-all-but-head")
    yield alter(cnn(6), _freeze("stem", "blocks.0", "blocks.1"), name="frozen-cnn-front")
    yield alter(resnet(5), _freeze("stem", "blocks.0", "blocks.1", "blocks.2"), name="frozen-resnet-front")
    yield alter(gpt(3), _freeze("embed", "position"), name="frozen-embeddings")
    yield alter(residual(24, "gelu"), _freeze("blocks.2", "blocks.3", "blocks.4"), name="frozen-middle")
    yield alter(mlp("digits", "relu", 5), _freeze("blocks.4", "head"), name="frozen-head")
    yield alter(mlp("digits", "relu", 4, optimizer=adam(5e-3)), _lora(8), name="lora-mlp-4")
    yield alter(mlp("digits", "gelu", 6, optimizer=adam(5e-3)), _lora(4), name="lora-mlp-6")
    yield alter(gpt(3, optimizer=adam(5e-3)), _lora(8), name="lora-gpt-3")
    yield alter(residual(20, "relu", optimizer=adam(5e-3)), _lora(4), name="lora-residual-20")


def _lower(bias: float) -> Any:
    def change(model: nn.Module) -> None:
        for m in weighted(model, "blocks"):
            m[1].bias.fill_(bias)  # type: ignore[operator, union-attr]

    return change


def drifts() -> Iterator[Program]:
    """An honest decade over the depth, either way; sparse ReLUs; default initialisation where it still works."""
    for act, depth, gain in (
        ("relu", 18, 1.26), ("relu", 18, 1.55), ("tanh", 18, 1.1), ("gelu", 14, 1.4), ("leaky", 16, 1.25),
        ("relu", 10, 1.15), ("relu", 10, 1.7), ("tanh", 10, 1.5), ("selu", 20, 0.95), ("elu", 12, 1.1),
    ):  # fmt: skip
        yield mlp("digits", act, depth, gain=gain, name=f"drift-{act}-{depth}-{gain:g}")
    for act, depth in (("relu", 3), ("tanh", 4), ("gelu", 3)):
        yield mlp("digits", act, depth, gain=0.0, name=f"default-init-{act}-{depth}")
    p = mlp("digits", "relu", 5)
    for bias in (-0.3, -0.6):
        yield change_weights(p, _lower(bias), name=f"sparse-relu{bias:g}")
    yield change_weights(cnn(5), _lower(-0.2), name="sparse-relu-cnn")

    def some_dead(model: nn.Module) -> None:
        for m in hidden(model, p):
            m.bias[:12] = -20.0  # type: ignore[index, operator]

    yield change_weights(p, some_dead, name="a-quarter-dead")


def converged() -> Iterator[Program]:
    """Networks trained before the exam starts, gradients left over from the last step."""

    def before(steps: int) -> Any:
        def prepare(setup: Any) -> None:
            advance(setup, steps)

        return prepare

    for steps, p in (
        (300, mlp("digits", "relu", 5)), (300, mlp("parity", "tanh", 5, 32, 200)), (250, cnn(5, steps=80)),
        (300, gpt(2, steps=80)), (300, reader("gru", 12, steps=120)), (250, resnet(4, steps=60)),
        (400, mlp("teacher", "gelu", 4, 32, 150)), (200, encoder(3, steps=80)), (1500, mlp("digits", "relu", 3)),
    ):  # fmt: skip
        yield alter(p, lambda model: None, prepare=before(steps), name=f"converged-{steps}-{p.name}")
