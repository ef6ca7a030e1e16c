"""Training loops with several optimizers, as people write them; how many networks each of them trains."""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import nn

from live.loops import STEPS, Loop, batch, data, net


def together(model, optimizers, loss=F.cross_entropy):
    """One backward pass, then a step of each."""
    x, y = data()

    def iterate():
        a, b = batch(x, y)
        for optimizer in optimizers:
            optimizer.zero_grad()
        loss(model(a), b).backward()
        for optimizer in optimizers:
            optimizer.step()

    return Loop([model], optimizers, iterate)


def backbone_and_head() -> Loop:
    model = net(dropout=0.1)
    return together(
        model,
        [torch.optim.SGD(model[0].parameters(), 0.1), torch.optim.AdamW(model[1:].parameters(), 1e-2)],
    )


def one_a_layer() -> Loop:
    model = net()
    return together(model, [torch.optim.Adam(m.parameters(), 1e-2) for m in model if list(m.parameters())])


def one_a_parameter() -> Loop:
    model = net()
    return together(model, [torch.optim.SGD([p], 0.1, momentum=0.9) for p in model.parameters()])


def muon_and_adam() -> Loop:
    model = net()
    matrices = [p for p in model.parameters() if p.dim() == 2]
    return together(
        model,
        [torch.optim.Muon(matrices, 1e-2), torch.optim.AdamW([p for p in model.parameters() if p.dim() < 2], 1e-2)],
    )


def scaled_each() -> Loop:
    """float16 with a loss scaler that steps each of two optimizers, and leaves out the first steps."""
    model = net()
    optimizers = [torch.optim.SGD(model[0].parameters(), 0.1), torch.optim.Adam(model[1:].parameters(), 1e-2)]
    scaler = torch.amp.GradScaler("cpu", init_scale=2.0**24, growth_interval=5)
    x, y = data()

    def iterate():
        a, b = batch(x, y)
        for optimizer in optimizers:
            optimizer.zero_grad()
        with torch.autocast("cpu", dtype=torch.float16):
            loss = F.cross_entropy(model(a), b)
        scaler.scale(loss).backward()
        for optimizer in optimizers:
            scaler.step(optimizer)
        scaler.update()

    return Loop([model], optimizers, iterate)


def in_backward() -> Loop:
    """A step for each parameter as soon as its gradient is whole."""
    model = net()
    optimizers = {p: torch.optim.SGD([p], 0.1) for p in model.parameters()}

    def hook(parameter):
        optimizers[parameter].step()
        optimizers[parameter].zero_grad()

    for p in model.parameters():
        p.register_post_accumulate_grad_hook(hook)
    x, y = data()

    def iterate():
        a, b = batch(x, y)
        F.cross_entropy(model(a), b).backward()

    return Loop([model], list(optimizers.values()), iterate)


def now_and_then() -> Loop:
    """The second optimizer steps at every fourth step only."""
    model = net()
    often, rarely = torch.optim.SGD(model[2:].parameters(), 0.1), torch.optim.SGD(model[:2].parameters(), 0.1)
    x, y = data()
    done = [0]

    def iterate():
        a, b = batch(x, y)
        often.zero_grad()
        F.cross_entropy(model(a), b).backward()
        often.step()
        done[0] += 1
        if done[0] % 4 == 0:
            rarely.step()
            rarely.zero_grad()

    return Loop([model], [often, rarely], iterate)


def head_first() -> Loop:
    """The backbone joins after a while, and steps first from then on."""
    model = net()
    body, head = torch.optim.SGD(model[:4].parameters(), 0.1), torch.optim.SGD(model[4:].parameters(), 0.1)
    x, y = data()
    done = [0]

    def iterate():
        a, b = batch(x, y)
        model.zero_grad()
        F.cross_entropy(model(a), b).backward()
        done[0] += 1
        if done[0] > 7:
            body.step()
        head.step()

    return Loop([model], [body, head], iterate)


class ActorCritic(nn.Module):
    def __init__(self, shared: bool) -> None:
        super().__init__()
        self.trunk = nn.Sequential(nn.Linear(16, 24), nn.Tanh()) if shared else nn.Identity()
        width = 24 if shared else 16
        self.actor = nn.Sequential(nn.Linear(width, 24), nn.Tanh(), nn.Linear(24, 4))
        self.critic = nn.Sequential(nn.Linear(width, 24), nn.Tanh(), nn.Linear(24, 1))

    def forward(self, x):
        h = self.trunk(x)
        return self.actor(h), self.critic(h)


def losses_of(model, a, b):
    logits, value = model(a)
    chosen = F.log_softmax(logits, 1).gather(1, b[:, None])
    goal = (b[:, None] == 0).float()
    return -(chosen * (goal - value.detach())).mean(), F.mse_loss(value, goal)


