"""Learning by reward: REINFORCE, an actor with a critic, PPO, DQN, and a policy of continuous actions."""

from typing import Any

import torch
from benchmarks.strangers.record import Stranger, elsewhere, healthy, sick
from benchmarks.strangers.step import finish
from benchmarks.truth.data import Pairs, seeded
from benchmarks.truth.program import Program, adam
from benchmarks.truth.task import accuracy
from torch import Tensor, nn
from torch.nn import functional as F

STATES, ACTIONS = 6, 4


def right_action(states: Tensor) -> Tensor:
    """The best action of a state (N, 6): which of four fixed directions it points to most, products included."""
    table = torch.randn(STATES + 3, ACTIONS, generator=seeded(51))
    more = torch.cat([states, states[:, :3] * states[:, 3:]], 1)
    return (more @ table).argmax(1)


def worlds() -> list[tuple[Tensor, Tensor]]:
    """Batches of states (64, 6) with a placeholder where a supervised loop would have targets."""
    x = torch.randn(64 * 16, STATES, generator=seeded(52))
    return [(b, torch.zeros(len(b))) for b in x.chunk(16)]


class Policy(nn.Module):
    """Logits of four actions, a value beside them."""

    def __init__(self, width: int = 32, heat: float = 1.0, act: type[nn.Module] = nn.Tanh) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Linear(STATES, width), act(), nn.Linear(width, width), act())
        self.actor, self.critic = nn.Linear(width, ACTIONS), nn.Linear(width, 1)
        self.heat = heat

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.actor(self.body(x)) * self.heat
        return y


class PolicyRelu(Policy):
    """A ReLU after the last layer and a bias far below it: no logit ever leaves 0."""

    def __init__(self) -> None:
        super().__init__()
        nn.init.constant_(self.actor.bias, -8.0)

    def forward(self, x: Tensor) -> Tensor:
        return torch.relu(super().forward(x))


def answers() -> Pairs:
    """The states with the action that is best there, for the skill alone."""
    return [(x, right_action(x)) for x, _ in worlds()]


