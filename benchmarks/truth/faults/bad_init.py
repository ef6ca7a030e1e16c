"""Bad initialisation: zeros, constants, identical units, thirty times too wide, in one layer or in all."""

from collections.abc import Callable, Iterator

from benchmarks.truth.case import Case
from benchmarks.truth.faults.twist import at_places, change_weights, fault_case, hidden, paths_under, weighted
from benchmarks.truth.program import Program, sgd
from benchmarks.truth.programs.autoencoder import autoencoder
from benchmarks.truth.programs.bottleneck import bottleneck
from benchmarks.truth.programs.cnn import cnn
from benchmarks.truth.programs.mlp import mlp
from torch import nn


def _hosts() -> tuple[Program, ...]:
    return (
        mlp("digits", "relu", 6),
        mlp("parity", "tanh", 5, 32, 300),
        mlp("teacher", "gelu", 5, 32, 250),
        mlp("digits", "tanh", 6, optimizer=sgd(0.03), name="mlp-digits-tanh-6-sgd"),
        cnn(5),
        autoencoder(),
        bottleneck("tanh"),
        bottleneck("relu"),
    )


def _zeros(m: nn.Module) -> None:
    nn.init.zeros_(m.weight)  # type: ignore[arg-type]
    nn.init.zeros_(m.bias)  # type: ignore[arg-type]


def _constant(m: nn.Module) -> None:
    fan = m.weight[0].numel()  # type: ignore[index, operator]
    nn.init.constant_(m.weight, 1.0 / fan)  # type: ignore[arg-type, operator]
    nn.init.zeros_(m.bias)  # type: ignore[arg-type]


def _twins(m: nn.Module) -> None:
    m.weight.copy_(m.weight[:1].expand_as(m.weight).clone())  # type: ignore[operator, index, union-attr, arg-type]
    nn.init.zeros_(m.bias)  # type: ignore[arg-type]


def _wide(m: nn.Module) -> None:
    m.weight *= 30.0  # type: ignore[operator]


Change = Callable[[nn.Module], None]
KINDS: dict[str, tuple[int, Change, tuple[str, ...]]] = {
    "zeros": (3, _zeros, ("bad_init", "severed", "vanishing", "dead")),
    "constant": (2, _constant, ("bad_init",)),
    "identical-units": (2, _twins, ("bad_init",)),
    "times-30": (1, _wide, ("bad_init", "exploding", "saturated", "not_finite")),
}


def cases() -> Iterator[Case]:
    """All of the family; what one layer's bad start costs is often little, and then it is dropped."""
    for name, (strength, change, labels) in KINDS.items():
        for twin in _hosts():

            def all_blocks(model: nn.Module, p: Program = twin, change: Change = change) -> None:
                for m in hidden(model, p):
                    change(m)

            def whole(model: nn.Module, change: Change = change) -> None:
                for _, m in weighted(model):
                    change(m)

            yield fault_case(
                change_weights(twin, all_blocks), twin, f"{name}-blocks-", strength=strength, labels=labels, trap=False
            )
            yield fault_case(
                change_weights(twin, whole), twin, f"{name}-all-", strength=strength, labels=labels, trap=False
            )
            for place, path in at_places(twin):

                def one(model: nn.Module, path: str = path, change: Change = change) -> None:
                    for _, m in weighted(model, path):
                        change(m)

                faulty = change_weights(twin, one)
                yield fault_case(
                    faulty, twin, f"{name}-", strength=strength, place=place, labels=labels,
                    where=paths_under(path), trap=False,
                )  # fmt: skip
