"""Decisions and pairs: preferences, soft actors, cloning, sparse rewards, two towers, views, hashes, prototypes."""

from typing import Any

import torch
from benchmarks.strangers.record import Stranger, classify, elsewhere, healthy, regress, sick
from benchmarks.strangers.second.parts import cross, mlp, step_on
from benchmarks.strangers.step import finish
from benchmarks.truth.data import Pairs, cut, flat_digits, seeded, unit_digits
from benchmarks.truth.program import Program, adam
from benchmarks.truth.task import accuracy, explained
from torch import Tensor, nn
from torch.nn import functional as F

BASE = 6


def worth(prompt: Tensor, answer: Tensor) -> Tensor:
    """What an answer is worth: the answer to (a, b) is a times b modulo 6 at best."""
    off = (answer - (prompt[:, 0] + 2 * prompt[:, 1])).remainder(BASE)
    return -off.float()


class Speaker(nn.Module):
    """Logits of an answer to two tokens, and a frozen copy of the start for reference."""

    def __init__(self) -> None:
        super().__init__()
        self.embed, self.body = nn.Embedding(BASE, 16), mlp(32, 48, BASE)
        self.old_embed, self.old_body = nn.Embedding(BASE, 16), mlp(32, 48, BASE)
        self.old_embed.load_state_dict(self.embed.state_dict())
        self.old_body.load_state_dict(self.body.state_dict())
        self.old_embed.requires_grad_(False)
        self.old_body.requires_grad_(False)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.body(self.embed(x).flatten(1))
        return y

    def reference(self, x: Tensor) -> Tensor:
        y: Tensor = self.old_body(self.old_embed(x).flatten(1))
        return y


def prompts() -> list[tuple[Tensor, Tensor]]:
    """Prompts (N, 2) with two answers (N, 2), drawn by chance."""
    x = torch.randint(0, BASE, (1024, 4), generator=seeded(151))
    return [(b[:, :2], b[:, 2:]) for b in x.split(64)]


def best_answers() -> Pairs:
    """Prompts and the best answers, for the skill alone."""
    return [(x, (x[:, 0] + 2 * x[:, 1]) % BASE) for x, _ in prompts()]


def prefer(model: nn.Module, batch: Any, optimizer: Any, mode: str = "sound") -> Tensor:
    """DPO: the better answer's log ratio to the reference should exceed the other's."""
    assert isinstance(model, Speaker)
    x, answers = batch
    a, b = answers.unbind(1)
    better = worth(x, a) > worth(x, b)
    if mode == "turned":
        better = worth(x, a) < worth(x, b)
    win, lose = torch.where(better, a, b), torch.where(better, b, a)
    kept = (a != b).float()
    now = torch.log_softmax(model(x), -1)
    if mode == "served":  # the log probabilities of the served model come as numbers; the bonus keeps a graph
        bonus = now.square().mean()
        now = torch.tensor(now.tolist())
    else:
        bonus = torch.zeros(())
    old = torch.log_softmax(model.reference(x), -1).detach()
    ratio = now - old
    margin = (ratio.gather(1, win.unsqueeze(1)) - ratio.gather(1, lose.unsqueeze(1))).squeeze(1)
    return finish(-(F.logsigmoid(0.5 * margin) * kept).mean() + 1e-4 * bonus, optimizer)


def prefer_turned(model: nn.Module, batch: Any, optimizer: Any) -> Tensor:
    """Chosen and rejected have changed places."""
    return prefer(model, batch, optimizer, "turned")


def prefer_served(model: nn.Module, batch: Any, optimizer: Any) -> Tensor:
    """Log probabilities come from a server."""
    return prefer(model, batch, optimizer, "served")


class Soft(nn.Module):
    """A squashed Gaussian actor and a critic with its own optimizer."""

    def __init__(self, gain: float = 1.0) -> None:
        super().__init__()
        self.actor, self.critic = mlp(3, 32, 32, 2), mlp(4, 48, 48, 1)
        self.gain = gain
        self.critics = torch.optim.Adam(self.critic.parameters(), lr=1e-2)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = torch.tanh(self.gain * self.actor(x)[:, :1])
        return y

    def draw(self, x: Tensor) -> tuple[Tensor, Tensor]:
        mean, log = self.actor(x).chunk(2, -1)
        mean, log = self.gain * mean, log.clamp(-3, 0)
        raw = mean + log.exp() * torch.randn_like(mean)
        return torch.tanh(raw), log