def _act(logits: Tensor, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    action = torch.multinomial(torch.softmax(logits.detach(), -1), 1).squeeze(1)
    reward = (action == right_action(x)).float()
    log_prob = torch.log_softmax(logits, -1).gather(1, action.unsqueeze(1)).squeeze(1)
    return action, reward, log_prob


def reinforce(model: nn.Module, batch: Any, optimizer: Any) -> Tensor:
    """- log p (R - mean R)."""
    x, _ = batch
    _, reward, log_prob = _act(model(x), x)
    return finish(-(log_prob * (reward - reward.mean())).mean(), optimizer)


def reinforce_cut(model: nn.Module, batch: Any, optimizer: Any) -> Tensor:
    """The log probabilities come out of the rollout buffer, where they are numbers; the entropy bonus still trains."""
    x, _ = batch
    logits = model(x)
    _, reward, log_prob = _act(logits, x)
    stored = torch.tensor(log_prob.tolist())
    entropy = -(torch.softmax(logits, -1) * torch.log_softmax(logits, -1)).sum(-1).mean()
    return finish(-(stored * (reward - reward.mean())).mean() - 0.01 * entropy, optimizer)


def reinforce_chance(model: nn.Module, batch: Any, optimizer: Any) -> Tensor:
    """The rewards of other states are used."""
    x, _ = batch
    _, reward, log_prob = _act(model(x), x)
    reward = reward[torch.randperm(len(reward))]
    return finish(-(log_prob * (reward - reward.mean())).mean(), optimizer)


def actor_critic(model: nn.Module, batch: Any, optimizer: Any) -> Tensor:
    """Advantage from the critic, an entropy bonus; the policy's loss rises while it learns."""
    x, _ = batch
    logits = model(x)
    _, reward, log_prob = _act(logits, x)
    value = model.get_submodule("critic")(model.get_submodule("body")(x)).squeeze(1)
    advantage = (reward - value).detach()
    entropy = -(torch.softmax(logits, -1) * torch.log_softmax(logits, -1)).sum(-1).mean()
    return finish(-(log_prob * advantage).mean() + F.mse_loss(value, reward) - 0.01 * entropy, optimizer)


def actor_critic_broadcast(model: nn.Module, batch: Any, optimizer: Any) -> Tensor:
    """The log probabilities stay a column: (N, 1) times (N,) weighs each of them by everyone's advantage."""
    x, _ = batch
    logits = model(x)
    _, reward, log_prob = _act(logits, x)
    value = model.get_submodule("critic")(model.get_submodule("body")(x)).squeeze(1)
    advantage = (reward - value).detach()
    return finish(-(log_prob.unsqueeze(1) * advantage).mean() + F.mse_loss(value, reward), optimizer)


def ppo(model: nn.Module, batch: Any, optimizer: Any) -> Tensor:
    """Three clipped steps on one rollout."""
    x, _ = batch
    action, reward, old = _act(model(x), x)
    old = old.detach()
    advantage = reward - reward.mean()
    loss = torch.zeros(())
    for _ in range(3):
        new = torch.log_softmax(model(x), -1).gather(1, action.unsqueeze(1)).squeeze(1)
        ratio = (new - old).exp()
        loss = finish(-torch.min(ratio * advantage, ratio.clamp(0.8, 1.2) * advantage).mean(), optimizer)
    return loss


def ppo_far(model: nn.Module, batch: Any, optimizer: Any) -> Tensor:
    """The old log probabilities were stored as sums over the batch: every ratio lies far outside the clip."""
    x, _ = batch
    action, reward, old = _act(model(x), x)
    old = old.detach() - 6.0
    advantage = reward
    new = torch.log_softmax(model(x), -1).gather(1, action.unsqueeze(1)).squeeze(1)
    ratio = (new - old).exp()
    return finish(-torch.min(ratio * advantage, ratio.clamp(0.8, 1.2) * advantage).mean(), optimizer)


class Target(Policy):
    """A Q-network with its slow copy."""

    def __init__(self, scale: float = 1.0) -> None:
        super().__init__()
        self.slow = nn.Sequential(nn.Linear(STATES, 32), nn.Tanh(), nn.Linear(32, ACTIONS)).requires_grad_(False)
        self.fast = nn.Sequential(nn.Linear(STATES, 32), nn.Tanh(), nn.Linear(32, ACTIONS))
        self.slow.load_state_dict(self.fast.state_dict())
        self.scale = scale

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.fast(x * self.scale)
        return y


def dqn(model: nn.Module, batch: Any, optimizer: Any) -> Tensor:
    """Q learning with a slow target; the next state is the state turned by one place."""
    x, _ = batch
    action = torch.randint(0, ACTIONS, (len(x),))
    reward = (action == right_action(x)).float()
    with torch.no_grad():
        follow = model.get_submodule("slow")(x.roll(1, 0)).max(1).values
    value = model(x).gather(1, action.unsqueeze(1)).squeeze(1)
    loss = finish(F.smooth_l1_loss(value, reward + 0.5 * follow), optimizer)
    with torch.no_grad():
        for s, f in zip(
            model.get_submodule("slow").parameters(), model.get_submodule("fast").parameters(), strict=True
        ):
            s.lerp_(f, 0.05)
    return loss


def dqn_max(model: nn.Module, batch: Any, optimizer: Any) -> Tensor:
    """The value of the chosen action is taken from the target network, which has no graph; only a penalty trains."""
    x, _ = batch
    action = torch.randint(0, ACTIONS, (len(x),))
    reward = (action == right_action(x)).float()
    value = model.get_submodule("slow")(x).gather(1, action.unsqueeze(1)).squeeze(1)
    penalty = sum((p.square().sum() for p in model.get_submodule("fast").parameters()), torch.zeros(()))
    return finish(F.smooth_l1_loss(value, reward) + 1e-4 * penalty, optimizer)


def _program(name: str, step: Any, model: Any = Policy, **others: Any) -> Program:
    options: dict[str, Any] = {"steps": 300, "bar": 0.4, "optimizer": adam(5e-3)} | others
    return Program(
        name=name, model=model, batches=worlds, loss=None, train_step=step, skill=accuracy(answers), places=(),
        **options,
    )  # fmt: skip


def strangers() -> list[Stranger]:
    """Every learner as it is and with its faults."""
    gradient, critic = _program("reinforce", reinforce), _program("actor-critic", actor_critic)
    clipped, q = _program("ppo", ppo, steps=150), _program("dqn", dqn, Target)
    whole = ("", "body", "actor", "body.0", "body.2")
    return [
        healthy(gradient, "classic"),
        sick("buffered-numbers", gradient, "classic", ("severed",), "Compute the log probabilities with their graph.",
             train_step=reinforce_cut, where=whole, causes=("loss", "other")),
        sick("heat-1000", gradient, "classic", ("saturated", "vanishing"), "Take the logits as they are.",
             model=lambda: Policy(heat=3000.0), where=whole, causes=("slope", "loss", "other"), trap=True),
        elsewhere("rewards-mixed", gradient, "classic", "Reward an action by its own state.",
             train_step=reinforce_chance),
        healthy(critic, "classic"),
        sick("logits-rectified", critic, "classic", ("dead",), "Leave the logits without a ReLU.", model=PolicyRelu,
             where=("", "actor"), causes=("slope",)),
        elsewhere("column-against-row", critic, "classic", "Squeeze the log probabilities.",
             train_step=actor_critic_broadcast),
        healthy(clipped, "classic"),
        sick("clipped-away", clipped, "classic", ("dead", "severed", "saturated"),
             "Store the log probability of each action.",
             train_step=ppo_far, where=("", "actor"), causes=("loss", "slope", "other")),
        healthy(q, "classic"),
        sick("value-from-target", q, "classic", ("severed",), "Read the chosen value from the trained network.",
             train_step=dqn_max, where=("", "fast", "slow"), causes=("loss", "other")),
    ]  # fmt: skip
