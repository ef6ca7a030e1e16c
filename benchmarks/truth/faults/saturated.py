"""Saturation: bounded activations far past their bend, in one layer or all; a squash too many before the loss."""

from collections.abc import Iterator

import torch
from benchmarks.truth import data
from benchmarks.truth.case import Case
from benchmarks.truth.faults.twist import (
    Before,
    alter,
    at_places,
    change_weights,
    fault_case,
    hidden,
    paths_under,
    put,
    replace,
    rescale,
    swap_acts,
    weighted,
)
from benchmarks.truth.program import Program, sgd
from benchmarks.truth.programs.autoencoder import autoencoder
from benchmarks.truth.programs.bottleneck import bottleneck
from benchmarks.truth.programs.cnn import cnn
from benchmarks.truth.programs.mlp import mlp
from benchmarks.truth.programs.transformer import encoder, gpt
from benchmarks.truth.task import accuracy
from torch import Tensor, nn

WIDE = ("saturated", "bad_init", "exploding")
DRIVEN = ("saturated", "exploding", "vanishing")  # which way the gradient goes depends on how many elements are at 0


def _hosts() -> tuple[Program, ...]:
    return (
        mlp("digits", "tanh", 6, optimizer=sgd(0.03), name="mlp-digits-tanh-6-sgd"),
        mlp("parity", "tanh", 7, 32, 300),
        mlp("spirals", "tanh", 6, 32, 300),
        mlp("teacher", "tanh", 5, 32, 250),
        cnn(6, nn.Tanh),
        autoencoder(),
        bottleneck("tanh"),
    )


def cases() -> Iterator[Case]:
    """All of the family."""
    yield from one_layer()
    yield from all_layers()
    yield from raw_inputs()
    yield from squashed_outputs()
    yield from hard_attention()


def one_layer() -> Iterator[Case]:
    """One layer's weights, or a factor before its activation, 10, 50, 300 times too wide."""
    for strength, factor in ((1, 10.0), (2, 50.0), (3, 300.0)):
        for twin in _hosts():
            for place, path in at_places(twin):

                def widen(model: nn.Module, path: str = path, factor: float = factor) -> None:
                    rescale((m for _, m in weighted(model, path)), factor)

                def drive(model: nn.Module, path: str = path, factor: float = factor) -> None:
                    put(model, f"{path}.act", Before(model.get_submodule(f"{path}.act"), lambda x: x * factor))

                faulty = change_weights(twin, widen)
                yield fault_case(
                    faulty, twin, "wide-layer", strength=strength, place=place,
                    labels=WIDE, where=paths_under(path),
                    causes=("slope", "weight"),
                )  # fmt: skip
                faulty = alter(twin, drive)
                yield fault_case(
                    faulty, twin, "driven-act", strength=strength, place=place, labels=DRIVEN,
                    where=paths_under(path), causes=("slope", "other"),
                )  # fmt: skip


def all_layers() -> Iterator[Case]:
    """Sigmoids and tanhs everywhere, weights far too wide."""
    for strength, std in ((1, 1.0), (2, 3.0), (3, 10.0)):
        for twin in (
            mlp("digits", "tanh", 5),
            mlp("spirals", "tanh", 4, 32, 300),
            mlp("digits", "tanh", 8, optimizer=sgd(0.03), name="mlp-digits-tanh-8-sgd"),
        ):
            for act in (nn.Sigmoid, nn.Tanh):

                def change(model: nn.Module, p: Program = twin, std: float = std, act: type[nn.Module] = act) -> None:
                    swap_acts(model, act)
                    for m in hidden(model, p):
                        nn.init.normal_(m.weight, std=std)  # type: ignore[arg-type]

                yield fault_case(
                    change_weights(twin, change), twin, f"wide-{act.__name__.lower()}s-", strength=strength,
                    labels=(*WIDE, "vanishing") if act is nn.Sigmoid else WIDE, causes=("slope", "weight"),
                )  # fmt: skip


def raw_inputs() -> Iterator[Case]:
    """Inputs as they come from the file, 0..255 and larger, into a bounded first layer."""
    for strength, scale in ((1, 1.0), (2, 10.0), (3, 100.0)):
        for twin in (
            mlp("digits", "tanh", 4),
            mlp("digits", "tanh", 4, optimizer=sgd(0.03), name="mlp-digits-tanh-4-sgd"),
            mlp("digits", "sigmoid", 1, optimizer=sgd(0.3), name="mlp-digits-sigmoid-1-sgd", steps=300),
            bottleneck("tanh"),
        ):

            def batches(s: float = scale) -> data.Pairs:
                return [(x * s, y) for x, y in data.raw_digits()]

            where = ("inp", "first", "") if twin.name.startswith("mlp") else paths_under("blocks.0")
            faulty = replace(twin, batches=batches, skill=accuracy(batches))
            case = fault_case(
                faulty, twin, "raw-inputs", strength=strength, labels=("saturated", "exploding"), where=where,
                causes=("slope",),
            )  # fmt: skip
            yield case


def _squash(model: nn.Module, op: nn.Module) -> None:
    head = model.get_submodule("head")
    put(model, "head", nn.Sequential(head, op))


def squashed_outputs() -> Iterator[Case]:
    """A sigmoid or softmax before a loss that applies it again, a bounded output for an unbounded target."""
    for strength, scale in ((1, 1.0), (2, 8.0), (3, 40.0)):
        for twin in (mlp("digits", "relu", 5), mlp("digits", "tanh", 6), cnn(5), encoder(3)):
            for word, op in (("softmax", nn.Softmax(-1)), ("sigmoid", nn.Sigmoid())):

                def change(model: nn.Module, op: nn.Module = op, scale: float = scale) -> None:
                    _squash(model, op)
                    rescale([model.get_submodule("head.0")], scale)

                yield fault_case(
                    change_weights(twin, change), twin, f"double-{word}-", strength=strength,
                    labels=("saturated", "vanishing"), where=("head", "head.0", "head.1", ""), causes=("slope",),
                )  # fmt: skip


class Sharp(nn.Module):
    """A layer whose queries and keys are multiplied: attention that looks at one place only."""

    def __init__(self, inner: nn.Module, factor: float) -> None:
        super().__init__()
        self.inner, self.factor = inner, factor

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = self.inner(x).chunk(3, -1)
        return torch.cat([q * self.factor, k * self.factor, v], -1)


def hard_attention() -> Iterator[Case]:
    """Attention logits so wide that the softmax is one-hot."""
    for strength, factor in ((1, 5.0), (2, 20.0), (3, 100.0)):
        for twin in (encoder(3), gpt(3)):

            def change(model: nn.Module, factor: float = factor) -> None:
                for name, m in list(model.named_modules()):
                    if name.endswith("qkv"):
                        put(model, name, Sharp(m, factor))

            yield fault_case(
                alter(twin, change), twin, "hard-attention", strength=strength, labels=("saturated",), trap=False
            )