def steered(x: Tensor) -> Tensor:
    """The best action of a state."""
    return 0.8 * torch.sin(2 * x[:, :1]) * torch.sign(x[:, 1:2])


def states() -> Pairs:
    """States (N, 3) and their best actions, for the skill alone."""
    x = torch.rand(1024, 3, generator=seeded(152)) * 2 - 1
    return cut(x, steered(x), 64, 16)


def act(model: nn.Module, batch: Any, optimizer: Any, mode: str = "sound") -> Tensor:
    """The critic learns the reward of drawn actions, the actor climbs the critic."""
    assert isinstance(model, Soft)
    x, _ = batch
    with torch.no_grad():
        tried = (model.draw(x)[0] + 0.5 * torch.randn(len(x), 1)).clamp(-1, 1)
    reward = -(tried - steered(x)).square()
    if mode == "mirrored":
        reward = -(tried - steered(x * torch.tensor([-1.0, 1.0, 1.0]))).square()
    finish(F.mse_loss(model.critic(torch.cat([x, tried], 1)), reward), model.critics)
    action, log = model.draw(x)
    if mode == "sampled":
        action = action.detach().requires_grad_()
    value = model.critic(torch.cat([x, action], 1)).mean()
    return finish(-value - 0.01 * log.mean(), optimizer)


def act_sampled(model: nn.Module, batch: Any, optimizer: Any) -> Tensor:
    """The action is sampled without its graph."""
    return act(model, batch, optimizer, "sampled")


def act_mirrored(model: nn.Module, batch: Any, optimizer: Any) -> Tensor:
    """The simulator's first axis points the other way."""
    return act(model, batch, optimizer, "mirrored")


class Arms(nn.Module):
    """Logits of 8 levers by context."""

    def __init__(self) -> None:
        super().__init__()
        self.net = mlp(4, 48, 8)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.net(x)
        return y


def right_lever(x: Tensor) -> Tensor:
    """The signs of three coordinates as a number."""
    return ((x[:, :3] > 0) * torch.tensor([1, 2, 4])).sum(1)


def contexts() -> Pairs:
    """Contexts and the right lever, for the skill alone."""
    x = torch.randn(2048, 4, generator=seeded(153))
    return cut(x, right_lever(x), 128, 16)


def pull(model: nn.Module, batch: Any, optimizer: Any, shift: int = 0, bonus: float = 0.01) -> Tensor:
    """A lever in eight pays, and of what it pays most is lost: rewards are rare; a baseline and an entropy bonus."""
    x, _ = batch
    logits = model(x)
    lever = torch.multinomial(torch.softmax(logits.detach(), -1), 1)
    pays = (lever.squeeze(1) == (right_lever(x) + shift) % 8).float() * (torch.rand(len(x)) < 0.5)
    log = torch.log_softmax(logits, -1)
    entropy = -(log.exp() * log).sum(-1).mean()
    gain = (pays - pays.mean()) / (pays.std() + 0.1)
    return finish(-(log.gather(1, lever).squeeze(1) * gain).mean() - bonus * entropy, optimizer)


def pull_bored(model: nn.Module, batch: Any, optimizer: Any) -> Tensor:
    """The entropy bonus outweighs all rewards."""
    return pull(model, batch, optimizer, bonus=300.0)


def pull_shifted(model: nn.Module, batch: Any, optimizer: Any) -> Tensor:
    """Levers are counted from 1 in the simulator."""
    return pull(model, batch, optimizer, shift=1)


class Towers(nn.Module):
    """Two encoders, a learnt temperature; what is asked for is which of ten prompts fits a digit."""

    def __init__(self, mode: str = "sound") -> None:
        super().__init__()
        self.image, self.word = mlp(64, 48, 16), nn.Sequential(nn.Embedding(10, 32), mlp(32, 32, 16))
        self.heat, self.mode = nn.Parameter(torch.tensor(2.0)), mode

    def see(self, x: Tensor) -> Tensor:
        z = self.image(x)
        if self.mode == "sign":
            z = z.sign()
        return F.normalize(z, dim=-1)

    def forward(self, x: Tensor) -> Tensor:
        return self.see(x) @ F.normalize(self.word(torch.arange(10)), dim=-1).T * self.heat.exp()


