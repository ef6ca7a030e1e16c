"""Not finite: the logarithm of zero, the slope of a root at zero, 0/0, an overflow, in one block or in the loss."""

from collections.abc import Callable, Iterator

import torch
from benchmarks.truth.case import Case
from benchmarks.truth.faults.twist import at_places, fault_case, paths_under, replace, twisted
from benchmarks.truth.hosts import chains, others, skips
from benchmarks.truth.programs.mlp import mlp
from torch import Tensor, nn


def _masked_softmax(x: Tensor) -> Tensor:
    scores = x.masked_fill(x < x.amax(-1, keepdim=True) + 1, float("-inf"))  # every entry masked away
    return x * scores.softmax(-1)


# strength 1: only the backward breaks; 2: some samples or late; 3: at once
OPS: dict[str, tuple[int, Callable[[Tensor], Tensor]]] = {
    "sqrt": (1, lambda x: x + 0.01 * x.relu().sqrt()),
    "norm-root": (1, lambda x: x / ((x - x.mean(0)) * 0.0 + 1e-30).abs().sub(1e-30).sqrt().add(1.0)),
    "pow": (1, lambda x: x + 0.01 * (x - x).abs().pow(0.5)),
    "where-log": (1, lambda x: torch.where(x > 0, x.log(), x)),
    "log": (2, lambda x: x.relu().log()),
    "exp": (2, lambda x: x + (x * 60).exp() * 1e-30),
    "ratio": (3, lambda x: x / (x.relu() + (-x).relu() - x.abs()).sum(-1, keepdim=True)),
    "half": (3, lambda x: (x * 1e5).half().float() / 1e5),
    "deviation": (3, lambda x: (x - x.mean(0)) / (x * 0).std(0)),
    "masked-softmax": (3, _masked_softmax),
    "acosh": (2, lambda x: x + 0.01 * torch.acosh(1 + x)),
}


def cases() -> Iterator[Case]:
    """All of the family."""
    for name, (strength, op) in OPS.items():
        for twin in (*chains(), *skips(), *others()):
            for place, path in at_places(twin):
                faulty = twisted(twin, path, op)
                yield fault_case(
                    faulty,
                    twin,
                    f"{name}-",
                    strength=strength,
                    place=place,
                    labels=("not_finite",),
                    where=paths_under(path),
                )
    yield from by_loss()
    yield from poisoned()


def _own_log_loss(out: Tensor, y: Tensor) -> Tensor:
    p = (out * 40).softmax(-1)
    return -(nn.functional.one_hot(y, out.shape[-1]) * p.log()).sum(-1).mean()


def _own_square_root(out: Tensor, y: Tensor) -> Tensor:
    rest = (out - y) * ((out - y).abs() > 1.0)
    return rest.square().sqrt().mean()


def _relative(out: Tensor, y: Tensor) -> Tensor:
    return ((out - y.round()) / y.round()).square().mean()


def by_loss() -> Iterator[Case]:
    """Losses written by hand that are not finite; the place is no module's."""
    for strength, loss in ((1, _own_square_root), (3, _relative)):
        for act in ("relu", "tanh", "gelu"):
            twin = mlp("teacher", act, 6, 32, 250)
            yield fault_case(
                replace(twin, loss=loss), twin, f"loss{loss.__name__}-", strength=strength, labels=("not_finite",),
                causes=("loss",),
            )  # fmt: skip
    for act in ("relu", "tanh"):
        twin = mlp("digits", act, 6)
        yield fault_case(
            replace(twin, loss=_own_log_loss), twin, "loss-log-", strength=2, labels=("not_finite",), causes=("loss",)
        )


def poisoned() -> Iterator[Case]:
    """A batch with one value that is not a number, early, later, rarely."""
    for strength, index in ((3, 0), (2, 4), (1, 13)):
        for twin in (mlp("digits", "relu", 6), mlp("teacher", "tanh", 6, 32, 250)):
            make = twin.batches

            def batches(make: Callable[[], list[tuple[Tensor, Tensor]]] = make, index: int = index) -> list:
                found = [(x.clone(), y) for x, y in make()]
                found[index][0][3, 1] = float("nan")
                return found

            yield fault_case(
                replace(twin, batches=batches), twin, "poisoned-batch-", strength=strength, labels=("not_finite",)
            )
