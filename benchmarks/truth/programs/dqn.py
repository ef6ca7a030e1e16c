"""Q-learning on a fixed memory of transitions, in the manner of DQN: bootstrapped targets, one action in four seen."""

from copy import deepcopy
from typing import Any

import torch
from benchmarks.truth import data
from benchmarks.truth.program import Program, adam
from benchmarks.truth.task import explained
from torch import Tensor, nn
from torch.optim import Optimizer

GAMMA = 0.6
SIDE = 5


class QNet(nn.Module):
    """Q values of four actions, with a lagging copy for the targets."""

    def __init__(self, depth: int = 2) -> None:
        super().__init__()
        layers: list[nn.Module] = [nn.Linear(2 * SIDE, 32), nn.ReLU()]
        for _ in range(depth - 1):
            layers += [nn.Linear(32, 32), nn.ReLU()]
        self.q = nn.Sequential(*layers, nn.Linear(32, 4))
        self.lag = deepcopy(self.q).requires_grad_(False)

    def forward(self, state: Tensor) -> Tensor:
        y: Tensor = self.q(state)
        return y


def _moves(state: Tensor, action: Tensor) -> Tensor:
    step = torch.tensor([[1, 0], [-1, 0], [0, 1], [0, -1]])[action]
    return (state + step).clamp(0, SIDE - 1)


def _seen(state: Tensor) -> Tensor:
    return nn.functional.one_hot(state, SIDE).flatten(1).float()


def _reward(state: Tensor) -> Tensor:
    return 1.0 * ((state[:, 0] == SIDE - 1) & (state[:, 1] == SIDE - 1)) + 0.2 * (state[:, 0] == 0)


def memory() -> list[tuple[Tensor, ...]]:
    """Batches of (state, action, reward, next state) on a 5 x 5 grid, walked at random."""
    g = data.seeded(13)
    batches = []
    for _ in range(16):
        state = torch.randint(0, SIDE, (64, 2), generator=g)
        action = torch.randint(0, 4, (64,), generator=g)
        after = _moves(state, action)
        batches.append((_seen(state), action, _reward(after), _seen(after)))
    return batches


def truth() -> data.Pairs:
    """Every state and its Q values, by value iteration."""
    states = torch.cartesian_prod(torch.arange(SIDE), torch.arange(SIDE))
    q = torch.zeros(SIDE * SIDE, 4)
    for _ in range(60):
        columns = []
        for a in range(4):
            after = _moves(states, torch.full((len(states),), a))
            columns.append(_reward(after) + GAMMA * q.amax(1)[after[:, 0] * SIDE + after[:, 1]])
        q = torch.stack(columns, 1)
    return [(_seen(states), q)]


def learn(model: nn.Module, batch: Any, optimizer: Optimizer) -> Tensor:
    """One step towards r + gamma max Q of the lagging copy; actions not taken keep their own prediction as target."""
    state, action, reward, after = batch
    lag = model.get_submodule("lag")
    with torch.no_grad():
        goal = reward + GAMMA * lag(after).amax(1)
    q = model(state)
    target = q.detach().clone()  # the placeholder: error 0 wherever no action was taken
    target[torch.arange(len(action)), action] = goal
    loss = nn.functional.mse_loss(q, target)
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    with torch.no_grad():
        for slow, fast in zip(lag.parameters(), model.get_submodule("q").parameters(), strict=True):
            slow.lerp_(fast, 0.1)
    return loss.detach()


def dqn(depth: int = 2, *, steps: int = 300, **others: Any) -> Program:
    """Q-learning on a grid."""
    options: dict[str, Any] = {
        "name": f"dqn-{depth}",
        "steps": steps,
        "model": lambda: QNet(depth),
        "batches": memory,
        "loss": None,
        "optimizer": adam(4e-3),
        "train_step": learn,
        "skill": explained(truth),
        "places": ("q.0", "q.2", "q.4", "q.4", "q.4"),
        "inputs": "q.0",
    }
    return Program(**(options | others))