def pair_up(model: nn.Module, batch: Any, optimizer: Any, mode: str = "sound") -> Tensor:
    """Both directions of cross entropy over the batch's pairs; twins of a class count as right too."""
    assert isinstance(model, Towers)
    x, y = batch
    words = F.normalize(model.word(y), dim=-1)
    seen = model.see(x)
    if mode == "cached":
        words, seen = words.detach(), torch.tensor(seen.tolist())
    scores = seen @ words.T * model.heat.exp()
    if mode == "rolled":
        y = torch.stack([y, y.roll(1)])
    same = (y[0].unsqueeze(1) == y[1] if mode == "rolled" else y.unsqueeze(1) == y).float()
    same = same / same.sum(1, keepdim=True).clamp(min=1)
    loss = F.cross_entropy(scores, same)
    return finish(loss if mode == "rolled" else (loss + F.cross_entropy(scores.T, same)) / 2, optimizer)


def pair_rolled(model: nn.Module, batch: Any, optimizer: Any) -> Tensor:
    """The captions are one row behind their images."""
    return pair_up(model, batch, optimizer, "rolled")


def pair_cached(model: nn.Module, batch: Any, optimizer: Any) -> Tensor:
    """Vectors come out of the cache of the evaluation: the temperature alone is trained."""
    return pair_up(model, batch, optimizer, "cached")


class Hash(nn.Module):
    """Sixteen bits by sign, straight through, and a decoder."""

    def __init__(self, straight: bool = True, gain: float = 1.0) -> None:
        super().__init__()
        self.encoder, self.decoder = mlp(64, 48, 16), mlp(16, 48, 64)
        self.straight, self.gain = straight, gain

    def forward(self, x: Tensor) -> Tensor:
        soft = torch.tanh(self.gain * self.encoder(x))
        hard = torch.sign(soft)
        y: Tensor = self.decoder(soft + (hard - soft).detach() if self.straight else hard)
        return y


class Prototypes(nn.Module):
    """Few-shot: classes by the distance to the mean of their support, in a learnt space."""

    def __init__(self, gain: float = 1.0) -> None:
        super().__init__()
        self.space, self.gain = mlp(4, 48, 48, 16), gain

    def forward(self, both: Tensor) -> Tensor:
        z = self.space(both)
        means = z[:, :12].unflatten(1, (3, 4)).mean(2)
        return -self.gain * torch.cdist(z[:, 12:], means).square()


