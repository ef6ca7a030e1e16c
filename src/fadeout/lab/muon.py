"""Muon: momentum whose every direction is made equally strong, for the matrices of hidden layers; Adam for the rest."""

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

_A, _B, _C = 3.4445, -4.7750, 2.0315  # of the iteration, as Jordan et al. tuned them
_STEPS = 5
_EPS = 1e-7  # torch.optim.Muon's: a matrix of gradients whose norm is smaller is not scaled up to 1


class Muon(Optimizer):
    """The textbook form; torch has its own since 2.9, and we support older ones.

    Source: Jordan et al. 2024, kellerjordan.github.io/posts/muon; the constants as in torch.optim.Muon.
    """

    def __init__(self, model: nn.Sequential, rate: float, *, momentum: float = 0.95, rest: float = 1e-3) -> None:
        """Take all matrices but the last layer's; `rest` is Adam's rate for the last layer and the biases."""
        matrices = [p for p in model.parameters() if p.ndim == 2]
        hidden = {id(p) for p in matrices[:-1]}
        super().__init__(
            [
                {"params": [p for p in model.parameters() if id(p) in hidden], "lr": rate, "matrices": True},
                {"params": [p for p in model.parameters() if id(p) not in hidden], "lr": rest, "matrices": False},
            ],
            {"momentum": momentum},
        )

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> None:  # type: ignore[override]
        for group in self.param_groups:
            held = [(p, p.grad) for p in group["params"] if p.grad is not None]
            if group["matrices"]:
                self._matrices(held, group["lr"], group["momentum"])
            else:
                for p, gradient in held:
                    self._adam(p, gradient, group["lr"])

    def _matrices(self, held: list[tuple[Tensor, Tensor]], rate: float, momentum: float) -> None:
        for shape in dict.fromkeys(p.shape for p, _ in held):  # those of one shape together: much faster
            alike = [(p, gradient) for p, gradient in held if p.shape == shape]
            moving = []
            for p, gradient in alike:
                buffer = self.state[p].setdefault("momentum", torch.zeros_like(p))
                buffer.lerp_(gradient, 1 - momentum)
                moving.append(gradient.lerp(buffer, momentum))  # Nesterov's look ahead
            for (p, _), update in zip(alike, orthogonal(torch.stack(moving)), strict=True):
                p.sub_(update, alpha=rate * math.sqrt(max(1.0, shape[0] / shape[1])))

    def _adam(self, p: Tensor, gradient: Tensor, rate: float) -> None:
        state = self.state[p]
        if not state:
            state.update(steps=0, mean=torch.zeros_like(p), square=torch.zeros_like(p))
        state["steps"] += 1
        state["mean"].lerp_(gradient, 0.1)
        state["square"].lerp_(gradient.square(), 0.001)
        size = (state["square"] / (1 - 0.999 ** state["steps"])).sqrt() + 1e-8
        p.addcdiv_(state["mean"], size, value=-rate / (1 - 0.9 ** state["steps"]))


def orthogonal(stack: Tensor) -> Tensor:
    """(K, rows, columns) -> the same with all singular values near 1, by five steps of Newton and Schulz."""
    tall = stack.shape[1] > stack.shape[2]
    x: Tensor = stack.mT if tall else stack
    x = x / torch.linalg.matrix_norm(x, keepdim=True).clamp(min=_EPS)
    for _ in range(_STEPS):
        square = x @ x.mT
        x = _A * x + (_B * square + _C * square @ square) @ x
    return x.mT if tall else x