def actor_critic(shared: bool, passes: int) -> Loop:
    """Two optimizers; one backward pass for both losses, or two before the steps."""
    model = ActorCritic(shared)
    trained = [*model.trunk.parameters(), *model.actor.parameters()]
    optimizers = [torch.optim.Adam(trained, 1e-2), torch.optim.Adam(model.critic.parameters(), 1e-2)]
    x, y = data()

    def iterate():
        a, b = batch(x, y)
        model.zero_grad()
        for_actor, for_critic = losses_of(model, a, b)
        if passes == 1:
            (for_actor + for_critic).backward()
        else:
            for_critic.backward(retain_graph=True)
            for_actor.backward()
        for optimizer in optimizers:
            optimizer.step()

    return Loop([model], optimizers, iterate)


def in_turn(shared: bool) -> Loop:
    """Each loss goes back by itself and is followed by the step of its own optimizer."""
    model = ActorCritic(shared)
    to_act = torch.optim.Adam(model.actor.parameters(), 1e-2)
    to_judge = torch.optim.Adam([*model.trunk.parameters(), *model.critic.parameters()], 1e-2)
    x, y = data()

    def iterate():
        a, b = batch(x, y)
        to_judge.zero_grad()
        losses_of(model, a, b)[1].backward()
        to_judge.step()
        to_act.zero_grad()
        losses_of(model, a, b)[0].backward()
        to_act.step()

    return Loop([model], [to_act, to_judge], iterate)


class Pair(nn.Module):
    """A generator and its judge in one module, as Lightning has it."""

    def __init__(self) -> None:
        super().__init__()
        self.generator = nn.Sequential(nn.Linear(4, 16), nn.ReLU(), nn.Linear(16, 16))
        self.judge = nn.Sequential(nn.Linear(16, 16), nn.LeakyReLU(0.2), nn.Linear(16, 1))

    def forward(self, z):
        return self.generator(z)


def gan_in_one(judged_first: bool) -> Loop:
    pair = Pair()
    to_make = torch.optim.Adam(pair.generator.parameters(), 1e-3)
    to_judge = torch.optim.Adam(pair.judge.parameters(), 1e-3)
    x, _ = data()
    one, zero = torch.ones(32, 1), torch.zeros(32, 1)
    score = F.binary_cross_entropy_with_logits

    def judge():
        real = x[torch.randint(len(x), (32,))]
        to_judge.zero_grad()
        fake = pair(torch.randn(32, 4)).detach()
        (score(pair.judge(real), one) + score(pair.judge(fake), zero)).backward()
        to_judge.step()

    def make():
        to_make.zero_grad()
        score(pair.judge(pair(torch.randn(32, 4))), one).backward()
        to_make.step()

    def iterate():
        for turn in (judge, make) if judged_first else (make, judge):
            turn()

    return Loop([pair], [to_make, to_judge], iterate)


def one_after_the_other() -> Loop:
    """Adam for a while, then LBFGS on the same parameters."""
    model = net(2)
    early, late = torch.optim.Adam(model.parameters(), 1e-2), torch.optim.LBFGS(model.parameters(), 0.5, max_iter=3)
    x, y = data()
    done = [0]

    def closure():
        model.zero_grad()
        loss = F.cross_entropy(model(x), y)
        loss.backward()
        return loss

    def iterate():
        done[0] += 1
        if done[0] <= 12:
            closure()
            early.step()
        else:
            late.step(closure)

    return Loop([model], [early, late], iterate)


class SAM(torch.optim.Optimizer):
    """Sharpness-aware: a step to the side, another gradient, and the step of the optimizer inside."""

    def __init__(self, parameters, base, **options) -> None:
        super().__init__(parameters, options)
        self.base = base(self.param_groups, **options)
        self.param_groups = self.base.param_groups

    @torch.no_grad()
    def step(self, closure=None):
        before = [(p, p.clone()) for g in self.param_groups for p in g["params"]]
        for p, _ in before:
            p.add_(0.01 * p.grad)
        with torch.enable_grad():
            closure()
        for p, old in before:
            p.copy_(old)
        self.base.step()


def sharpness_aware() -> Loop:
    model = net(2)
    optimizer = SAM(model.parameters(), torch.optim.SGD, lr=0.1)
    x, y = data()

    def iterate():
        a, b = batch(x, y)

        def closure():
            model.zero_grad()
            F.cross_entropy(model(a), b).backward()

        closure()
        optimizer.step(closure)

    return Loop([model], [optimizer], iterate)


ONE: dict[str, Callable[[], Loop]] = {
    loop.__name__: loop
    for loop in (
        backbone_and_head,
        one_a_layer,
        one_a_parameter,
        muon_and_adam,
        scaled_each,
        in_backward,
        now_and_then,
        head_first,
        one_after_the_other,
        sharpness_aware,
    )
} | {
    f"actor_critic{'_shared' if shared else ''}_{passes}": lambda shared=shared, passes=passes: actor_critic(
        shared, passes
    )
    for shared in (False, True)
    for passes in (1, 2)
}
IN_TURN: dict[str, Callable[[], Loop]] = {
    "in_turn": lambda: in_turn(False),
    "in_turn_shared": lambda: in_turn(True),
    "gan_in_one": lambda: gan_in_one(True),
    "gan_in_one_made_first": lambda: gan_in_one(False),
}
__all__ = ["IN_TURN", "ONE", "STEPS"]