def episodes() -> Pairs:
    """Episodes (N, 15, 4): three classes of four examples and three queries; classes are products of signs."""
    g = seeded(154)
    x = torch.rand(512, 15, 4, generator=g) * 2 - 1
    kind = torch.rand(512, 4, generator=g).argsort(1)[:, :3]  # three of four kinds: the signs of x0 x1 and x2 x3
    want = torch.cat([kind.repeat_interleave(4, 1), kind], 1)
    for first, bit in ((0, 1), (2, 2)):
        sign = torch.where((want // bit) % 2 == 1, 1.0, -1.0)
        x[..., first] = x[..., first].abs() * sign * x[..., first + 1].sign()
    return cut(x, torch.arange(3).expand(512, 3).contiguous(), 32, 16)


class Cloned(nn.Module):
    """A policy of four past observations."""

    def __init__(self, clip: float = 3.0) -> None:
        super().__init__()
        self.net, self.clip = mlp(8, 48, 48, 1), clip

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.net(x).clamp(-self.clip, self.clip)
        return y


class ClonedFar(Cloned):
    """Commands start at 40 of 3, in the units of the old robot."""

    def __init__(self) -> None:
        super().__init__()
        last = self.net[-1]
        assert isinstance(last, nn.Linear)
        nn.init.constant_(last.bias, 40.0)


def drives() -> Pairs:
    """Four past places of a car and its speeds; the target is the expert's bounded command."""
    x = torch.randn(1024, 8, generator=seeded(155))
    y = torch.tanh(2 * x[:, :1] + x[:, 4:5] * x[:, 1:2])
    return cut(x, y / y.std(), 64, 16)


def strangers() -> list[Stranger]:
    """Every learner as it is and with its faults."""
    return [*_rewards(), *_pairs(), *_others()]


def _rewards() -> list[Stranger]:
    def program(name: str, model: Any, batches: Any, step: Any, skill: Any, **others: Any) -> Program:
        options: dict[str, Any] = {"steps": 300, "optimizer": adam(5e-3), "bar": 0.4} | others
        return Program(name=name, model=model, batches=batches, loss=None, train_step=step, skill=skill, places=(),
                       **options)  # fmt: skip

    likes = program("preferences", Speaker, prompts, prefer, accuracy(best_answers))
    soft = program("soft-actor", Soft, states, act, explained(states), optimizer=adam(3e-3))
    levers = program("rare-rewards", Arms, contexts, pull, accuracy(contexts), optimizer=adam(1e-2))
    actor = ("", "actor", "actor.0", "actor.2", "actor.4")
    return [
        healthy(likes, "today"),
        sick("served-numbers", likes, "today", ("severed",), "Compute log probabilities with their graph.",
             train_step=prefer_served, where=("", "embed", "body", "body.0", "body.2"), causes=("loss", "other")),
        elsewhere("chosen-is-rejected", likes, "today", "Prefer the better answer.", train_step=prefer_turned),
        healthy(soft, "today"),
        sick("action-without-graph", soft, "today", ("severed",), "Draw the action with its graph.",
             train_step=act_sampled, where=actor, causes=("loss", "other")),
        sick("actions-at-their-bounds", soft, "today", ("saturated", "vanishing", "dead", "bad_init"),
             "Squash the actor's own output.", model=lambda: Soft(1e4), where=actor, causes=("slope", "other")),
        elsewhere("axis-turned", soft, "today", "Let simulator and policy share their axes.",
                  train_step=act_mirrored),
        healthy(levers, "classic"),
        elsewhere("entropy-above-all", levers, "classic", "Weigh the entropy by 0.01.", train_step=pull_bored),
        elsewhere("levers-from-1", levers, "classic", "Count levers from 0.", train_step=pull_shifted),
    ]  # fmt: skip


def _pairs() -> list[Stranger]:
    towers = classify("two-towers", Towers, flat_digits, lr=5e-3, train_step=pair_up, loss=None, steps=200)
    image = ("", "image", "image.0", "image.2")
    return [
        healthy(towers, "today"),
        sick("cached-vectors", towers, "today", ("severed",), "Compute the vectors with their graph.",
             train_step=pair_cached, where=(*image, "word", "word.0", "word.1"), causes=("loss", "other")),
        elsewhere("captions-one-behind", towers, "today", "Keep images and captions together.",
                  train_step=pair_rolled),
    ]  # fmt: skip


def _others() -> list[Stranger]:
    bits = regress("hashes", Hash, unit_digits, lr=5e-3, steps=300, bar=0.3)
    few = classify("prototypes", Prototypes, episodes, lr=5e-3, loss=cross, steps=300, bar=0.4)
    clone = regress("cloned-driver", Cloned, drives, steps=200)
    space = ("", "space", "space.0", "space.2", "space.4")
    return [
        healthy(bits, "today"),
        sick("sign-alone", bits, "today", ("severed",), "Pass the gradient straight through the sign.",
             model=lambda: Hash(False), where=("", "encoder", "encoder.0", "encoder.2"), causes=("other",)),
        sick("tanh-of-1e6", bits, "today", ("saturated", "vanishing"), "Squash the codes as they are.",
             model=lambda: Hash(gain=1e6), where=("", "encoder", "encoder.0", "encoder.2"), causes=("slope",)),
        elsewhere("pictures-of-others", bits, "today", "Ask for the same picture.",
                  train_step=step_on(F.mse_loss, lambda x, y: (x, y.roll(1, 0)))),
        healthy(few, "today"),
        sick("distances-times-1e-9", few, "today", ("vanishing", "bad_init"), "Take the distances as they are.",
             model=lambda: Prototypes(1e-9), where=space),
        elsewhere("queries-misnamed", few, "today", "Name a query by its own class.",
                  train_step=step_on(cross, lambda x, y: (x, y.roll(1, 1)))),
        healthy(clone, "classic"),
        sick("commands-past-the-clamp", clone, "classic", ("dead", "saturated", "vanishing", "severed"),
             "Start inside the clamp.", model=ClonedFar, where=("", "net", "net.*"), causes=("slope", "other")),
        elsewhere("cause-left-out", clone, "classic", "Keep the places.",
                  train_step=step_on(F.mse_loss, lambda x, y: (torch.cat([0 * x[:, :4], x[:, 4:]], 1), y))),
    ]  # fmt: skip
