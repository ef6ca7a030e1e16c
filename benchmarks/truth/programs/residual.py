"""Residual perceptrons, up to 50 blocks: x + branch(norm(x))."""

from collections.abc import Callable
from typing import Any

from benchmarks.truth.program import OptimizerMaker, Program, adam, spread
from benchmarks.truth.programs.mlp import ACTS, TASKS
from benchmarks.truth.task import accuracy
from torch import Tensor, nn


class Branch(nn.Module):
    """norm, Linear, activation, with or without the addition."""

    def __init__(self, width: int, act: Callable[[], nn.Module], normed: bool, skip: bool) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width) if normed else nn.Identity()
        self.linear = nn.Linear(width, width)
        self.act = act()
        self.skip = skip

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.act(self.linear(self.norm(x)))
        return x + y if self.skip else y


class ResidualMlp(nn.Module):
    """An input layer, `depth` branches, a head."""

    def __init__(self, sizes: tuple[int, int, int], branches: list[nn.Module]) -> None:
        super().__init__()
        self.inp = nn.Linear(sizes[0], sizes[1])
        self.blocks = nn.ModuleList(branches)
        self.norm = nn.LayerNorm(sizes[1])
        self.head = nn.Linear(sizes[1], sizes[2])

    def forward(self, x: Tensor) -> Tensor:
        x = self.inp(x)
        for block in self.blocks:
            x = block(x)
        y: Tensor = self.head(self.norm(x))
        return y


def residual(
    depth: int = 50,
    act: str = "relu",
    *,
    task: str = "digits",
    normed: bool = True,
    skip: bool = True,
    gain: float = 0.0,
    width: int = 32,
    optimizer: OptimizerMaker | None = None,
    steps: int = 120,
    **others: Any,
) -> Program:
    """A residual perceptron; without `skip` the norm stands before nothing and goes too."""
    batches, inputs, outputs = TASKS[task]

    def make() -> nn.Module:
        normed_too = normed and skip
        model = ResidualMlp(
            (inputs, width, outputs), [Branch(width, ACTS[act], normed_too, skip) for _ in range(depth)]
        )
        if not normed:
            model.norm = nn.Identity()  # type: ignore[assignment]
        if gain:
            for block in model.blocks:
                nn.init.normal_(block.linear.weight, std=gain / width**0.5)  # type: ignore[union-attr, arg-type]
        return model

    options: dict[str, Any] = {
        "name": f"residual-{act}-{depth}",
        "steps": steps,
        "model": make,
        "batches": batches,
        "loss": nn.functional.cross_entropy,
        "optimizer": optimizer or adam(1e-3),
        "skill": accuracy(batches),
        "places": spread(depth),
        "inputs": "inp",
        "chain": False,
    }
    return Program(**(options | others))
