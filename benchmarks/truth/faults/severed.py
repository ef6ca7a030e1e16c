"""Severed: a cut in the middle of the graph - detach, no_grad, argmax, a round trip through NumPy."""

from collections.abc import Callable, Iterator

import torch
from benchmarks.truth.case import Case
from benchmarks.truth.faults.twist import Before, alter, at_places, fault_case, paths_under, put, twisted
from benchmarks.truth.hosts import chains, others, skips
from benchmarks.truth.program import Program
from benchmarks.truth.programs.bottleneck import bottleneck
from benchmarks.truth.programs.branches import branches
from benchmarks.truth.programs.mlp import mlp
from benchmarks.truth.programs.recurrent import elman, reader
from torch import Tensor, nn


def _round(x: Tensor) -> Tensor:
    return torch.round(x * 4) / 4


def _one_hot(x: Tensor) -> Tensor:
    flat = x.flatten(1) if x.dim() == 2 else x
    return nn.functional.one_hot(flat.argmax(-1), x.shape[-1]).to(x.dtype)


def _no_grad(x: Tensor) -> Tensor:
    with torch.no_grad():
        return x * 1.0


def _half(x: Tensor) -> Tensor:
    n = 3 * x.shape[1] // 4
    return torch.cat([x[:, :n].detach(), x[:, n:]], 1)


CUTS: dict[str, tuple[int, Callable[[Tensor], Tensor]]] = {
    "detach-most": (1, _half),
    "detach": (2, lambda x: x.detach()),
    "data": (2, lambda x: x.data),
    "no-grad": (2, _no_grad),
    "item": (2, lambda x: torch.tensor(x.tolist())),
    "numpy": (2, lambda x: torch.from_numpy(x.detach().numpy().copy())),
    "sign": (3, lambda x: torch.sign(x)),
    "round": (3, _round),
    "argmax": (3, _one_hot),
}


def cases() -> Iterator[Case]:
    """All of the family; what still learns on random features is dropped, for the cut is real all the same."""
    for name, (strength, op) in CUTS.items():
        for twin in (*chains(), *skips(), *others(), *_hungry()):
            if name == "detach-most" and not twin.name.startswith("mlp"):
                continue
            for place, path in at_places(twin):
                faulty = twisted(twin, path, op)
                after = twin.places[place + 1 : place + 2]  # the other bank of the cut
                yield fault_case(
                    faulty,
                    twin,
                    f"cut-{name}-",
                    strength=strength,
                    place=place,
                    labels=("severed", "vanishing") if name == "detach-most" else ("severed",),
                    where=paths_under(path, *after),
                    trap=False,
                )
    yield from before_heads()


def _hungry() -> tuple[Program, ...]:
    """Programs that need the features which a cut leaves random."""
    return (
        bottleneck("tanh"),
        bottleneck("relu"),
        branches(5, "tanh"),
        branches(3, "relu"),
        mlp("spirals", "relu", 5, 16, 400),
        mlp("parity", "gelu", 5, 16, 400),
    )


def before_heads() -> Iterator[Case]:
    """The head reads a copy of what the recurrent layer said."""
    for name in ("detach", "data", "no-grad", "item", "numpy"):
        strength, op = CUTS[name]
        for twin in (
            reader("lstm", 24, forget=3.0),
            reader("gru", 12),
            reader("rnn", 20),
            reader("lstm", 16, by_cell=True, forget=3.0),
            elman(12),
            elman(24, nn.ReLU),
        ):

            def change(model: nn.Module, op: Callable[[Tensor], Tensor] = op) -> None:
                put(model, "head", Before(model.get_submodule("head"), op))

            yield fault_case(
                alter(twin, change),
                twin,
                f"head-{name}-",
                strength=strength,
                place=4,
                labels=("severed",),
                where=("", *paths_under("head", twin.places[4])),
                trap=False,
            )
